//! Reads what the topics hold, and finds acknowledged webhooks that are missing there; creates and deletes topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hookline_schemas::record::{Headers, decode_headers, header};
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use crate::ingest_under_test::DEADLINE;
use crate::webhook::Webhook;

const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub key: Option<String>,
    pub value: String,
    /// In the order of the record.
    pub headers: Vec<(String, String)>,
}

impl Record {
    /// The headers as the processor reads them.
    pub fn decoded(&self) -> Headers<'_> {
        decode_headers(self.headers.iter().map(|(name, value)| (&**name, Some(value.as_bytes())))).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// The webhook that ingest made it of.
    fn webhook(&self) -> Webhook {
        let header = |name| self.header(name).unwrap().to_owned();
        let (timestamp, signature) = (header(header::SIGNED_AT), header(header::SIGNATURE));
        Webhook { timestamp, signature, body: self.value.clone() }
    }
}

/// Every record of the four topics.
pub async fn read(kafka: &KafkaConfig) -> Vec<Record> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", "none").create().unwrap();
        let mut positions = TopicPartitionList::new();
        let mut left = BTreeMap::new();
        for topic in topics(&kafka).all() {
            let metadata = consumer.fetch_metadata(Some(topic), KAFKA_TIMEOUT).unwrap();
            for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
                let (begin, end) = consumer.fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT).unwrap();
                positions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
                if begin < end {
                    left.insert((topic.to_owned(), partition.id()), end);
                }
            }
        }
        consumer.assign(&positions).unwrap();
        let mut records = Vec::new();
        let began = Instant::now();
        while !left.is_empty() {
            assert!(began.elapsed() < DEADLINE, "not read to the end: {left:?}");
            // Errors come from a broker that is down; every record has a replica on the others.
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let partition = (message.topic().to_owned(), message.partition());
            if left.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
                left.remove(&partition);
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = message.headers().expect("headers").iter();
            records.push(Record {
                topic: message.topic().to_owned(),
                key: message.key().map(text),
                value: text(message.payload().unwrap()),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
            });
        }
        records
    })
    .await
    .unwrap()
}

/// Fails unless every acknowledged webhook is in a topic as it was signed. The control: without one of them it must
/// fail.
pub fn assert_none_missing(acknowledged: &[Webhook], records: &[Record]) {
    assert_eq!(missing(acknowledged, records), Vec::<&Webhook>::new(), "acknowledged, but in no topic");
    let lost = acknowledged.last().expect("something was acknowledged");
    let fewer: Vec<_> = records.iter().filter(|record| record.webhook() != *lost).cloned().collect();
    assert_eq!(missing(acknowledged, &fewer), [lost], "the check misses a lost webhook");
}

fn missing<'a>(acknowledged: &'a [Webhook], records: &[Record]) -> Vec<&'a Webhook> {
    let stored: BTreeSet<_> = records.iter().map(Record::webhook).collect();
    acknowledged.iter().filter(|webhook| !stored.contains(webhook)).collect()
}

pub fn topics(kafka: &KafkaConfig) -> Topics {
    Topics::new(&kafka.topic_prefix).unwrap()
}

/// Creates topics with as many partitions and replicas each, and with `settings`.
pub async fn create(
    kafka: &KafkaConfig,
    names: impl IntoIterator<Item = &str>,
    (partitions, replicas): (i32, i32),
    settings: &[(&str, &str)],
) {
    let topics: Vec<_> = names
        .into_iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    for made in admin(kafka).create_topics(&topics, &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

pub async fn delete(kafka: &KafkaConfig, name: &str) {
    for deleted in admin(kafka).delete_topics(&[name], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
}

fn admin(kafka: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    kafka.client().unwrap().create().unwrap()
}
