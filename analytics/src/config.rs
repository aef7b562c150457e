//! The configuration of `hookline-analytics`.

use hookline_schemas::ids::Resource;
use hookline_schemas::topics::Topics;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use hookline_service::kafka::KafkaConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::serve::{AdminUrls, PrometheusUrl, ServeConfig};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalyticsConfig {
    /// The brokers that `migrate` makes the topics on.
    pub kafka: KafkaConfig,
    /// The server that holds the tables.
    pub clickhouse: ClickHouseConfig,
    /// The topics that `migrate` makes.
    pub topics: TopicsConfig,
    /// How long the tables keep what they have. `migrate` sets it, and says what goes.
    pub retention: RetentionConfig,
    /// From when on an open job is in `stuck_jobs`. `migrate` writes it into the view.
    pub stuck_after: StuckAfterConfig,
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
        Self { partitions: Topics::DEFAULT_PARTITIONS, replication: None, min_insync_replicas: None }
    }
}

/// The section `[retention]`: days after which a row expires, for ever where it is not set. More than 8 where jobs are concerned:
/// hardly one ends later than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Days after its creation that `jobs` has a job.
    #[schemars(range(min = 9, max = 36_500))]
    pub jobs_days: Option<u32>,
    /// Days after it was signed that `deliveries` has a webhook; at least `retention.jobs_days`, since it is what jobs are made from.
    #[schemars(range(min = 9, max = 36_500))]
    pub deliveries_days: Option<u32>,
    /// Days after it was received that `dead_letters` has a record.
    #[schemars(range(min = 1, max = 36_500))]
    pub dead_letters_days: Option<u32>,
    /// Days after the creation of its jobs that the roll-up has an hour; at least `retention.jobs_days`.
    #[schemars(range(min = 9, max = 36_500))]
    pub job_stats_days: Option<u32>,
}

impl RetentionConfig {
    /// Finds a table that would lose what another one stands on.
    fn check(&self) -> Result<(), ConfigError> {
        let jobs = self.jobs_days.map_or("which is not set: for ever".into(), |days| days.to_string());
        let at_least_jobs = |key, days: Option<u32>| match days {
            Some(days) if self.jobs_days.is_none_or(|jobs| days < jobs) => {
                Err(ConfigError::invalid(key, format_args!("{days}, expected at least retention.jobs_days, {jobs}")))
            }
            _ => Ok(()),
        };
        ConfigError::join([
            at_least_jobs("retention.deliveries_days", self.deliveries_days),
            at_least_jobs("retention.job_stats_days", self.job_stats_days),
        ])
    }
}

/// The section `[stuck_after]`: seconds for each resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StuckAfterConfig {
    /// Seconds for audio.
    #[schemars(range(min = 1, max = 90_000))]
    pub audio_seconds: u32,
    /// Seconds for images.
    #[schemars(range(min = 1, max = 90_000))]
    pub image_seconds: u32,
    /// Seconds for videos.
    #[schemars(range(min = 1, max = 90_000))]
    pub video_seconds: u32,
}

impl Default for StuckAfterConfig {
    fn default() -> Self {
        Self { audio_seconds: 900, image_seconds: 900, video_seconds: 3_600 }
    }
}

impl StuckAfterConfig {
    pub const fn of(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Audio => self.audio_seconds,
            Resource::Image => self.image_seconds,
            Resource::Video => self.video_seconds,
        }
    }
}

impl Settings for AnalyticsConfig {
    const BINARY: &'static str = "ANALYTICS";

    fn check(&self, _: &Variables) -> Result<(), ConfigError> {
        ConfigError::join([
            self.topics.check(),
            self.retention.check(),
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
    fn what_jobs_are_made_from_is_kept_as_long() {
        let days = |table: &str, days: &str| (format!("HOOKLINE_ANALYTICS__RETENTION__{table}_DAYS"), days.to_owned());
        let load = |variables: Vec<(String, String)>| {
            hookline_service::config::load::<AnalyticsConfig>(None, &variables.into_iter().collect())
        };
        assert!(load(vec![days("JOBS", "30")]).is_ok());
        assert!(load(vec![days("JOBS", "30"), days("DELIVERIES", "30"), days("JOB_STATS", "31")]).is_ok());
        let refused = |variables| load(variables).unwrap_err().to_string();
        assert!(refused(vec![days("JOBS", "8")]).starts_with("retention.jobs_days: 8, expected"));
        let shorter = refused(vec![days("JOBS", "30"), days("DELIVERIES", "29"), days("JOB_STATS", "29")]);
        for table in ["deliveries", "job_stats"] {
            let expected = format!("retention.{table}_days: 29, expected at least retention.jobs_days, 30 (set by ");
            assert!(shorter.contains(&expected), "{shorter}");
        }
        let for_ever = refused(vec![days("DELIVERIES", "29")]);
        assert!(
            for_ever
                .starts_with("retention.deliveries_days: 29, expected at least retention.jobs_days, which is not set")
        );
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<AnalyticsConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-analytics", &reference);
    }
}
