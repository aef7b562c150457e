//! The topics: created where they are missing, compared where they exist, altered in one way alone: partitions are added where
//! that is asked for.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::{KafkaContext, ask};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;

use super::{MigrateReport, Step, StepOutcome};
use crate::config::{AnalyticsConfig, TopicsConfig};
use crate::expected::topics::{ExpectedTopic, FoundTopic, TIMESTAMP_TYPE};

/// The longest time that the brokers may take for an answer, and for new partitions to have leaders.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Adds partitions to topics that have fewer than `wanted_partitions`, which was asked for by hand: a configuration alone alters
/// no topic.
pub(super) async fn migrate(
    config: &AnalyticsConfig,
    wanted_partitions: Option<u16>,
    report: &mut MigrateReport,
) -> anyhow::Result<()> {
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
            Some(found) => match wanted_partitions.map(usize::from) {
                Some(wanted) if wanted > found.partitions => {
                    let detail = format!("partitions {} → {wanted}", found.partitions);
                    if report.dry_run {
                        (StepOutcome::Pending, detail)
                    } else {
                        add_partitions(&admin, topic, wanted).await?;
                        (StepOutcome::Done, detail)
                    }
                }
                _ => compare(&found, wanted_partitions, &config.topics),
            },
            None if report.dry_run => (StepOutcome::Pending, expected.summary()),
            None => {
                let is_created = create(&admin, topic, &expected).await?;
                let metadata = wait_for_leaders(&admin, topic, 1).await?;
                match FoundTopic::describe(&admin, &metadata, topic, TIMEOUT).await? {
                    Some(found) if !is_created => compare(&found, wanted_partitions, &config.topics),
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

fn compare(found: &FoundTopic, wanted_partitions: Option<u16>, config: &TopicsConfig) -> (StepOutcome, String) {
    let mut differences = found.differences(config);
    if let Some(wanted) = wanted_partitions.filter(|wanted| usize::from(*wanted) < found.partitions) {
        differences.push(format!("{} partitions, of which Kafka cannot remove any, not {wanted}", found.partitions));
    }
    if !differences.is_empty() {
        return (StepOutcome::Differs, differences.join("; "));
    }
    let mut summary = found.summary();
    if usize::from(config.partitions) > found.partitions {
        let configured = config.partitions;
        summary += &format!(" (topics.partitions is {configured}: migrate --partitions {configured} adds them)");
    }
    (StepOutcome::Unchanged, summary)
}

/// Gives a topic more partitions, also where another `migrate` has given it some of them meanwhile.
async fn add_partitions(admin: &AdminClient<KafkaContext>, topic: &str, wanted: usize) -> anyhow::Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    for result in admin.create_partitions(&[NewPartitions::new(topic, wanted)], &options).await? {
        // Kafka says of a topic that has so many already that the number is invalid.
        if let Err((topic, code)) = result
            && code != RDKafkaErrorCode::InvalidPartitions
        {
            anyhow::bail!("cannot add partitions to the topic {topic}: {code}");
        }
    }
    wait_for_leaders(admin, topic, wanted).await?;
    Ok(())
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

/// Waits until a topic has so many partitions and each has a leader: the controller has created them before the brokers know of
/// them, and only then they can be used.
async fn wait_for_leaders(admin: &AdminClient<KafkaContext>, topic: &str, wanted: usize) -> anyhow::Result<Metadata> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT)?;
        let known = metadata.topics().iter().find(|known| known.name() == topic);
        let partitions = known.map(MetadataTopic::partitions).unwrap_or_default();
        if partitions.len() >= wanted && partitions.iter().all(|partition| partition.leader() >= 0) {
            return Ok(metadata);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{topic} was given {wanted} partitions or more, but not all of them have leaders after {TIMEOUT:?}: run migrate again"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
