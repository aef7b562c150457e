//! The section `[serve]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hookline_service::clickhouse::{ClickHouseConfig, check_url};
use hookline_service::config::{ConfigError, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::guard::Credentials;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// The address to listen on; port 0 takes a free one, which the log names. An address other than loopback needs
    /// `bearer_token_file` or `basic_auth_file`.
    pub listen: SocketAddr,
    /// The path that a proxy in front puts before ours, such as `/hookline`; empty for none.
    #[schemars(with = "String")]
    pub base_path: BasePath,
    /// The file that holds the token that clients send as `Authorization: Bearer …`.
    pub bearer_token_file: Option<PathBuf>,
    /// The file that holds `user:password` of clients that send `Authorization: Basic …`.
    pub basic_auth_file: Option<PathBuf>,
    /// The ClickHouse user that may read and nothing else, see `migrate --print-grants`; `clickhouse.user` if not set.
    #[schemars(extend("x-environment" = "CLICKHOUSE_READER_USER"))]
    pub reader_user: Option<String>,
    /// The password of `reader_user`, only from the environment.
    #[schemars(extend("x-environment" = "CLICKHOUSE_READER_PASSWORD"))]
    pub reader_password: Option<Secret>,
    /// The file that holds the password of `reader_user`.
    pub reader_password_file: Option<PathBuf>,
    /// Milliseconds that a question may take; then it is cancelled in ClickHouse, too.
    #[schemars(range(min = 100, max = 60_000))]
    pub query_timeout_ms: u32,
    /// Open connections; more wait.
    #[schemars(range(min = 1, max = 10_000))]
    pub connections: u16,
    /// The admin listeners of ingest and processors whose metrics `/api/v1/pipeline` adds up, such as
    /// `http://127.0.0.1:9081,http://127.0.0.1:9082`; several separated by commas.
    #[schemars(with = "String")]
    pub admin_urls: AdminUrls,
    /// A Prometheus that scrapes them, to be asked instead of `admin_urls`, such as `http://127.0.0.1:9090`; empty for none. Every
    /// series of Hookline that it has is added up.
    #[schemars(with = "String")]
    pub prometheus_url: PrometheusUrl,
}

/// A path without a slash at its end, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BasePath(String);

/// Addresses of admin listeners. Whoever needs a user or a password is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AdminUrls(Vec<String>);

/// The address of a Prometheus, if there is one. One that needs a user or a password is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrometheusUrl(String);

// An error does not show the text, which may be a secret in the wrong place.
impl TryFrom<String> for BasePath {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let is_path =
            text.starts_with('/') && text.chars().all(is_allowed) && !text.split('/').skip(1).any(str::is_empty);
        let is_valid = text.is_empty() || is_path;
        is_valid.then_some(Self(text)).ok_or("expected a path such as /hookline, without a slash at its end")
    }
}

impl TryFrom<String> for AdminUrls {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let urls: Vec<_> = text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
        let is_url = |url: &String| check_url(url).is_ok();
        urls.iter()
            .all(is_url)
            .then_some(Self(urls))
            .ok_or("expected URLs such as http://127.0.0.1:9081, without user and password, separated by commas")
    }
}

impl TryFrom<String> for PrometheusUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_valid = text.is_empty() || check_url(&text).is_ok();
        is_valid.then_some(Self(text)).ok_or("expected a URL such as http://127.0.0.1:9090, without user and password")
    }
}

impl From<BasePath> for String {
    fn from(path: BasePath) -> Self {
        path.0
    }
}

impl From<AdminUrls> for String {
    fn from(urls: AdminUrls) -> Self {
        urls.0.join(",")
    }
}

impl From<PrometheusUrl> for String {
    fn from(url: PrometheusUrl) -> Self {
        url.0
    }
}

impl PrometheusUrl {
    pub fn as_str(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl BasePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AdminUrls {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9083)),
            base_path: BasePath::default(),
            bearer_token_file: None,
            basic_auth_file: None,
            reader_user: None,
            reader_password: None,
            reader_password_file: None,
            query_timeout_ms: 10_000,
            connections: 256,
            admin_urls: AdminUrls::default(),
            prometheus_url: PrometheusUrl::default(),
        }
    }
}

