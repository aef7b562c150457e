//! The configuration of the binary.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use hookline_schemas::provider::TOLERANCE_SECONDS;
use hookline_schemas::topics::Topics;
use hookline_service::admin::AdminConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use hookline_service::kafka::KafkaConfig;
use hookline_sources::{SourceConfig, Sources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::peer::TrustedProxies;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// The listener for webhooks.
    pub server: ServerConfig,
    /// The listener for metrics and health.
    pub admin: AdminConfig,
    /// The brokers that webhooks are stored on.
    pub kafka: KafkaConfig,
    /// The sources of webhooks, by the name in the path `/webhooks/{source}`; without any, `HOOKLINE_SOURCE` names the only
    /// one and `HOOKLINE_WEBHOOK_SECRET` holds its secret.
    pub sources: BTreeMap<String, SourceConfig>,
    /// How far the signed time of a webhook may be from the time it arrives; others are answered 401.
    pub tolerance: Tolerance,
    /// How much is taken on at once; beyond it, webhooks are answered 503 and sent again by the provider.
    pub limits: Limits,
}

/// The section `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The address to listen on; port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
    /// Threads that serve requests; librdkafka has its own.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: NonZeroUsize,
    /// Networks and addresses of the proxies before this listener, such as `10.0.0.0/8`, several separated by commas. Who sends
    /// is told apart by address, so that nobody can use up the limits for everybody else; of these alone it is read from their
    /// header `X-Forwarded-For` instead, to which they must add the address that they see.
    #[schemars(with = "String")]
    pub trusted_proxies: TrustedProxies,
}

/// The section `[tolerance]`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// Seconds that a signed time may lie in the past, the last one included.
    #[schemars(range(max = 315_360_000))]
    pub past_seconds: u32,
    /// Seconds that a signed time may lie in the future, the last one included.
    #[schemars(range(max = 315_360_000))]
    pub future_seconds: u32,
}

/// The section `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body in bytes, at most 100 MiB.
    #[schemars(range(min = 1, max = 104_857_600))]
    pub body_bytes: usize,
    /// Open connections; the process needs as many file descriptors and some more. With all of them open, a new one ends the
    /// one that waits longest for its client, of the peer that has most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: usize,
    /// Requests whose body has arrived and that wait for Kafka; webhooks outside the tolerance have a sixteenth more for
    /// themselves.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight: usize,
    /// Bytes of bodies that are being read or wait for Kafka; at least `body_bytes`. With all of them in use, a body takes its
    /// bytes from those that are not whole, of the peer that holds most in such bodies. Webhooks outside the tolerance have a
    /// sixteenth more for themselves, at least `body_bytes`.
    #[schemars(range(max = 68_719_476_736_u64))]
    pub queued_bytes: usize,
    /// Signatures of stale deliveries that are remembered, so that each is stored once.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub stale_signatures: usize,
    /// Events answered with 503 whose first signed time is remembered.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub first_signed_times: usize,
}

impl Tolerance {
    /// Whether what was signed `age_seconds` ago is stale.
    pub fn excludes(self, age_seconds: i64) -> bool {
        age_seconds > i64::from(self.past_seconds) || -age_seconds > i64::from(self.future_seconds)
    }
}

impl Limits {
    fn check(self) -> Result<(), ConfigError> {
        let Self { body_bytes, queued_bytes, .. } = self;
        if queued_bytes < body_bytes {
            let reason = format_args!("{queued_bytes}, but a single body may have limits.body_bytes = {body_bytes}");
            return Err(ConfigError::invalid("limits.queued_bytes", reason));
        }
        Ok(())
    }

    /// Webhooks outside the tolerance have this part of the limits beside all others, whose part they cannot use up.
    const STALE_SHARE: usize = 16;

    /// Requests outside the tolerance whose body has arrived and that wait for Kafka.
    pub fn stale_in_flight(self) -> usize {
        (self.in_flight / Self::STALE_SHARE).max(1)
    }

    /// Bytes of bodies outside the tolerance; enough for the largest body.
    pub fn stale_queued_bytes(self) -> usize {
        (self.queued_bytes / Self::STALE_SHARE).max(self.body_bytes)
    }
}

impl Default for IngestConfig {
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
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            workers: NonZeroUsize::MIN,
            trusted_proxies: TrustedProxies::default(),
        }
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

impl Settings for IngestConfig {
    const BINARY: &'static str = "INGEST";

    fn check(&self, environment: &Variables) -> Result<(), ConfigError> {
        ConfigError::join([
            self.check_addresses(),
            self.limits.check(),
            Topics::new(&self.kafka.topic_prefix)
                .map(drop)
                .map_err(|error| ConfigError::invalid("kafka.topic_prefix", error)),
            self.kafka.check(),
            Sources::read(&self.sources, |name| environment.get(name).cloned()).map(drop),
        ])
    }
}

