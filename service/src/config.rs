//! Configuration: one TOML file for each binary, every key overridable from the environment.
//!
//! From the weakest to the strongest: defaults, the file, the names of `.local/env`, `HOOKLINE_{BINARY}__SECTION__KEY`.
//! Secrets come from the environment or from files of their own, never from the TOML file.

use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Config, Environment, File, FileFormat};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How a binary reads its configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSource {
    /// The middle of `HOOKLINE_{binary}__SECTION__KEY`, upper case.
    pub binary: &'static str,
    /// Shared environment names and the keys they set.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Keys that the file must not hold.
    pub secrets: &'static [&'static str],
}

/// The shared environment names of Kafka and ClickHouse, as `.local/env` has them.
pub const CONNECTION_ALIASES: [(&str, &str); 6] = [
    ("KAFKA_BOOTSTRAP_SERVERS", "kafka.bootstrap_servers"),
    ("HOOKLINE_TOPIC_PREFIX", "kafka.topic_prefix"),
    ("CLICKHOUSE_URL", "clickhouse.url"),
    ("CLICKHOUSE_DATABASE", "clickhouse.database"),
    ("CLICKHOUSE_USER", "clickhouse.user"),
    ("CLICKHOUSE_PASSWORD", "clickhouse.password"),
];

/// The secrets among the connection settings.
pub const CONNECTION_SECRETS: [&str; 3] = ["kafka.sasl_password", "kafka.ssl_key_password", "clickhouse.password"];

/// A configuration that cannot be used; the message names the key, the value and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is not TOML.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A key that does not exist, or a value that it cannot have.
    #[error("{key}: {reason} (set by the file as {key}, or by the environment as {variable})")]
    Key {
        /// The dotted key.
        key: String,
        /// What is wrong and what was expected.
        reason: String,
        /// The environment variable for the key.
        variable: String,
    },
    /// A secret in the TOML file.
    #[error("{key} in {path}: a secret does not belong in this file; set {variable}, or name a file in {key}_file")]
    SecretInFile {
        /// The dotted key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The environment variable for the key.
        variable: String,
    },
    /// A value that only shows to be wrong together with others.
    #[error("{key}: {reason}")]
    Invalid {
        /// The dotted key.
        key: String,
        /// What is wrong and what was expected.
        reason: String,
    },
}

impl ConfigError {
    /// A value that only shows to be wrong together with others.
    pub fn invalid(key: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Invalid { key: key.into(), reason: reason.to_string() }
    }
}

