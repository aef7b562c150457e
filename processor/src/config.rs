//! The configuration of `hookline-processor`.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_schemas::topics::Topics;
use hookline_service::admin::AdminConfig;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use hookline_service::kafka::KafkaConfig;
use hookline_service::shutdown::{BLOCKED_TIMEOUT, longest_shutdown};
use hookline_sources::SourceConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::consumer::CANCEL_TIMEOUT;
use crate::daemon::ADMIN_TIMEOUT;

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
    /// if not set; empty for a group without static members. The brokers know it with the version of the fold at its end, such as
    /// `{instance_id}.fold-1`: an update that raises this version joins as another member, and the former one's partitions wait for
    /// `session_timeout_ms`.
    pub instance_id: Option<String>,
    /// Milliseconds without a heartbeat after which a member's partitions go to the others.
    #[schemars(range(min = 1_000, max = 300_000))]
    pub session_timeout_ms: u32,
    /// Milliseconds that inserts under way may take when partitions are revoked or the daemon ends. What is not in the tables
    /// by then stays uncommitted and is read again. `shutdown_timeout_ms` must be 8 s more, for the steps that follow.
    #[schemars(range(min = 1, max = 600_000))]
    pub settle_timeout_ms: u64,
    /// Milliseconds after SIGTERM at which the process has ended in any case, with exit code 1. It should be less than what the
    /// supervisor gives before SIGKILL.
    #[schemars(range(min = 10_000, max = 3_600_000))]
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

/// The steps of the end that follow the inserts, one after the other.
const AFTER_SETTLING: [Duration; 3] = [CANCEL_TIMEOUT, ADMIN_TIMEOUT, BLOCKED_TIMEOUT];

impl GroupConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let settle_timeout = Duration::from_millis(self.settle_timeout_ms);
        let most = self.shutdown_timeout().saturating_sub(longest_shutdown(&AFTER_SETTLING));
        if settle_timeout > most {
            let expected = format!(
                "{}, expected at most {}: group.shutdown_timeout_ms = {} must hold {} ms more, for the steps that follow",
                self.settle_timeout_ms,
                most.as_millis(),
                self.shutdown_timeout_ms,
                longest_shutdown(&AFTER_SETTLING).as_millis()
            );
            return Err(ConfigError::invalid("group.settle_timeout_ms", expected));
        }
        Ok(())
    }

    /// The time within which the process ends.
    pub const fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
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
    use hookline_service::shutdown::{LONGEST, fits_shutdown};

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
    fn all_steps_of_the_end_fit_into_its_time() {
        let settle = Duration::from_millis(GroupConfig::default().settle_timeout_ms);
        let [cancel, admin, blocked] = AFTER_SETTLING;
        assert!(fits_shutdown(&[settle, cancel, admin, blocked]), "the defaults");
        assert_eq!(GroupConfig::default().shutdown_timeout(), LONGEST);
        let with = |name: &str, value: &str| load(&[(&format!("HOOKLINE_PROCESSOR__GROUP__{name}"), value)]);
        for (name, value, expected) in [
            ("SETTLE_TIMEOUT_MS", "17000", None),
            (
                "SETTLE_TIMEOUT_MS",
                "17001",
                Some("17001, expected at most 17000: group.shutdown_timeout_ms = 25000 must"),
            ),
            ("SHUTDOWN_TIMEOUT_MS", "23000", None),
            (
                "SHUTDOWN_TIMEOUT_MS",
                "22999",
                Some("15000, expected at most 14999: group.shutdown_timeout_ms = 22999 must"),
            ),
        ] {
            match (with(name, value), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => {
                    let error = error.to_string();
                    assert!(
                        error.starts_with(&format!("group.settle_timeout_ms: {expected} hold 8000 ms more")),
                        "{error}"
                    );
                }
                (result, _) => panic!("{name} = {value}: {result:?}"),
            }
        }
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
