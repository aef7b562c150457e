//! The configuration of `hookline-analytics`.

use std::path::Path;

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{CONNECTION_ALIASES, CONNECTION_SECRETS, ConfigError, ConfigSource};
use hookline_service::kafka::KafkaConfig;
use serde::Deserialize;

const SCHEMA: ConfigSource =
    ConfigSource { binary: "ANALYTICS", aliases: &CONNECTION_ALIASES, secrets: &CONNECTION_SECRETS };

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the topics are.
    pub kafka: KafkaConfig,
    /// Where the tables are.
    pub clickhouse: ClickHouseConfig,
    /// How topics are made.
    pub topics: TopicsConfig,
}

/// The section `[topics]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Partitions of each topic.
    pub partitions: u16,
    /// Replicas of each partition. Where absent: 3 on a cluster of at least three brokers, 1 on a smaller one.
    pub replication: Option<u16>,
    /// `min.insync.replicas`. Where absent: a majority of the replicas, so 2 of 3.
    pub min_insync_replicas: Option<u16>,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { partitions: 8, replication: None, min_insync_replicas: None }
    }
}

impl Config {
    /// Reads `file` and `environment`.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let config: Self = SCHEMA.load(file, environment)?;
        config.topics.check()?;
        Ok(config)
    }
}

impl TopicsConfig {
    /// Checks what only shows to be wrong together.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("topics.partitions", Some(self.partitions)),
            ("topics.replication", self.replication),
            ("topics.min_insync_replicas", self.min_insync_replicas),
        ] {
            if value == Some(0) {
                return Err(ConfigError::invalid(key, "is 0, but must be at least 1"));
            }
        }
        match (self.replication, self.min_insync_replicas) {
            (Some(replicas), Some(in_sync)) if in_sync > replicas => {
                let reason = format_args!("is {in_sync}, more than the {replicas} of topics.replication");
                Err(ConfigError::invalid("topics.min_insync_replicas", reason))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, environment.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(load(&[]).unwrap(), Config::default());
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
        assert!(refused(&[("HOOKLINE_ANALYTICS__TOPICS__PARTITIONS", "0")]).starts_with("topics.partitions: is 0"));
        let more = [
            ("HOOKLINE_ANALYTICS__TOPICS__REPLICATION", "1"),
            ("HOOKLINE_ANALYTICS__TOPICS__MIN_INSYNC_REPLICAS", "2"),
        ];
        assert!(refused(&more).starts_with("topics.min_insync_replicas: is 2, more than the 1"));
    }
}
