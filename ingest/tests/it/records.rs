//! What the topics hold, as a consumer of its own reads it; and what of the acknowledged is missing there.

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

use crate::stage::DEADLINE;
use crate::webhook::Webhook;

const PATIENCE: Duration = Duration::from_secs(20);

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub key: Option<String>,
    pub value: String,
    /// In their order.
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

    /// The webhook that it was made of.
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
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
            for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
                let (begin, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).unwrap();
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
            // An error is one of a broker that is away; the others have every record.
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

/// Fails unless every acknowledged webhook is in a topic as signed; and unless it notices where one is not.
pub fn assert_none_missing(acknowledged: &[Webhook], records: &[Record]) {
    assert_eq!(missing(acknowledged, records), Vec::<&Webhook>::new(), "acknowledged, but in no topic");
    let lost = acknowledged.last().expect("something was acknowledged");
    let fewer: Vec<_> = records.iter().filter(|record| record.webhook() != *lost).cloned().collect();
    assert_eq!(missing(acknowledged, &fewer), [lost], "the check finds nothing");
}

fn missing<'a>(acknowledged: &'a [Webhook], records: &[Record]) -> Vec<&'a Webhook> {
    let stored: BTreeSet<_> = records.iter().map(Record::webhook).collect();
    acknowledged.iter().filter(|webhook| !stored.contains(webhook)).collect()
}

pub fn topics(kafka: &KafkaConfig) -> Topics {
    Topics::new(&kafka.topic_prefix).unwrap()
}

/// Makes topics with so many partitions and replicas each.
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
