//! The connection to Kafka.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::{ConfigError, Secret};

/// The section `[kafka]`. Security settings pass through to librdkafka under its own names, with `_` for `.`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Topics are `{prefix}.video` and so on.
    pub topic_prefix: String,
    /// How to talk to the brokers.
    pub security_protocol: SecurityProtocol,
    /// How to log in.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// The user.
    pub sasl_username: Option<String>,
    /// The password; from the environment only.
    pub sasl_password: Option<Secret>,
    /// A file that holds the password.
    pub sasl_password_file: Option<PathBuf>,
    /// The certificate authority, PEM.
    pub ssl_ca_location: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub ssl_certificate_location: Option<PathBuf>,
    /// The client's key, PEM.
    pub ssl_key_location: Option<PathBuf>,
    /// The password of the client's key; from the environment only.
    pub ssl_key_password: Option<Secret>,
    /// A file that holds the password of the client's key.
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

macro_rules! choices {
    ($($(#[$doc:meta])* $type:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "librdkafka's own names")]
        pub enum $type { $($variant),* }

        impl $type {
            const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match &*String::deserialize(deserializer)? {
                    $($text => Ok(Self::$variant),)*
                    other => Err(D::Error::unknown_variant(other, &[$($text),*])),
                }
            }
        }
    )*};
}

choices! {
    /// `security.protocol` of librdkafka.
    SecurityProtocol {
        Plaintext = "plaintext",
        Ssl = "ssl",
        SaslPlaintext = "sasl_plaintext",
        SaslSsl = "sasl_ssl",
    }
    /// `sasl.mechanism` of librdkafka.
    SaslMechanism {
        Plain = "PLAIN",
        ScramSha256 = "SCRAM-SHA-256",
        ScramSha512 = "SCRAM-SHA-512",
    }
}

impl KafkaConfig {
    /// The settings that every client of librdkafka needs; reads the files that hold secrets.
    pub fn client(&self) -> Result<ClientConfig, ConfigError> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap_servers);
        client.set("security.protocol", self.security_protocol.as_str());
        let sasl = matches!(self.security_protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
        let password =
            Secret::either("kafka.sasl_password", self.sasl_password.as_ref(), self.sasl_password_file.as_deref())?;
        match (sasl, self.sasl_mechanism, &self.sasl_username, password) {
            (true, Some(mechanism), Some(username), Some(password)) => {
                client.set("sasl.mechanism", mechanism.as_str());
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
                    return Err(ConfigError::invalid(key, format_args!("no such file: {}", path.display())));
                }
                client.set(name, path.to_string_lossy());
            }
        }
        Ok(client)
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
        let config = KafkaConfig { ssl_ca_location: Some("no/such/ca.pem".into()), ..KafkaConfig::default() };
        assert!(
            config.client().unwrap_err().to_string().contains("kafka.ssl_ca_location: no such file: no/such/ca.pem")
        );
    }
}
