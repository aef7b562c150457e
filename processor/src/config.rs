//! The configuration of `hookline-processor`.

use std::collections::BTreeMap;

use hookline_schemas::topics::Topics;
use hookline_service::admin::AdminConfig;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use hookline_service::kafka::KafkaConfig;
use hookline_sources::SourceConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessorConfig {
    /// The listener for metrics and health.
    pub admin: AdminConfig,
    /// The brokers that records are read from.
    pub kafka: KafkaConfig,
    /// The server that holds the tables.
    pub clickhouse: ClickHouseConfig,
    /// The consumer group.
    pub group: GroupConfig,
    /// When a batch is written.
    pub batch: BatchConfig,
    /// The metrics that count finished jobs.
    pub counting: CountingConfig,
    /// The sources with whose secrets `replay --verify` checks signatures, as in the configuration of `hookline-ingest`; without any,
    /// `HOOKLINE_SOURCE` names the only one and `HOOKLINE_WEBHOOK_SECRET` holds its secret. Nothing else needs them.
    pub sources: BTreeMap<String, SourceConfig>,
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        Self {
            admin: AdminConfig { listen: ([127, 0, 0, 1], 9082).into() },
            kafka: KafkaConfig::default(),
            clickhouse: ClickHouseConfig::default(),
            group: GroupConfig::default(),
            batch: BatchConfig::default(),
            counting: CountingConfig::default(),
            sources: BTreeMap::new(),
        }
    }
}

/// The section `[group]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// The id of the group; `{kafka.topic_prefix}.processor` if not set.
    pub id: Option<String>,
    /// The id of this member of the group: it must survive a restart and differ between members. `{host name}.{admin port}`
    /// if not set; empty for a group without static members.
    pub instance_id: Option<String>,
    /// Milliseconds without a heartbeat after which a member's partitions go to the others.
    #[schemars(range(min = 1_000, max = 300_000))]
    pub session_timeout_ms: u32,
    /// Milliseconds that inserts under way may take when partitions are revoked or the daemon ends. What is not in the tables
    /// by then stays uncommitted and is read again. Must be less than `shutdown_timeout_ms`.
    #[schemars(range(min = 1, max = 600_000))]
    pub settle_timeout_ms: u64,
    /// Milliseconds after SIGTERM at which the process ends in any case, with exit code 1. It should be less than what the
    /// supervisor gives before SIGKILL.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub shutdown_timeout_ms: u64,
    /// Milliseconds of lag without progress after which the consumer is made anew.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub watchdog_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            id: None,
            instance_id: None,
            session_timeout_ms: 15_000,
            settle_timeout_ms: 15_000,
            shutdown_timeout_ms: 25_000,
            watchdog_ms: 60_000,
        }
    }
}

/// The section `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// A batch is written when it has this many records.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_rows: usize,
    /// A batch is written when its records take this many bytes of memory.
    #[schemars(range(min = 1_048_576, max = 4_294_967_296_u64))]
    pub max_bytes: usize,
    /// A batch is written when its first record was read this many milliseconds ago.
    #[schemars(range(max = 3_600_000))]
    pub max_age_ms: u64,
    /// Milliseconds between two refreshes of the roll-up, each of which is followed by a commit of offsets.
    pub refresh_ms: u64,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_rows: 50_000, max_bytes: 32 << 20, max_age_ms: 1_000, refresh_ms: 5_000 }
    }
}

/// The section `[counting]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CountingConfig {
    /// Finished jobs that are remembered, so that none is counted twice; each takes about 35 bytes.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub remembered_jobs: usize,
    /// Milliseconds that it may take to read from the tables which jobs were counted already, before the first insert after
    /// an assignment of partitions. After that the processor goes on, and may count some of them twice.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub reload_timeout_ms: u64,
}

impl Default for CountingConfig {
    fn default() -> Self {
        Self { remembered_jobs: 2_000_000, reload_timeout_ms: 60_000 }
    }
}

impl Settings for ProcessorConfig {
    const BINARY: &'static str = "PROCESSOR";

    fn check(&self, _: &Variables) -> Result<(), ConfigError> {
        ConfigError::join([
            Topics::new(&self.kafka.topic_prefix)
                .map(drop)
                .map_err(|error| ConfigError::invalid("kafka.topic_prefix", error)),
            self.kafka.check(),
            self.clickhouse.client().map(drop),
            self.group.check(),
        ])
    }
}

impl GroupConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { settle_timeout_ms, shutdown_timeout_ms, .. } = *self;
        if settle_timeout_ms >= shutdown_timeout_ms {
            let expected =
                format!("{settle_timeout_ms}, expected less than group.shutdown_timeout_ms, {shutdown_timeout_ms}");
            return Err(ConfigError::invalid("group.settle_timeout_ms", expected));
        }
        Ok(())
    }
}

impl ProcessorConfig {
    /// The id of the consumer group.
    pub fn group_id(&self) -> String {
        self.group.id.clone().unwrap_or_else(|| format!("{}.processor", self.kafka.topic_prefix))
    }

    /// The id of this member, if the group's members are static.
    pub fn instance_id(&self) -> Option<String> {
        let id = self.group.instance_id.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".into());
            format!("{}.{}", host.trim(), self.admin.listen.port())
        });
        (!id.is_empty()).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<ProcessorConfig, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        hookline_service::config::load(None, &variables.collect())
    }

    #[test]
    fn everything_has_a_default() {
        let config = load(&[]).unwrap();
        assert_eq!(config, ProcessorConfig::default());
        assert_eq!(config.group_id(), "hookline.processor");
        assert!(config.instance_id().unwrap().ends_with(".9082"));
        assert!(u128::from(config.group.shutdown_timeout_ms) <= hookline_service::shutdown::LONGEST.as_millis());
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = load(&[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "0")]).unwrap_err().to_string();
        assert!(error.contains("batch.max_rows: 0, expected a whole number, 1 to 1000000"), "{error}");
    }

    #[test]
    fn absurd_times_are_named() {
        for (variable, value, expected) in [
            (
                "GROUP__SESSION_TIMEOUT_MS",
                "1",
                "group.session_timeout_ms: 1, expected a whole number, 1000 to 300000, such as 15000",
            ),
            (
                "GROUP__SETTLE_TIMEOUT_MS",
                "99999999",
                "group.settle_timeout_ms: 99999999, expected a whole number, 1 to 600000",
            ),
            ("CLICKHOUSE__DATABASE", "a b;drop", "clickhouse.database: \"a b;drop\", expected 1 to 200 of"),
        ] {
            let variable = format!("HOOKLINE_PROCESSOR__{variable}");
            let error = load(&[(&variable, value)]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&format!("(set by {variable})")), "{error}");
        }
    }

    #[test]
    fn work_must_settle_before_the_process_ends() {
        let error = load(&[("HOOKLINE_PROCESSOR__GROUP__SHUTDOWN_TIMEOUT_MS", "15000")]).unwrap_err().to_string();
        let expected = "group.settle_timeout_ms: 15000, expected less than group.shutdown_timeout_ms, 15000";
        assert!(error.contains(expected), "{error}");
        assert!(load(&[("HOOKLINE_PROCESSOR__GROUP__SETTLE_TIMEOUT_MS", "24999")]).is_ok());
    }

    #[test]
    fn an_empty_instance_id_is_no_static_membership() {
        let config = load(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "")]).unwrap();
        assert_eq!(config.instance_id(), None);
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<ProcessorConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-processor", &reference);
    }
}