impl IngestConfig {
    /// Two listeners cannot have one port, unless each has an address of its own.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let (server, admin) = (self.server.listen, self.admin.listen);
        let is_shared = server.ip() == admin.ip() || server.ip().is_unspecified() || admin.ip().is_unspecified();
        if server.port() != 0 && server.port() == admin.port() && is_shared {
            let reason = format_args!(
                "{admin}, but server.listen = {server} has this port, expected another one, such as 127.0.0.1:9081"
            );
            return Err(ConfigError::invalid("admin.listen", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hookline_service::config::load;

    use super::*;

    fn with_source(more: &[(&str, &str)]) -> Result<IngestConfig, ConfigError> {
        let source = [("HOOKLINE_SOURCE", "magichour"), ("HOOKLINE_WEBHOOK_SECRET", "0123456789abcdef")];
        load(None, &source.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn only_a_source_is_required() {
        assert_eq!(with_source(&[]).unwrap(), IngestConfig::default());
        let error = load::<IngestConfig>(None, &Variables::new()).unwrap_err().to_string();
        assert!(error.contains("HOOKLINE_WEBHOOK_SECRET"), "{error}");
    }

    #[test]
    fn the_environment_sets_keys() {
        let config = with_source(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "k:1"),
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__SOURCES__STAGING__KEYS__OLD__ENV", "HOOKLINE_WEBHOOK_SECRET"),
        ])
        .unwrap();
        assert_eq!(config.kafka.bootstrap_servers, "k:1");
        assert_eq!(config.server.listen.port(), 0);
        assert_eq!(config.sources["staging"].keys["old"].env.as_deref(), Some("HOOKLINE_WEBHOOK_SECRET"));
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (variable, value, part) in [
            ("HOOKLINE_INGEST__LIMITS__QUEUED_BYTES", "7", "limits.queued_bytes"),
            (
                "HOOKLINE_INGEST__LIMITS__IN_FLIGHT",
                "0",
                "limits.in_flight: 0, expected a whole number, 1 to 1000000, such as 1024",
            ),
            ("HOOKLINE_INGEST__LIMITS__BODY_BYTES", "104857601", "limits.body_bytes"),
            ("HOOKLINE_INGEST__SERVER__WORKERS", "0", "server.workers"),
            (
                "HOOKLINE_INGEST__SERVER__TRUSTED_PROXIES",
                "::1, proxy",
                "server.trusted_proxies: expected networks such as 10.0.0.0/8, or addresses, separated by commas; number 2 is neither",
            ),
            (
                "HOOKLINE_INGEST__TOLERANCE__PAST_SECONDS",
                "315360001",
                "tolerance.past_seconds: 315360001, expected a whole number, at most 315360000, such as 300",
            ),
            ("HOOKLINE_TOPIC_PREFIX", "a b", "kafka.topic_prefix"),
            ("KAFKA_BOOTSTRAP_SERVERS", "", "kafka.bootstrap_servers: expected host:port"),
            ("KAFKA_BOOTSTRAP_SERVERS", "host:abc", "kafka.bootstrap_servers: expected host:port"),
            (
                "HOOKLINE_INGEST__SERVER__WORKERS",
                "100000",
                "server.workers: 100000, expected a whole number, 1 to 1024, such as 1",
            ),
            (
                "HOOKLINE_INGEST__ADMIN__LISTEN",
                "0.0.0.0:8080",
                "admin.listen: 0.0.0.0:8080, but server.listen = 127.0.0.1:8080 has this port, expected another one, such as \
                 127.0.0.1:9081 (set by HOOKLINE_INGEST__ADMIN__LISTEN)",
            ),
            (
                "HOOKLINE_INGEST_SERVER_LISTEN",
                "127.0.0.1:8081",
                "HOOKLINE_INGEST_SERVER_LISTEN: no key has this variable, expected HOOKLINE_INGEST__SERVER__LISTEN",
            ),
            (
                "HOOKLINE_INGEST__SERVER__LISTEN",
                "localhost:8080",
                "server.listen: expected an IP address and a port, such as 127.0.0.1:8080",
            ),
            ("HOOKLINE_INGEST__SOURCES__A__KEYS__B__TEXT", "s", "sources.a.keys.b"),
            ("HOOKLINE_INGEST__SOURCES__A__KEYS__B__ENV", "GONE", "sources.a.keys.b.env"),
        ] {
            let error = with_source(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[test]
    fn stale_webhooks_have_a_share_of_their_own() {
        let limits = Limits::default();
        assert_eq!((limits.stale_in_flight(), limits.stale_queued_bytes()), (64, 1 << 20));
        let least = Limits { in_flight: 1, body_bytes: 7, queued_bytes: 7, ..limits };
        assert_eq!((least.stale_in_flight(), least.stale_queued_bytes()), (1, 7));
        let tolerance = Tolerance { past_seconds: 300, future_seconds: 60 };
        assert_eq!([300, 301, -60, -61].map(|age| tolerance.excludes(age)), [false, true, false, true]);
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<IngestConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-ingest", &reference);
    }
}
