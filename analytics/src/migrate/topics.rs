//! The topics: made where missing, compared where present, never altered.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;

use super::{Outcome, Progress, Step};
use crate::config::{AnalyticsConfig, TopicsConfig};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Look-ups by time need times that grow with the offset, which signed times do not.
const TIMESTAMP_TYPE: &str = "LogAppendTime";

/// How a missing topic is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Partitions.
    pub partitions: u16,
    /// Replicas of each partition.
    pub replication: u16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u16,
}

impl Wanted {
    /// What the configuration leaves open follows from the number of brokers.
    pub fn new(config: &TopicsConfig, brokers: usize) -> Self {
        let replication = config.replication.unwrap_or(if brokers >= 3 { 3 } else { 1 });
        let min_insync_replicas = config.min_insync_replicas.unwrap_or(replication / 2 + 1);
        Self { partitions: config.partitions, replication, min_insync_replicas }
    }
}

/// How a present topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Partitions.
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replication: usize,
    /// `min.insync.replicas`.
    pub min_insync_replicas: String,
    /// `message.timestamp.type`.
    pub timestamp_type: String,
}

impl Found {
    /// What is not as it must be. The number of partitions may grow and replicas may be added, so only what was asked for
    /// and is less counts.
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
}

pub(super) async fn migrate(config: &AnalyticsConfig, progress: &mut Progress) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix).context("kafka.topic_prefix")?;
    let admin: AdminClient<DefaultClientContext> = config.kafka.client()?.create()?;
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT).context("no broker answers")?;
    let wanted = Wanted::new(&config.topics, metadata.brokers().len());
    let mut single = false;
    for topic in topics.all() {
        let found = describe(&admin, &metadata, topic).await?;
        single |= found.as_ref().map_or(usize::from(wanted.replication), |found| found.replication) == 1;
        let (outcome, detail) = match found {
            Some(found) => compared(&found, &config.topics),
            None if progress.dry_run => (Outcome::Pending, described(&wanted)),
            None => {
                let made = create(&admin, topic, &wanted).await?;
                let metadata = appeared(&admin, topic).await?;
                match describe(&admin, &metadata, topic).await? {
                    Some(found) if !made => compared(&found, &config.topics),
                    Some(_) | None => (Outcome::Done, described(&wanted)),
                }
            }
        };
        progress.step(Step { kind: "topic", name: topic.to_owned(), outcome, detail });
    }
    if single {
        progress.note(
            "one replica: a lost disk loses webhooks that were acknowledged; in production use 3, 2 in sync".into(),
        );
    }
    Ok(())
}

fn compared(found: &Found, config: &TopicsConfig) -> (Outcome, String) {
    let differences = found.differences(config);
    if differences.is_empty() {
        let detail = format!(
            "partitions {}, replicas {}, in sync at least {}",
            found.partitions, found.replication, found.min_insync_replicas
        );
        return (Outcome::Unchanged, detail);
    }
    (Outcome::Differs, differences.join("; "))
}

fn described(wanted: &Wanted) -> String {
    let Wanted { partitions, replication, min_insync_replicas } = wanted;
    format!("partitions {partitions}, replicas {replication}, in sync at least {min_insync_replicas}")
}

async fn describe(
    admin: &AdminClient<DefaultClientContext>,
    metadata: &Metadata,
    topic: &str,
) -> anyhow::Result<Option<Found>> {
    let Some(known) = metadata.topics().iter().find(|known| known.name() == topic) else {
        return Ok(None);
    };
    let specifiers = [ResourceSpecifier::Topic(topic)];
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let mut described = admin.describe_configs(&specifiers, &options).await?;
    let resource = described.pop().with_context(|| format!("no configuration of {topic}"))??;
    let replicas = known.partitions().iter().map(|partition| partition.replicas().len());
    Ok(Some(Found {
        partitions: known.partitions().len(),
        replication: replicas.min().unwrap_or(0),
        min_insync_replicas: value(&resource, "min.insync.replicas"),
        timestamp_type: value(&resource, "message.timestamp.type"),
    }))
}

fn value(resource: &ConfigResource, name: &str) -> String {
    resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

/// False = it was there after all: another migration was quicker, or the broker had not heard of it yet.
async fn create(admin: &AdminClient<DefaultClientContext>, topic: &str, wanted: &Wanted) -> anyhow::Result<bool> {
    let in_sync = wanted.min_insync_replicas.to_string();
    let replication = TopicReplication::Fixed(wanted.replication.into());
    let new = NewTopic::new(topic, wanted.partitions.into(), replication)
        .set("message.timestamp.type", TIMESTAMP_TYPE)
        .set("min.insync.replicas", &in_sync);
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let mut made = true;
    for result in admin.create_topics([&new], &options).await? {
        match result {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => made = false,
            Err((topic, code)) => anyhow::bail!("cannot create {topic}: {code}"),
        }
    }
    Ok(made)
}

/// The controller makes a topic, and the brokers hear of it a little later: only then it can be used.
async fn appeared(admin: &AdminClient<DefaultClientContext>, topic: &str) -> anyhow::Result<Metadata> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        let known = metadata.topics().iter().find(|known| known.name() == topic);
        let partitions = known.map(MetadataTopic::partitions).unwrap_or_default();
        if !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok(metadata);
        }
        anyhow::ensure!(Instant::now() < deadline, "{topic} was created and has no leaders after {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: TopicsConfig = TopicsConfig { partitions: 8, replication: None, min_insync_replicas: None };

    #[test]
    fn a_cluster_of_three_gets_three_replicas() {
        let wanted = |brokers| Wanted::new(&UNSET, brokers);
        assert_eq!(wanted(3), Wanted { partitions: 8, replication: 3, min_insync_replicas: 2 });
        assert_eq!(wanted(1), Wanted { partitions: 8, replication: 1, min_insync_replicas: 1 });
    }

    #[test]
    fn only_less_than_asked_differs() {
        let found = Found {
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
        let by_client = Found { timestamp_type: "CreateTime".into(), ..found };
        assert_eq!(by_client.differences(&UNSET), ["message.timestamp.type is CreateTime, not LogAppendTime"]);
    }
}