impl ConfigSource {
    /// Reads the configuration from `file` and `environment`.
    pub fn load<T: DeserializeOwned>(
        &self,
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<T, ConfigError> {
        let environment: ::config::Map<String, String> = environment.collect();
        let mut builder = Config::builder();
        if let Some(path) = file {
            let unreadable = |reason: String| ConfigError::File { path: path.to_owned(), reason };
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
            let parsed = Config::builder()
                .add_source(File::from_str(&text, FileFormat::Toml))
                .build()
                .map_err(|error| unreadable(error.to_string()))?;
            if let Some(key) = self.secrets.iter().find(|key| parsed.get::<::config::Value>(key).is_ok()) {
                return Err(ConfigError::SecretInFile { key, path: path.to_owned(), variable: self.variable(key) });
            }
            builder = builder.add_source(parsed);
        }
        let mut shared = Config::builder();
        for (name, key) in self.aliases {
            shared = shared
                .set_override_option(*key, environment.get(*name).cloned())
                .map_err(|error| self.key_error(key, error))?;
        }
        let merged = shared
            .build()
            .and_then(|shared| builder.add_source(shared).add_source(self.environment(environment)).build())
            .map_err(|error| self.key_error("", error))?;
        serde_path_to_error::deserialize(merged).map_err(|error| {
            let path = error.path().to_string();
            self.key_error(if path == "." { "" } else { &path }, error.into_inner())
        })
    }

    fn environment(&self, variables: ::config::Map<String, String>) -> Environment {
        Environment::with_prefix(&format!("HOOKLINE_{}", self.binary))
            .prefix_separator("__")
            .separator("__")
            .source(Some(variables))
    }

    fn variable(&self, key: &str) -> String {
        format!("HOOKLINE_{}__{}", self.binary, key.replace('.', "__").to_uppercase())
    }

    fn key_error(&self, key: &str, error: impl fmt::Display) -> ConfigError {
        let key = if key.is_empty() { "(top level)" } else { key };
        ConfigError::Key { key: key.into(), reason: error.to_string(), variable: self.variable(key) }
    }
}

/// A value that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; the caller sees to it that it goes nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, less one line end.
    pub fn read(key: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::invalid(key, format_args!("{}: {error}", path.display())))?;
        let secret = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() {
            return Err(ConfigError::invalid(key, format_args!("{} is empty", path.display())));
        }
        Ok(Self(secret.into()))
    }

    /// The secret that was given in one of two ways; both at once is an error.
    pub fn either(key: &str, value: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        match (value, file) {
            (Some(_), Some(_)) => Err(ConfigError::invalid(key, format_args!("given twice, here and in {key}_file"))),
            (Some(value), None) => Ok(Some(value.clone())),
            (None, Some(path)) => Self::read(&format!("{key}_file"), path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        server: Server,
        kafka: crate::kafka::KafkaConfig,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Server {
        port: u16,
        name: String,
    }

    impl Default for Server {
        fn default() -> Self {
            Self { port: 80, name: "a".into() }
        }
    }

    const SCHEMA: ConfigSource = ConfigSource {
        binary: "TEST",
        aliases: &CONNECTION_ALIASES,
        secrets: &["kafka.sasl_password", "kafka.ssl_key_password"],
    };

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SCHEMA.load(Some(&path), environment)
    }

    #[test]
    fn the_environment_beats_the_file_and_the_file_the_defaults() {
        assert_eq!(load("", &[]).unwrap(), Settings::default());
        let file = "[server]\nport = 81\nname = \"b\"\n[kafka]\nbootstrap_servers = \"f:1\"\n";
        let settings =
            load(file, &[("HOOKLINE_TEST__SERVER__PORT", "82"), ("KAFKA_BOOTSTRAP_SERVERS", "e:1")]).unwrap();
        assert_eq!(settings.server, Server { port: 82, name: "b".into() });
        assert_eq!(settings.kafka.bootstrap_servers, "e:1");
        let settings =
            load(file, &[("HOOKLINE_TEST__KAFKA__BOOTSTRAP_SERVERS", "h:1"), ("KAFKA_BOOTSTRAP_SERVERS", "e:1")])
                .unwrap();
        assert_eq!(settings.kafka.bootstrap_servers, "h:1");
    }

    #[test]
    fn text_from_the_environment_stays_text() {
        let settings = load("", &[("HOOKLINE_TEST__SERVER__NAME", "007")]).unwrap();
        assert_eq!(settings.server.name, "007");
    }

    #[test]
    fn errors_name_the_key_the_value_and_what_was_expected() {
        for (file, environment, parts) in [
            ("[server]\nport = \"x\"", None, ["server.port", "\"x\"", "HOOKLINE_TEST__SERVER__PORT"]),
            ("", Some(("HOOKLINE_TEST__SERVER__PORT", "70000")), ["server.port", "70000", "16 bit"]),
            ("[server]\nprot = 1", None, ["server", "prot", "`port`"]),
            ("[sever]\nport = 1", None, ["sever", "`server`", "unknown"]),
            ("[server", None, ["test.toml", "", ""]),
            ("[kafka]\nsecurity_protocol = \"tls\"", None, ["kafka.security_protocol", "tls", "sasl_ssl"]),
            ("[kafka]\nsasl_password = \"p\"", None, ["kafka.sasl_password", "kafka.sasl_password_file", "secret"]),
        ] {
            let message = load(file, environment.as_slice()).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn a_secret_comes_from_one_place_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "mhw_live_x\n").unwrap();
        let secret = Secret::either("k", None, Some(&path)).unwrap().unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}")), ("mhw_live_x", "Secret(…)".into()));
        assert!(Secret::either("k", Some(&secret), Some(&path)).is_err());
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read("k", &path).unwrap_err().to_string().contains("is empty"));
    }
}
