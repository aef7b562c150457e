//! Checks whether Kafka could take a webhook now: the topics exist, each partition has enough replicas in sync and a
//! leader that answers, and the largest body fits into a record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::topics::Topics;
use hookline_service::admin::Readiness;
use hookline_service::kafka::KafkaContext;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Instant, sleep};

use crate::kafka::producer::{Producer, RECORD_OVERHEAD_BYTES};

/// The name of this check at `/health/ready`.
pub const PART: &str = "kafka";
/// The name in logs and metrics of the client that reads settings.
pub const ADMIN_CLIENT: &str = "admin client";
/// The pause between two checks.
const INTERVAL: Duration = Duration::from_secs(2);
/// A broker that has not answered within this time counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The settings of the topics are read this seldom, since it needs a client of its own; after a failed check, at once.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicSettings {
    topic: String,
    max_message_bytes: usize,
    min_in_sync: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    topic: String,
    id: i32,
    leader: i32,
    in_sync: usize,
}

/// Checks again and again, and keeps `readiness` up to date.
pub async fn watch(producer: Arc<Producer>, topics: Topics, body_bytes: usize, readiness: Readiness) {
    let mut settings = None;
    loop {
        match check_kafka(&producer, &topics, &mut settings, body_bytes).await {
            Ok(()) => readiness.ready(PART),
            Err(reason) => {
                readiness.not_ready(PART, reason);
                settings = None;
            }
        }
        sleep(INTERVAL).await;
    }
}

async fn check_kafka(
    producer: &Arc<Producer>,
    topics: &Topics,
    settings: &mut Option<(Instant, Vec<TopicSettings>)>,
    body_bytes: usize,
) -> Result<(), String> {
    let names: Vec<String> = topics.all().map(str::to_owned).collect();
    let blocking = Arc::clone(producer);
    let partitions = tokio::task::spawn_blocking(move || answering_partitions(&blocking, &names))
        .await
        .unwrap_or_else(|error| Err(error.to_string()))?;
    let known = match settings.take() {
        Some((at, known)) if at.elapsed() < SETTINGS_INTERVAL => (at, known),
        Some(_) | None => match read_settings(producer, topics).await {
            Ok(read) => (Instant::now(), read),
            Err(error) => return Err(format!("the settings of the topics cannot be read: {error:#}")),
        },
    };
    let (_, known) = settings.insert(known);
    evaluate(&partitions, known, body_bytes)
}

/// Every partition, or the first whose leader does not answer; blocks.
fn answering_partitions(producer: &Producer, topics: &[String]) -> Result<Vec<Partition>, String> {
    let mut partitions = Vec::new();
    for topic in topics {
        partitions.extend(partitions_of(producer, topic)?);
    }
    // Metadata of one broker about the others can be outdated, and is once the controllers have lost their majority: so
    // each leader is asked itself.
    let leaders: BTreeMap<i32, &Partition> = partitions.iter().map(|partition| (partition.leader, partition)).collect();
    for (leader, Partition { topic, id, .. }) in leaders {
        producer.current().ask_leader(topic, *id, TIMEOUT).map_err(|error| {
            format!("broker {leader}, the leader of {topic}/{id}, does not answer ({})", describe(&error))
        })?;
    }
    Ok(partitions)
}

fn partitions_of(producer: &Producer, topic: &str) -> Result<Vec<Partition>, String> {
    let metadata = producer.current().metadata(topic, TIMEOUT).map_err(|error| producer.explain(&error))?;
    let described = metadata.topics().iter().find(|described| described.name() == topic);
    let described = described.ok_or_else(|| format!("{topic} is missing"))?;
    if let Some(error) = described.error() {
        return Err(format!("{topic}: {}", RDKafkaErrorCode::from(error)));
    }
    if described.partitions().is_empty() {
        return Err(format!("{topic} is missing"));
    }
    described
        .partitions()
        .iter()
        .map(|partition| match (partition.id(), partition.leader()) {
            (id, ..0) => Err(format!("{topic}/{id} has no leader")),
            (id, leader) => Ok(Partition { topic: topic.to_owned(), id, leader, in_sync: partition.isr().len() }),
        })
        .collect()
}

fn evaluate(partitions: &[Partition], settings: &[TopicSettings], body_bytes: usize) -> Result<(), String> {
    for TopicSettings { topic, max_message_bytes, min_in_sync } in settings {
        let needed = body_bytes + RECORD_OVERHEAD_BYTES;
        if *max_message_bytes < needed {
            return Err(format!(
                "{topic} takes records of at most {max_message_bytes} bytes (max.message.bytes), but limits.body_bytes = {body_bytes} needs {needed}"
            ));
        }
        let too_few = partitions.iter().find(|partition| partition.topic == *topic && partition.in_sync < *min_in_sync);
        if let Some(Partition { id, in_sync, .. }) = too_few {
            return Err(format!("{topic}/{id} has {in_sync} in-sync replicas, min.insync.replicas is {min_in_sync}"));
        }
    }
    Ok(())
}

fn describe(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

async fn read_settings(producer: &Producer, topics: &Topics) -> anyhow::Result<Vec<TopicSettings>> {
    let admin: AdminClient<KafkaContext> = producer.config().create_with_context(KafkaContext::new(ADMIN_CLIENT))?;
    let resources: Vec<_> = topics.all().map(ResourceSpecifier::Topic).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let described = admin.describe_configs(&resources, &options).await;
    // Dropping a client waits for its threads, and on this thread every request would wait, too.
    tokio::task::spawn_blocking(move || drop(admin));
    topics
        .all()
        .zip(described?)
        .map(|(topic, described)| {
            let described = described.map_err(|code| anyhow::anyhow!("{topic}: {code}"))?;
            let number = |name| described.get(name).and_then(|entry| entry.value.as_ref()?.parse().ok());
            Ok(TopicSettings {
                topic: topic.to_owned(),
                max_message_bytes: number("max.message.bytes").unwrap_or(usize::MAX),
                min_in_sync: number("min.insync.replicas").unwrap_or(1),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_topic_and_what_is_too_little() {
        let settings =
            |max_message_bytes, min_in_sync| TopicSettings { topic: "t".into(), max_message_bytes, min_in_sync };
        let partition = |id, in_sync| Partition { topic: "t".into(), id, leader: 1, in_sync };
        let (enough, body_bytes) = (1000 + RECORD_OVERHEAD_BYTES, 1000);
        let evaluate = |in_sync, settings| evaluate(&[partition(0, 3), partition(1, in_sync)], &[settings], body_bytes);
        assert_eq!(evaluate(2, settings(enough, 2)), Ok(()));
        let reason = evaluate(1, settings(enough, 2)).unwrap_err();
        assert!(reason.contains("t/1 has 1 in-sync replicas") && reason.ends_with("is 2"), "{reason}");
        let reason = evaluate(3, settings(enough - 1, 2)).unwrap_err();
        assert!(reason.contains("limits.body_bytes = 1000") && reason.contains(&enough.to_string()), "{reason}");
    }
}