impl ServeConfig {
    pub fn check(&self) -> Result<(), ConfigError> {
        let credentials = self.credentials()?;
        if !self.listen.ip().is_loopback() && credentials.is_none() {
            let reason = format_args!(
                "{} can be reached from other hosts: set serve.bearer_token_file or serve.basic_auth_file, or listen on 127.0.0.1",
                self.listen
            );
            return Err(ConfigError::invalid("serve.listen", reason));
        }
        if self.prometheus_url.as_str().is_some() && self.admin_urls.iter().next().is_some() {
            let reason = "serve.admin_urls is set, too, and every figure would count twice: set one of them";
            return Err(ConfigError::invalid("serve.prometheus_url", reason));
        }
        Ok(())
    }

    pub(super) fn credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let read = |key, file: &Option<PathBuf>| file.as_deref().map(|file| Secret::read(key, file)).transpose();
        let token = read("serve.bearer_token_file", &self.bearer_token_file)?;
        let basic = read("serve.basic_auth_file", &self.basic_auth_file)?;
        if basic.as_ref().is_some_and(|basic| !basic.expose().contains(':')) {
            return Err(ConfigError::invalid("serve.basic_auth_file", "expected one line `user:password`"));
        }
        Ok(Credentials::new(token.as_ref(), basic.as_ref()))
    }

    pub(crate) fn query_timeout(&self) -> Duration {
        Duration::from_millis(self.query_timeout_ms.into())
    }

    /// The connection of the user that may only read.
    pub(crate) fn reader(&self, clickhouse: &ClickHouseConfig) -> ClickHouseConfig {
        match &self.reader_user {
            Some(user) => ClickHouseConfig {
                user: user.clone(),
                password: self.reader_password.clone(),
                password_file: self.reader_password_file.clone(),
                ..clickhouse.clone()
            },
            None => clickhouse.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_credentials() {
        let mut config = ServeConfig { listen: ([0, 0, 0, 0], 80).into(), ..ServeConfig::default() };
        assert!(config.check().unwrap_err().to_string().starts_with("serve.listen: 0.0.0.0:80 can be reached"));
        let file = std::env::temp_dir().join(format!("hookline-serve-{}", std::process::id()));
        for (text, sound) in [("a-token\n", true), ("", false), (" \n", false)] {
            std::fs::write(&file, text).unwrap();
            config.bearer_token_file = Some(file.clone());
            assert_eq!(config.check().is_ok(), sound, "{text:?}");
        }
        config.bearer_token_file = None;
        config.basic_auth_file = Some(file.clone());
        for (text, sound) in [("me:secret\n", true), ("secret", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(config.check().is_ok(), sound, "{text:?}");
        }
        std::fs::remove_file(file).unwrap();
        assert!(config.check().is_err(), "a file that is not there is no credential");
    }

    #[test]
    fn a_base_path_is_a_path() {
        for (base_path, sound) in [
            ("", true),
            ("/hookline", true),
            ("/a/b", true),
            ("/", false),
            ("a", false),
            ("/a/", false),
            ("/a?b", false),
        ] {
            assert_eq!(BasePath::try_from(base_path.to_owned()).is_ok(), sound, "{base_path}");
        }
    }

    #[test]
    fn metrics_have_one_source() {
        let prometheus_url = PrometheusUrl::try_from("http://127.0.0.1:9090/prometheus".to_owned()).unwrap();
        let mut config = ServeConfig { prometheus_url, ..ServeConfig::default() };
        config.check().unwrap();
        config.admin_urls = AdminUrls::try_from("http://127.0.0.1:1".to_owned()).unwrap();
        assert!(
            config.check().unwrap_err().to_string().starts_with("serve.prometheus_url: serve.admin_urls is set, too")
        );
        for refused in ["127.0.0.1:9090", "http://me:x@127.0.0.1:9090", "http://h/?token=x"] {
            assert!(PrometheusUrl::try_from(refused.to_owned()).is_err(), "{refused}");
        }
        assert_eq!(PrometheusUrl::try_from(String::new()).unwrap().as_str(), None);
    }

    #[test]
    fn admin_urls_have_no_user() {
        let urls = AdminUrls::try_from("http://127.0.0.1:1, http://127.0.0.1:2,".to_owned()).unwrap();
        assert_eq!(urls.iter().collect::<Vec<_>>(), ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        for refused in ["127.0.0.1:1", "http://", "http://me:x@127.0.0.1:1", "http://127.0.0.1:1,http://h?password=x"] {
            assert!(AdminUrls::try_from(refused.to_owned()).is_err(), "{refused}");
        }
    }
}
