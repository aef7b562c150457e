//! How every program connects to ClickHouse.

use std::path::PathBuf;
use std::time::Duration;

use clickhouse::Client;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::config::{ConfigError, Secret};

/// The section `[clickhouse]` of every program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouseConfig {
    /// The HTTP interface, such as `http://127.0.0.1:8123`, without user and password.
    #[schemars(extend("x-environment" = "CLICKHOUSE_URL"))]
    pub url: String,
    /// The database that holds Hookline's tables.
    #[schemars(extend("x-environment" = "CLICKHOUSE_DATABASE"))]
    pub database: String,
    /// The user that reads and writes the tables.
    #[schemars(extend("x-environment" = "CLICKHOUSE_USER"))]
    pub user: String,
    /// The password of the user, only from the environment.
    #[schemars(extend("x-environment" = "CLICKHOUSE_PASSWORD"))]
    pub password: Option<Secret>,
    /// The file that holds the password of the user.
    pub password_file: Option<PathBuf>,
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".into(),
            database: "hookline".into(),
            user: "default".into(),
            password: None,
            password_file: None,
        }
    }
}

/// Reads the number at the beginning of ClickHouse's own answer: `Code: 241. DB::Exception: …`, the same from the libraries
/// it is built on, or only `Code: 241` from the header of an answer without a text.
pub fn exception_code(text: &str) -> Option<u32> {
    let exception = ["Poco::Exception. ", "std::exception. "].iter().find_map(|prefix| text.strip_prefix(prefix));
    let rest = exception.unwrap_or(text).strip_prefix("Code: ")?;
    let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    let after = rest.strip_prefix(digits)?;
    let is_own = after.is_empty() || after.starts_with(". DB::") || (exception.is_some() && after.starts_with(','));
    is_own.then(|| digits.parse().ok()).flatten()
}

/// Says what is wrong with the URL of a server, without the URL: it may hold a password.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    let Some(rest) = url.strip_prefix("http://") else { return Err("expected a URL such as http://127.0.0.1:8123") };
    if rest.contains(['@', '?', '#']) {
        return Err("it has a user, a password or a query, which do not belong here: set clickhouse.user and \
                    clickhouse.password_file (the URL is not shown, because it may hold a password)");
    }
    let is_address = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    if rest.is_empty() || rest.starts_with(['/', ':']) || !rest.chars().all(is_address) {
        return Err("expected a URL such as http://127.0.0.1:8123");
    }
    Ok(())
}

/// Says what is wrong with the name of a database.
fn check_database(name: &str) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > 200 || !name.bytes().all(is_legal) {
        return Err(format!("{name:?}, expected 1 to 200 of A-Z, a-z, 0-9, '_', '-', such as hookline"));
    }
    Ok(())
}

impl ClickHouseConfig {
    /// A client for the database; reads the file that holds the password.
    pub fn client(&self) -> Result<Client, ConfigError> {
        ConfigError::join([
            check_url(&self.url).map_err(|reason| ConfigError::invalid("clickhouse.url", reason)),
            check_database(&self.database).map_err(|reason| ConfigError::invalid("clickhouse.database", reason)),
        ])?;
        let password = Secret::either("clickhouse.password", self.password.as_ref(), self.password_file.as_deref())?;
        let client = Client::default().with_url(&self.url).with_database(&self.database).with_user(&self.user);
        Ok(match password {
            Some(password) => client.with_password(password.expose()),
            None => client,
        })
    }
}

/// A server that works answers the smallest question within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that the statements of a command may take; those over a table of 10 million jobs take seconds.
const STATEMENTS_TIMEOUT: Duration = Duration::from_secs(600);

impl ClickHouseConfig {
    /// A client for a command. Fails where the server accepts connections and does not answer.
    pub async fn answering_client(&self) -> anyhow::Result<Client> {
        let client = self.client()?;
        let answer = timeout(ANSWER_TIMEOUT, client.query("SELECT 1").fetch_one::<u8>());
        // An error is an answer, too. It is that of the first statement, which says what it was about.
        let _ = answer.await.map_err(|_| self.silent(ANSWER_TIMEOUT))?;
        Ok(client)
    }

    /// Waits for the statements of a command; an error says which server it is from.
    pub async fn within_timeout<T, E: Into<anyhow::Error>>(
        &self,
        statements: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        match timeout(STATEMENTS_TIMEOUT, statements).await {
            Ok(result) => result.map_err(|error| error.into().context(format!("ClickHouse at {}", self.url))),
            Err(_) => Err(self.silent(STATEMENTS_TIMEOUT)),
        }
    }

    fn silent(&self, waited: Duration) -> anyhow::Error {
        anyhow::anyhow!("ClickHouse at {} did not answer within {waited:?}", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_have_plain_names() {
        for name in ["hookline", "a-b_9"] {
            assert_eq!(check_database(name), Ok(()));
        }
        for name in ["", "a b;drop", "a`b"] {
            let expected = format!("{name:?}, expected 1 to 200 of A-Z, a-z, 0-9, '_', '-', such as hookline");
            assert_eq!(check_database(name), Err(expected));
        }
    }

    #[test]
    fn a_url_with_what_may_be_a_password_is_refused_and_not_shown() {
        let client = |url: &str| ClickHouseConfig { url: url.into(), ..ClickHouseConfig::default() }.client();
        for good in ["http://127.0.0.1:8123", "http://[::1]:8123/", "http://proxy/clickhouse"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in [
            "http://me:mhw_live_x@127.0.0.1:8123",
            "http://mhw_live_x@host",
            "http://host/?password=mhw_live_x",
            "http://host/#mhw_live_x",
            "https://me:mhw_live_x@host",
            "me:mhw_live_x@host:8123",
            "mhw_live_x",
            "http://",
            "http://a b",
        ] {
            let error = client(bad).map(drop).expect_err(bad).to_string();
            assert!(error.starts_with("clickhouse.url: ") && !error.contains("mhw_live_x"), "{error}");
        }
    }
}
