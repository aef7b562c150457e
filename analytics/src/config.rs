//! The configuration of `hookline-analytics`.

use hookline_schemas::topics::Topics;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use hookline_service::kafka::KafkaConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::serve::ServeConfig;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalyticsConfig {
    /// The brokers that `migrate` makes the topics on.
    pub kafka: KafkaConfig,
    /// The server that holds the tables.
    pub clickhouse: ClickHouseConfig,
    /// The topics that `migrate` makes.
    pub topics: TopicsConfig,
    /// The API and the gauges of `serve`.
    pub serve: ServeConfig,
}

/// The section `[topics]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Partitions of each topic that is made. The producer sends a request for each partition, so that few cost least, and a
    /// processor reads them all: more are for several processors. `migrate --partitions` adds some at any time.
    #[schemars(range(min = 1))]
    pub partitions: u16,
    /// Replicas of each partition; if not set, 3 on a cluster of at least three brokers and 1 on a smaller one.
    #[schemars(range(min = 1))]
    pub replication: Option<u16>,
    /// `min.insync.replicas`: replicas that must have a record before it is acknowledged; if not set, a majority, so 2 of 3.
    #[schemars(range(min = 1))]
    pub min_insync_replicas: Option<u16>,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { partitions: 2, replication: None, min_insync_replicas: None }
    }
}

impl Settings for AnalyticsConfig {
    const BINARY: &'static str = "ANALYTICS";

    fn check(&self, _: &Variables) -> Result<(), ConfigError> {
        ConfigError::join([
            self.topics.check(),
            Topics::new(&self.kafka.topic_prefix)
                .map(drop)
                .map_err(|error| ConfigError::invalid("kafka.topic_prefix", error)),
            self.kafka.check(),
            self.clickhouse.client().map(drop),
            self.serve.check(),
            self.serve.reader(&self.clickhouse).client().map(drop),
        ])
    }
}

impl TopicsConfig {
    /// Finds values that do not fit together; `migrate` checks again what its options have changed.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let (Some(replicas), Some(in_sync)) = (self.replication, self.min_insync_replicas)
            && in_sync > replicas
        {
            let reason = format_args!("{in_sync}, more than the {replicas} of topics.replication");
            return Err(ConfigError::invalid("topics.min_insync_replicas", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<AnalyticsConfig, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        hookline_service::config::load(None, &environment.collect())
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(load(&[]).unwrap(), AnalyticsConfig::default());
    }

    #[test]
    fn shared_names_and_own_names_are_read() {
        let config = load(&[
            ("CLICKHOUSE_DATABASE", "shared"),
            ("HOOKLINE_ANALYTICS__CLICKHOUSE__DATABASE", "own"),
            ("HOOKLINE_TOPIC_PREFIX", "staging"),
            ("HOOKLINE_ANALYTICS__TOPICS__REPLICATION", "3"),
        ])
        .unwrap();
        assert_eq!((&*config.clickhouse.database, &*config.kafka.topic_prefix), ("own", "staging"));
        assert_eq!(config.topics.replication, Some(3));
    }

    #[test]
    fn impossible_topics_are_refused() {
        let refused = |environment| load(environment).unwrap_err().to_string();
        assert!(
            refused(&[("HOOKLINE_ANALYTICS__TOPICS__PARTITIONS", "0")]).starts_with("topics.partitions: 0, expected")
        );
        let more = [
            ("HOOKLINE_ANALYTICS__TOPICS__REPLICATION", "1"),
            ("HOOKLINE_ANALYTICS__TOPICS__MIN_INSYNC_REPLICAS", "2"),
        ];
        assert!(refused(&more).starts_with("topics.min_insync_replicas: 2, more than the 1"));
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<AnalyticsConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-analytics", &reference);
    }
}
