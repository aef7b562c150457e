//! The connection to ClickHouse.

use std::path::PathBuf;

use clickhouse::Client;
use serde::Deserialize;

use crate::config::{ConfigError, Secret};

/// The section `[clickhouse]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouseConfig {
    /// The HTTP interface.
    pub url: String,
    /// The database that holds Hookline's tables.
    pub database: String,
    /// The user.
    pub user: String,
    /// The password; from the environment only.
    pub password: Option<Secret>,
    /// A file that holds the password.
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
        if !self.url.starts_with("http://") {
            return Err(ConfigError::invalid("clickhouse.url", format_args!("{:?} is not an http:// URL", self.url)));
        }
        let password = Secret::either("clickhouse.password", self.password.as_ref(), self.password_file.as_deref())?;
        let client = Client::default().with_url(&self.url).with_database(&self.database).with_user(&self.user);
        Ok(match password {
            Some(password) => client.with_password(password.expose()),
            None => client,
        })
    }
}
