//! Every record of the topics, as a consumer without a group reads it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hookline_schemas::ids::EventType;
use hookline_schemas::record::{DeadLetter, DeliveryMetadata, Headers, decode_headers, encode_headers};
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_service::kafka_raw::header_bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};

use super::topics::watermarks;

const DEADLINE: Duration = Duration::from_secs(60);

/// A record of one of the topics; bytes that are not UTF-8 are replaced, and null is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub key: Option<String>,
    pub value: String,
    /// In the order in which they were produced.
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
}

/// The headers of a record, as ingest and the processor write them.
pub fn record_headers(
    metadata: &DeliveryMetadata<'_>,
    event_type: Option<EventType>,
    job_id: &str,
    dead: Option<&DeadLetter<'_>>,
) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    encode_headers(metadata, event_type, job_id, dead, |key, value| {
        headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
    });
    headers
}

/// Reads every record that the four topics hold now.
pub async fn read_records(kafka: &KafkaConfig) -> Vec<Record> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || read(&kafka)).await.unwrap()
}

fn read(kafka: &KafkaConfig) -> Vec<Record> {
    let consumer: BaseConsumer = kafka
        .client()
        .unwrap()
        .set("group.id", "none")
        .set("receive.message.max.bytes", "2147483647")
        .create()
        .unwrap();
    let mut positions = TopicPartitionList::new();
    let mut unread = BTreeMap::new();
    for topic in Topics::new(&kafka.topic_prefix).unwrap().all() {
        for (partition, (begin, end)) in watermarks(&consumer, topic).unwrap() {
            positions.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            if begin < end {
                unread.insert((topic.to_owned(), partition), end);
            }
        }
    }
    consumer.assign(&positions).unwrap();
    let mut records = Vec::new();
    let began = Instant::now();
    while !unread.is_empty() {
        assert!(began.elapsed() < DEADLINE, "not read to the end within {DEADLINE:?}: {unread:?}");
        // An error comes from a broker that is away; the others have every record.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let partition = (message.topic().to_owned(), message.partition());
        if unread.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
            unread.remove(&partition);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = header_bytes(&message);
        records.push(Record {
            topic: message.topic().to_owned(),
            key: message.key().map(text),
            value: text(message.payload().unwrap_or_default()),
            headers: headers.map(|(name, value)| (text(name), text(value.unwrap_or_default()))).collect(),
        });
    }
    records
}
