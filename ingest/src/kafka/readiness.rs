//! Whether Kafka could take a webhook now: brokers reachable, topics there, every partition led by a broker that answers,
//! bodies not too large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::topics::Topics;
use hookline_service::admin::Readiness;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Instant, sleep};

use crate::kafka::producer::{Producer, RECORD_OVERHEAD_BYTES};

/// The part of readiness that is Kafka.
pub const PART: &str = "kafka";
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long brokers may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a complaint of the client explains why no broker answers.
const TROUBLE_WINDOW: Duration = Duration::from_secs(60);
/// How often the topics' settings are asked for.
const SETTINGS_INTERVAL: Duration = Duration::from_secs(60);

/// What a topic is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    topic: String,
    max_message_bytes: usize,
    min_in_sync: usize,
}

/// What a broker says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    topic: String,
    id: i32,
    leader: i32,
    in_sync: usize,
}

/// Keeps `readiness` up to date, for ever.
pub async fn watch(producer: Arc<Producer>, topics: Topics, body_bytes: usize, readiness: Readiness) {
    let mut settings = None;
    loop {
        match look(&producer, &topics, &mut settings, body_bytes).await {
            Ok(()) => readiness.ready(PART),
            Err(why) => {
                if readiness.missing().get(PART) != Some(&why) {
                    tracing::warn!("not ready: {why}");
                }
                readiness.not_ready(PART, why);
                settings = None;
            }
        }
        sleep(INTERVAL).await;
    }
}

async fn look(
    producer: &Arc<Producer>,
    topics: &Topics,
    settings: &mut Option<(Instant, Vec<Setting>)>,
    body_bytes: usize,
) -> Result<(), String> {
    let names: Vec<String> = topics.all().map(str::to_owned).collect();
    let asking = Arc::clone(producer);
    let asked = tokio::task::spawn_blocking(move || ask_brokers(&asking, &names));
    let partitions = asked.await.unwrap_or_else(|error| Err(error.to_string()))?;
    let known = match settings.take() {
        Some((at, known)) if at.elapsed() < SETTINGS_INTERVAL => (at, known),
        Some(_) | None => match read_settings(producer, topics).await {
            Ok(read) => (Instant::now(), read),
            Err(error) => return Err(format!("the settings of the topics cannot be read: {error:#}")),
        },
    };
    let (_, known) = settings.insert(known);
    judge(&partitions, known, body_bytes)
}

/// Every partition, each with a leader that answers; blocks.
fn ask_brokers(producer: &Producer, topics: &[String]) -> Result<Vec<Partition>, String> {
    let mut partitions = Vec::new();
    for topic in topics {
        partitions.extend(partitions_of(producer, topic)?);
    }
    // What one broker says of the others can be old, and is when the controllers have lost their majority.
    let leaders: BTreeMap<i32, &Partition> = partitions.iter().map(|partition| (partition.leader, partition)).collect();
    for (leader, Partition { topic, id, .. }) in leaders {
        producer.current().ask_leader(topic, *id, TIMEOUT).map_err(|error| {
            format!("broker {leader}, the leader of {topic}/{id}, does not answer ({})", describe(&error))
        })?;
    }
    Ok(partitions)
}

fn partitions_of(producer: &Producer, topic: &str) -> Result<Vec<Partition>, String> {
    let metadata =
        producer.current().metadata(topic, TIMEOUT).map_err(|error| match producer.trouble(TROUBLE_WINDOW) {
            Some(trouble) => format!("no broker answers ({}): {trouble}", describe(&error)),
            None => format!("no broker answers ({})", describe(&error)),
        })?;
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

fn judge(partitions: &[Partition], settings: &[Setting], body_bytes: usize) -> Result<(), String> {
    for Setting { topic, max_message_bytes, min_in_sync } in settings {
        let needed = body_bytes + RECORD_OVERHEAD_BYTES;
        if *max_message_bytes < needed {
            return Err(format!(
                "{topic} takes records of at most {max_message_bytes} bytes (max.message.bytes), but limits.body_bytes = {body_bytes} needs {needed}"
            ));
        }
        let few = partitions.iter().find(|partition| partition.topic == *topic && partition.in_sync < *min_in_sync);
        if let Some(Partition { id, in_sync, .. }) = few {
            return Err(format!("{topic}/{id} has {in_sync} in-sync replicas, min.insync.replicas is {min_in_sync}"));
        }
    }
    Ok(())
}

fn describe(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

async fn read_settings(producer: &Producer, topics: &Topics) -> anyhow::Result<Vec<Setting>> {
    let admin: AdminClient<DefaultClientContext> = producer.config().create()?;
    let resources: Vec<_> = topics.all().map(ResourceSpecifier::Topic).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let described = admin.describe_configs(&resources, &options).await;
    // Waits for its threads, and meanwhile every request would wait too.
    tokio::task::spawn_blocking(move || drop(admin));
    topics
        .all()
        .zip(described?)
        .map(|(topic, described)| {
            let described = described.map_err(|code| anyhow::anyhow!("{topic}: {code}"))?;
            let number = |name| described.get(name).and_then(|entry| entry.value.as_ref()?.parse().ok());
            Ok(Setting {
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
        let setting = |max_message_bytes, min_in_sync| Setting { topic: "t".into(), max_message_bytes, min_in_sync };
        let partition = |id, in_sync| Partition { topic: "t".into(), id, leader: 1, in_sync };
        let (enough, body_bytes) = (1000 + RECORD_OVERHEAD_BYTES, 1000);
        let judge = |in_sync, setting| judge(&[partition(0, 3), partition(1, in_sync)], &[setting], body_bytes);
        assert_eq!(judge(2, setting(enough, 2)), Ok(()));
        let reason = judge(1, setting(enough, 2)).unwrap_err();
        assert!(reason.contains("t/1 has 1 in-sync replicas") && reason.ends_with("is 2"), "{reason}");
        let reason = judge(3, setting(enough - 1, 2)).unwrap_err();
        assert!(reason.contains("limits.body_bytes = 1000") && reason.contains(&enough.to_string()), "{reason}");
    }
}
