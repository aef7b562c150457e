//! How every program connects to ClickHouse.

use std::path::PathBuf;

use clickhouse::Client;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Secret, mask_url};

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

impl ClickHouseConfig {
    /// A client for the database; reads the file that holds the password.
    pub fn client(&self) -> Result<Client, ConfigError> {
        let invalid = |expected: &str| {
            let reason = format_args!("{:?}, expected {expected}", mask_url(&self.url));
            Err(ConfigError::invalid("clickhouse.url", reason))
        };
        if !self.url.starts_with("http://") {
            return invalid("an http:// URL");
        }
        if self.url.contains('@') {
            return invalid("no user information: set clickhouse.user and clickhouse.password_file");
        }
        let password = Secret::either("clickhouse.password", self.password.as_ref(), self.password_file.as_deref())?;
        let client = Client::default().with_url(&self.url).with_database(&self.database).with_user(&self.user);
        Ok(match password {
            Some(password) => client.with_password(password.expose()),
            None => client,
        })
    }
}
