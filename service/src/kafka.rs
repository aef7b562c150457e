//! How every program connects to Kafka.

mod context;
pub mod errors;

use std::fmt;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::context::{KafkaContext, NoAnswer, ask, ask_cluster_id};
use crate::config::{ConfigError, Secret, shown_path};

/// The section `[kafka]`. Security settings pass through to librdkafka under its own names, with `_` for `.`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Brokers to ask first for the cluster's others: `host:port`, several separated by commas.
    #[schemars(extend("x-environment" = "KAFKA_BOOTSTRAP_SERVERS"))]
    pub bootstrap_servers: String,
    /// What the names of the topics begin with: `{prefix}.video` and so on.
    #[schemars(extend("x-environment" = "HOOKLINE_TOPIC_PREFIX"))]
    pub topic_prefix: String,
    /// Whether connections to the brokers use TLS, SASL, or both.
    pub security_protocol: SecurityProtocol,
    /// How the client proves who it is; only with `sasl_plaintext` and `sasl_ssl`.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// The user name for SASL.
    pub sasl_username: Option<String>,
    /// The password for SASL, only from the environment.
    pub sasl_password: Option<Secret>,
    /// The file that holds the password for SASL.
    pub sasl_password_file: Option<PathBuf>,
    /// A PEM file with the certificate authorities that brokers are checked against; the system's if not set.
    pub ssl_ca_location: Option<PathBuf>,
    /// A PEM file with the client's certificate, for brokers that ask for one.
    pub ssl_certificate_location: Option<PathBuf>,
    /// A PEM file with the private key of the client's certificate.
    pub ssl_key_location: Option<PathBuf>,
    /// The password of the private key, only from the environment.
    pub ssl_key_password: Option<Secret>,
    /// The file that holds the password of the private key.
    pub ssl_key_password_file: Option<PathBuf>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".into(),
            topic_prefix: "hookline".into(),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            sasl_password_file: None,
            ssl_ca_location: None,
            ssl_certificate_location: None,
            ssl_key_location: None,
            ssl_key_password: None,
            ssl_key_password_file: None,
        }
    }
}

/// The values of librdkafka's `security.protocol`, taken in capitals, too: so Kafka itself writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "librdkafka's own names")]
pub enum SecurityProtocol {
    #[serde(alias = "PLAINTEXT")]
    Plaintext,
    #[serde(alias = "SSL")]
    Ssl,
    #[serde(alias = "SASL_PLAINTEXT")]
    SaslPlaintext,
    #[serde(alias = "SASL_SSL")]
    SaslSsl,
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The values of librdkafka's `sasl.mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "librdkafka's own names")]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN", alias = "plain")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256", alias = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512", alias = "scram-sha-512")]
    ScramSha512,
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Says what is wrong with a list of servers, without the list: it may hold a password.
pub(crate) fn check_servers(servers: &str) -> Result<(), &'static str> {
    let is_server = |server: &str| {
        let (host, port) = server.trim().rsplit_once(':').unwrap_or_default();
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
        !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if servers.contains(['@', '?', '/']) {
        return Err("expected host:port, several separated by commas, without scheme, user and password: set \
                    kafka.security_protocol, kafka.sasl_username and kafka.sasl_password_file");
    }
    if servers.split(',').all(is_server) { Ok(()) } else { Err("expected host:port, several separated by commas") }
}

