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

use crate::producer::{Producer, RECORD_OVERHEAD_BYTES};

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

/// What the topics are set to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    topic: String,
    max_message_bytes: usize,
    min_in_sync: usize,
}

/// Keeps `readiness` up to date, for ever.
pub async fn watch(producer: Arc<Producer>, topics: Topics, body_bytes: usize, readiness: Readiness) {
    let mut settings: Option<(Instant, Vec<Setting>)> = None;
    loop {
        if settings.as_ref().is_none_or(|(at, _)| at.elapsed() >= SETTINGS_INTERVAL) {
            settings = match read_settings(&producer, &topics).await {
                Ok(read) => Some((Instant::now(), read)),
                Err(error) => {
                    tracing::debug!("cannot read the settings of the topics: {error:#}");
                    None
                }
            };
        }
        let known = settings.as_ref().map_or(&[][..], |(_, known)| known);
        match look(&producer, &topics, known, body_bytes).await {
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
    settings: &[Setting],
    body_bytes: usize,
) -> Result<(), String> {
    let names: Vec<String> = topics.all().map(str::to_owned).collect();
    let asking = Arc::clone(producer);
    let known = settings.to_vec();
    let looked = tokio::task::spawn_blocking(move || {
        let mut leaders = BTreeMap::new();
        for topic in &names {
            let setting = known.iter().find(|setting| setting.topic == *topic);
            let led = look_at_topic(&asking, topic, setting)?;
            leaders.extend(led.into_iter().map(|(leader, partition)| (leader, (topic, partition))));
        }
        leaders.into_iter().try_for_each(|(leader, (topic, partition))| {
            asking.current().ask_leader(topic, partition, TIMEOUT).map_err(|error| {
                format!("broker {leader}, the leader of {topic}/{partition}, does not answer ({})", describe(&error))
            })
        })
    });
    looked.await.unwrap_or_else(|error| Err(error.to_string()))?;
    for Setting { topic, max_message_bytes, .. } in settings {
        let needed = body_bytes + RECORD_OVERHEAD_BYTES;
        if *max_message_bytes < needed {
            return Err(format!(
                "{topic} takes records of at most {max_message_bytes} bytes (max.message.bytes), but limits.body_bytes = {body_bytes} needs {needed}"
            ));
        }
    }
    if settings.is_empty() {
        return Err("the settings of the topics cannot be read".into());
    }
    Ok(())
}

/// The leaders of its partitions. They may be gone all the same: what one broker says of the others can be old, and is
/// when the controllers have lost their majority.
fn look_at_topic(producer: &Producer, topic: &str, setting: Option<&Setting>) -> Result<Vec<(i32, i32)>, String> {
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
    let mut leaders = Vec::new();
    for partition in described.partitions() {
        let id = partition.id();
        if partition.leader() < 0 {
            return Err(format!("{topic}/{id} has no leader"));
        }
        let (in_sync, needed) = (partition.isr().len(), setting.map_or(1, |setting| setting.min_in_sync));
        if in_sync < needed {
            return Err(format!("{topic}/{id} has {in_sync} in-sync replicas, min.insync.replicas is {needed}"));
        }
        leaders.push((partition.leader(), id));
    }
    Ok(leaders)
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
