//! The configuration of the binary.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use hookline_schemas::provider::TOLERANCE_SECONDS;
use hookline_schemas::topics::Topics;
use hookline_service::admin::AdminConfig;
use hookline_service::config::{CONNECTION_ALIASES, CONNECTION_SECRETS, ConfigError, ConfigSource};
use hookline_service::kafka::KafkaConfig;
use serde::Deserialize;

/// How the configuration is read.
pub const SCHEMA: ConfigSource = ConfigSource {
    binary: "INGEST",
    // Of the shared names, those of Kafka: ingest knows no ClickHouse.
    aliases: CONNECTION_ALIASES.split_at(2).0,
    secrets: CONNECTION_SECRETS.split_at(2).0,
};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where webhooks come in.
    pub server: ServerConfig,
    /// Metrics and health.
    pub admin: AdminConfig,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Who may send, by name.
    pub sources: BTreeMap<String, SourceConfig>,
    /// How old or early a signature may be.
    pub tolerance: Tolerance,
    /// How much is taken on at once.
    pub limits: Limits,
}

/// The section `[server]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Threads that serve requests; librdkafka has its own.
    pub workers: NonZeroUsize,
}

/// A section `[sources.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its secrets, by name; one is the rule, two while the provider's secret is changed.
    pub keys: BTreeMap<String, KeyConfig>,
}

/// Where a secret comes from: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyConfig {
    /// An environment variable.
    Env(String),
    /// A file; re-read on SIGHUP.
    File(PathBuf),
}

/// The section `[tolerance]`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// Seconds that a signed time may lie in the past.
    pub past_seconds: u32,
    /// Seconds that a signed time may lie in the future.
    pub future_seconds: u32,
}

/// The section `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// Open connections; the process needs as many file descriptors and some more.
    pub connections: usize,
    /// Requests that are being worked on.
    pub in_flight: usize,
    /// Bytes of bodies that are being read or wait for the broker.
    pub queued_bytes: usize,
    /// Signatures of stale deliveries that are remembered, so that each is stored once.
    pub stale_signatures: usize,
    /// Events refused with 503 whose first signed time is remembered.
    pub first_signed_times: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            admin: AdminConfig { listen: ([127, 0, 0, 1], 9081).into() },
            kafka: KafkaConfig::default(),
            sources: BTreeMap::new(),
            tolerance: Tolerance::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 8080).into(), workers: NonZeroUsize::MIN }
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { past_seconds: TOLERANCE_SECONDS, future_seconds: TOLERANCE_SECONDS }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 << 10,
            connections: 800,
            in_flight: 1024,
            queued_bytes: 16 << 20,
            stale_signatures: 100_000,
            first_signed_times: 100_000,
        }
    }
}

impl Config {
    /// What can only be seen of several values together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Limits { body_bytes, connections, in_flight, queued_bytes, .. } = self.limits;
        for (key, value) in [
            ("limits.body_bytes", body_bytes),
            ("limits.connections", connections),
            ("limits.in_flight", in_flight),
            ("limits.stale_signatures", self.limits.stale_signatures),
            ("limits.first_signed_times", self.limits.first_signed_times),
        ] {
            if value == 0 {
                return Err(ConfigError::invalid(key, "0, but at least 1 is needed"));
            }
        }
        if queued_bytes < body_bytes {
            let reason = format!("{queued_bytes}, but a single body may have limits.body_bytes = {body_bytes}");
            return Err(ConfigError::invalid("limits.queued_bytes", reason));
        }
        Topics::new(&self.kafka.topic_prefix).map_err(|error| ConfigError::invalid("kafka.topic_prefix", error))?;
        if body_bytes > 100 << 20 {
            return Err(ConfigError::invalid("limits.body_bytes", format_args!("{body_bytes}, over 100 MiB")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let config: Config =
            SCHEMA.load(None, variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))?;
        config.check().map(|()| config)
    }

    #[test]
    fn defaults_are_sound() {
        assert_eq!(load(&[]).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_sets_keys() {
        let config = load(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "k:1"),
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__SOURCES__STAGING__KEYS__OLD__ENV", "SECRET"),
        ])
        .unwrap();
        assert_eq!(config.kafka.bootstrap_servers, "k:1");
        assert_eq!(config.server.listen.port(), 0);
        assert_eq!(config.sources["staging"].keys["old"], KeyConfig::Env("SECRET".into()));
    }

    #[test]
    fn a_key_has_one_origin() {
        for (variables, part) in [
            (&[("HOOKLINE_INGEST__LIMITS__QUEUED_BYTES", "7")][..], "limits.queued_bytes"),
            (&[("HOOKLINE_INGEST__LIMITS__IN_FLIGHT", "0")], "limits.in_flight"),
            (&[("HOOKLINE_INGEST__SERVER__WORKERS", "0")], "server.workers"),
            (&[("HOOKLINE_TOPIC_PREFIX", "a b")], "kafka.topic_prefix"),
            (&[("HOOKLINE_INGEST__SOURCES__A__KEYS__B__TEXT", "s")], "sources.a.keys.b"),
        ] {
            assert!(load(variables).unwrap_err().to_string().contains(part), "{part}");
        }
    }
}