impl KafkaConfig {
    /// The settings that every client of librdkafka needs; reads the files that hold secrets.
    pub fn client(&self) -> Result<ClientConfig, ConfigError> {
        check_servers(&self.bootstrap_servers)
            .map_err(|reason| ConfigError::invalid("kafka.bootstrap_servers", reason))?;
        let mut client = ClientConfig::new();
        // rdkafka takes its default from the crate `log`, which is not used here, and would drop warnings.
        client.set_log_level(RDKafkaLogLevel::Info);
        client.set("bootstrap.servers", &self.bootstrap_servers);
        client.set("security.protocol", self.security_protocol.to_string());
        let sasl = matches!(self.security_protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
        let password =
            Secret::either("kafka.sasl_password", self.sasl_password.as_ref(), self.sasl_password_file.as_deref())?;
        match (sasl, self.sasl_mechanism, &self.sasl_username, password) {
            (true, Some(mechanism), Some(username), Some(password)) => {
                client.set("sasl.mechanism", mechanism.to_string());
                client.set("sasl.username", username).set("sasl.password", password.expose());
            }
            (true, ..) => {
                let reason =
                    "needs sasl_mechanism, sasl_username and a password (sasl_password_file or the environment)";
                return Err(ConfigError::invalid("kafka.security_protocol", reason));
            }
            (false, None, None, None) => {}
            (false, ..) => {
                let reason = "sasl settings are given, so it must be sasl_plaintext or sasl_ssl";
                return Err(ConfigError::invalid("kafka.security_protocol", reason));
            }
        }
        let key_password = Secret::either(
            "kafka.ssl_key_password",
            self.ssl_key_password.as_ref(),
            self.ssl_key_password_file.as_deref(),
        )?;
        if let Some(password) = key_password {
            client.set("ssl.key.password", password.expose());
        }
        for (name, key, path) in [
            ("ssl.ca.location", "kafka.ssl_ca_location", &self.ssl_ca_location),
            ("ssl.certificate.location", "kafka.ssl_certificate_location", &self.ssl_certificate_location),
            ("ssl.key.location", "kafka.ssl_key_location", &self.ssl_key_location),
        ] {
            if let Some(path) = path {
                if !path.is_file() {
                    return Err(ConfigError::invalid(key, format_args!("no such file: {}", shown_path(path))));
                }
                client.set(name, path.to_string_lossy());
            }
        }
        Ok(client)
    }

    /// Finds what would fail at start, without asking a broker: also files that hold no certificate or no key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut client = self.client()?;
        // Without brokers librdkafka reads its settings and files, and connects to nobody.
        client.remove("bootstrap.servers");
        let files = [&self.ssl_ca_location, &self.ssl_certificate_location, &self.ssl_key_location];
        if files.iter().any(|path| path.is_some()) && self.security_protocol == SecurityProtocol::Plaintext {
            client.set("security.protocol", "ssl");
        }
        let made: KafkaResult<BaseConsumer> = client.create();
        made.map(drop).map_err(|error| {
            let text = error.to_string();
            let keys = [
                ("ssl.ca.location", "kafka.ssl_ca_location"),
                ("ssl.certificate.location", "kafka.ssl_certificate_location"),
                ("ssl.key.location", "kafka.ssl_key_location"),
            ];
            match keys.iter().find(|(name, _)| text.contains(name)) {
                Some((_, key)) => {
                    let reason = "librdkafka cannot use this file, expected PEM that begins with -----BEGIN";
                    ConfigError::invalid(key, format_args!("{reason}: {text}"))
                }
                None => ConfigError::invalid("kafka.security_protocol", text),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_is_whole_or_absent() {
        let whole = KafkaConfig {
            security_protocol: SecurityProtocol::SaslSsl,
            sasl_mechanism: Some(SaslMechanism::ScramSha512),
            sasl_username: Some("u".into()),
            sasl_password: Some(Secret::new("p")),
            ..KafkaConfig::default()
        };
        assert_eq!(whole.client().unwrap().get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert!(KafkaConfig { sasl_password: None, ..whole.clone() }.client().is_err());
        assert!(KafkaConfig { security_protocol: SecurityProtocol::Ssl, ..whole }.client().is_err());
        assert!(KafkaConfig::default().client().is_ok());
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let config = KafkaConfig { ssl_ca_location: Some("/tmp/no-such-ca.pem".into()), ..KafkaConfig::default() };
        let error = config.client().unwrap_err().to_string();
        assert!(error.contains("kafka.ssl_ca_location: no such file: /tmp/no-such-ca.pem"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let config = KafkaConfig { ssl_ca_location: Some(file.path().into()), ..KafkaConfig::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with("kafka.ssl_ca_location: librdkafka cannot use this file, expected PEM"), "{error}");
        assert!(KafkaConfig::default().check().is_ok());
    }

    #[test]
    fn protocols_are_taken_as_kafka_writes_them() {
        for (text, expected) in [
            ("sasl_ssl", SecurityProtocol::SaslSsl),
            ("SASL_SSL", SecurityProtocol::SaslSsl),
            ("SASL_PLAINTEXT", SecurityProtocol::SaslPlaintext),
            ("SSL", SecurityProtocol::Ssl),
            ("PLAINTEXT", SecurityProtocol::Plaintext),
        ] {
            assert_eq!(serde_json::from_value::<SecurityProtocol>(text.into()).unwrap(), expected, "{text}");
        }
        assert_eq!(SecurityProtocol::SaslSsl.to_string(), "sasl_ssl");
    }

    #[test]
    fn servers_have_a_host_and_a_port_and_nothing_else() {
        for good in ["127.0.0.1:9092", "a.b:1, c-d:65535", "[::1]:9092"] {
            assert_eq!(check_servers(good), Ok(()), "{good}");
        }
        for bad in ["", "mhw_live_x", "a:1,", "a:b", "a:0", ":1", "me:mhw_live_x@a:1", "http://a:1", "a:1?b"] {
            let reason = check_servers(bad).unwrap_err();
            assert!(reason.contains("host:port"), "{bad}: {reason}");
        }
    }
}
