//! The configuration of `hookline-processor`.

use hookline_service::admin::AdminConfig;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{CONNECTION_ALIASES, CONNECTION_SECRETS, ConfigError, ConfigSource};
use hookline_service::kafka::KafkaConfig;
use serde::Deserialize;

/// How the configuration is read.
pub const SCHEMA: ConfigSource =
    ConfigSource { binary: "PROCESSOR", aliases: &CONNECTION_ALIASES, secrets: &CONNECTION_SECRETS };

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessorConfig {
    /// The second listener.
    pub admin: Admin,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// The tables.
    pub clickhouse: ClickHouseConfig,
    /// The consumer group.
    pub group: GroupConfig,
    /// When a batch is full.
    pub batch: BatchConfig,
    /// What is remembered of jobs.
    pub counting: CountingConfig,
}

/// The section `[admin]`, with this daemon's default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Admin(pub AdminConfig);

impl Default for Admin {
    fn default() -> Self {
        Self(AdminConfig { listen: ([127, 0, 0, 1], 9082).into() })
    }
}

/// The section `[group]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// The group's id; `{topic prefix}.processor` where not set.
    pub id: Option<String>,
    /// Must survive a restart and differ between the group's members; `{host name}.{admin port}` where not set. Empty =
    /// no static membership.
    pub instance_id: Option<String>,
    /// Without a heartbeat for so long, a member's partitions go to the others.
    pub session_timeout_ms: u32,
    /// How long inserts under way may take when partitions are revoked or the daemon ends.
    pub settle_timeout_ms: u64,
    /// Lag and no progress for so long: the consumer is made anew.
    pub watchdog_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { id: None, instance_id: None, session_timeout_ms: 15_000, settle_timeout_ms: 20_000, watchdog_ms: 60_000 }
    }
}

/// The section `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// So many records.
    pub max_rows: usize,
    /// So much memory.
    pub max_bytes: usize,
    /// So long since its first record.
    pub max_age_ms: u64,
    /// How often the roll-up follows, and offsets are committed.
    pub refresh_ms: u64,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_rows: 50_000, max_bytes: 32 << 20, max_age_ms: 1_000, refresh_ms: 5_000 }
    }
}

/// The section `[counting]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountingConfig {
    /// How many finished jobs are remembered, so that none is counted twice; about 35 bytes each.
    pub remembered_jobs: usize,
}

impl Default for CountingConfig {
    fn default() -> Self {
        Self { remembered_jobs: 2_000_000 }
    }
}

impl ProcessorConfig {
    /// Finds what only shows to be wrong together.
    pub fn validate(self) -> Result<Self, ConfigError> {
        for (key, value, range) in [
            ("batch.max_rows", self.batch.max_rows, 1..=1_000_000),
            ("batch.max_bytes", self.batch.max_bytes, 1 << 20..=1 << 32),
            ("counting.remembered_jobs", self.counting.remembered_jobs, 1..=100_000_000),
        ] {
            if !range.contains(&value) {
                let reason = format_args!("{value} is not in {} to {}", range.start(), range.end());
                return Err(ConfigError::invalid(key, reason));
            }
        }
        Ok(self)
    }

    /// The group's id.
    pub fn group_id(&self) -> String {
        self.group.id.clone().unwrap_or_else(|| format!("{}.processor", self.kafka.topic_prefix))
    }

    /// The instance id, if membership is static.
    pub fn instance_id(&self) -> Option<String> {
        let id = self.group.instance_id.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".into());
            format!("{}.{}", host.trim(), self.admin.0.listen.port())
        });
        (!id.is_empty()).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<ProcessorConfig, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SCHEMA.load::<ProcessorConfig>(None, variables)?.validate()
    }

    #[test]
    fn everything_has_a_default() {
        let config = load(&[]).unwrap();
        assert_eq!(config, ProcessorConfig::default());
        assert_eq!(config.group_id(), "hookline.processor");
        assert!(config.instance_id().unwrap().ends_with(".9082"));
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = load(&[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "0")]).unwrap_err().to_string();
        assert!(error.contains("batch.max_rows: 0 is not in 1 to 1000000"), "{error}");
    }

    #[test]
    fn an_empty_instance_id_is_no_static_membership() {
        let config = load(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "")]).unwrap();
        assert_eq!(config.instance_id(), None);
    }
}
