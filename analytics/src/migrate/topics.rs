//! The topics: created where they are missing, compared where they exist, never altered.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;

use super::{MigrateReport, Step, StepOutcome};
use crate::config::{AnalyticsConfig, TopicsConfig};
use crate::expected::topics::{ExpectedTopic, FoundTopic, TIMESTAMP_TYPE};

/// The longest time that the brokers may take for an answer, and for a new topic to have leaders.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn migrate(config: &AnalyticsConfig, report: &mut MigrateReport) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix).context("kafka.topic_prefix")?;
    let client = config.kafka.client()?;
    // Nothing serves what librdkafka reports of an admin client, so a consumer without a group asks first, and says what is wrong.
    let consumer: BaseConsumer<_> = client.create_with_context(KafkaContext::new("migrate"))?;
    let metadata = ask(&consumer, |consumer| consumer.fetch_metadata(None, TIMEOUT))?;
    let admin: AdminClient<KafkaContext> = client.create_with_context(consumer.context().as_ref().clone())?;
    let expected = ExpectedTopic::new(&config.topics, metadata.brokers().len());
    let mut unreplicated = false;
    for topic in topics.all() {
        let found = FoundTopic::describe(&admin, &metadata, topic, TIMEOUT).await?;
        unreplicated |= found.as_ref().map_or(usize::from(expected.replication), |found| found.replication) == 1;
        let (outcome, detail) = match found {
            Some(found) => compare(&found, &config.topics),
            None if report.dry_run => (StepOutcome::Pending, expected.summary()),
            None => {
                let is_created = create(&admin, topic, &expected).await?;
                let metadata = wait_for_leaders(&admin, topic).await?;
                match FoundTopic::describe(&admin, &metadata, topic, TIMEOUT).await? {
                    Some(found) if !is_created => compare(&found, &config.topics),
                    Some(_) | None => (StepOutcome::Done, expected.summary()),
                }
            }
        };
        report.add_step(Step { kind: "topic", name: topic.to_owned(), outcome, detail });
    }
    if unreplicated {
        report.add_note(
            "one replica: a lost disk loses webhooks that were acknowledged; in production use 3, 2 in sync".into(),
        );
    }
    Ok(())
}

fn compare(found: &FoundTopic, config: &TopicsConfig) -> (StepOutcome, String) {
    let differences = found.differences(config);
    if differences.is_empty() {
        return (StepOutcome::Unchanged, found.summary());
    }
    (StepOutcome::Differs, differences.join("; "))
}

/// Creates a topic. Returns false where it existed after all: another `migrate` was faster, or the broker that was asked for
/// metadata did not know of it yet.
async fn create(admin: &AdminClient<KafkaContext>, topic: &str, expected: &ExpectedTopic) -> anyhow::Result<bool> {
    let in_sync = expected.min_insync_replicas.to_string();
    let replication = TopicReplication::Fixed(expected.replication.into());
    let request = NewTopic::new(topic, expected.partitions.into(), replication)
        .set("message.timestamp.type", TIMESTAMP_TYPE)
        .set("min.insync.replicas", &in_sync);
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let mut is_created = true;
    for result in admin.create_topics([&request], &options).await? {
        match result {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => is_created = false,
            Err((topic, code)) => anyhow::bail!("cannot create the topic {topic}: {code}"),
        }
    }
    Ok(is_created)
}

/// Waits until every partition of a new topic has a leader: the controller has created it before the brokers know of it, and only
/// then it can be used.
async fn wait_for_leaders(admin: &AdminClient<KafkaContext>, topic: &str) -> anyhow::Result<Metadata> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        let known = metadata.topics().iter().find(|known| known.name() == topic);
        let partitions = known.map(MetadataTopic::partitions).unwrap_or_default();
        if !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok(metadata);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the topic {topic} was created, but its partitions have no leaders after {TIMEOUT:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
