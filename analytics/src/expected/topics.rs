//! How a topic must be, how it is, and where the two differ.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use hookline_service::kafka::KafkaContext;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::metadata::Metadata;

use crate::config::TopicsConfig;

/// Records have the broker's time: a position is looked up by it, which takes times that grow with the offset, and signed times
/// do not.
pub const TIMESTAMP_TYPE: &str = "LogAppendTime";

/// A topic as it is created where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedTopic {
    pub partitions: u16,
    pub replication: u16,
    pub min_insync_replicas: u16,
}

impl ExpectedTopic {
    /// Settings that the configuration does not have follow from the number of brokers.
    pub fn new(config: &TopicsConfig, brokers: usize) -> Self {
        let replication = config.replication.unwrap_or(if brokers >= 3 { 3 } else { 1 });
        let min_insync_replicas = config.min_insync_replicas.unwrap_or(replication / 2 + 1);
        Self { partitions: config.partitions, replication, min_insync_replicas }
    }

    /// Describes it as [`FoundTopic::summary`] does a topic that exists.
    pub fn summary(&self) -> String {
        summary(self.partitions, self.replication, self.min_insync_replicas)
    }
}

/// A topic as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTopic {
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replication: usize,
    pub min_insync_replicas: String,
    pub timestamp_type: String,
}

impl FoundTopic {
    /// Asks the brokers for the settings of a topic; `None` where `metadata` has no such topic.
    pub async fn describe(
        admin: &AdminClient<KafkaContext>,
        metadata: &Metadata,
        name: &str,
        timeout: Duration,
    ) -> anyhow::Result<Option<Self>> {
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let mut described = admin.describe_configs(&[ResourceSpecifier::Topic(name)], &options).await?;
        let settings = described.pop().with_context(|| format!("the brokers describe no settings of {name}"))??;
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len());
        Ok(Some(Self {
            partitions: topic.partitions().len(),
            replication: replicas.min().unwrap_or(0),
            min_insync_replicas: value(&settings, "min.insync.replicas"),
            timestamp_type: value(&settings, "message.timestamp.type"),
        }))
    }

    /// Finds what is not as it must be. The number of partitions may grow and replicas may be added, so only what the
    /// configuration asks for and is less counts.
    pub fn differences(&self, config: &TopicsConfig) -> Vec<String> {
        let mut differences = Vec::new();
        if self.timestamp_type != TIMESTAMP_TYPE {
            differences.push(format!("message.timestamp.type is {}, not {TIMESTAMP_TYPE}", self.timestamp_type));
        }
        if let Some(replication) = config.replication.filter(|asked| self.replication < usize::from(*asked)) {
            differences.push(format!("{} of the {replication} replicas asked for", self.replication));
        }
        let in_sync = self.min_insync_replicas.parse::<u16>().ok();
        if let Some(asked) = config.min_insync_replicas.filter(|asked| in_sync.is_none_or(|found| found < *asked)) {
            differences.push(format!("min.insync.replicas is {}, not {asked}", self.min_insync_replicas));
        }
        differences
    }

    pub fn summary(&self) -> String {
        summary(self.partitions, self.replication, &self.min_insync_replicas)
    }
}

fn summary(partitions: impl Display, replicas: impl Display, in_sync: impl Display) -> String {
    format!("partitions {partitions}, replicas {replicas}, in sync at least {in_sync}")
}

fn value(settings: &ConfigResource, name: &str) -> String {
    settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: TopicsConfig = TopicsConfig { partitions: 2, replication: None, min_insync_replicas: None };

    #[test]
    fn a_cluster_of_three_gets_three_replicas() {
        let expected = |brokers| ExpectedTopic::new(&UNSET, brokers);
        assert_eq!(expected(3), ExpectedTopic { partitions: 2, replication: 3, min_insync_replicas: 2 });
        assert_eq!(expected(1), ExpectedTopic { partitions: 2, replication: 1, min_insync_replicas: 1 });
    }

    #[test]
    fn only_less_than_asked_differs() {
        let found = FoundTopic {
            partitions: 24,
            replication: 2,
            min_insync_replicas: "1".into(),
            timestamp_type: TIMESTAMP_TYPE.into(),
        };
        assert_eq!(found.differences(&UNSET), [] as [String; 0]);
        let asked = TopicsConfig { replication: Some(3), min_insync_replicas: Some(2), ..UNSET };
        assert_eq!(
            found.differences(&asked),
            ["2 of the 3 replicas asked for", "min.insync.replicas is 1, not 2"].map(String::from)
        );
        let by_client = FoundTopic { timestamp_type: "CreateTime".into(), ..found };
        assert_eq!(by_client.differences(&UNSET), ["message.timestamp.type is CreateTime, not LogAppendTime"]);
    }
}
