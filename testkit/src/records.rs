//! Every record of the topics, as a consumer without a group reads it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hookline_schemas::record::{Headers, decode_headers};
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::topics::watermarks;

const DEADLINE: Duration = Duration::from_secs(60);

/// A record of one of the topics; bytes that are not UTF-8 are replaced.
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

/// Reads every record that the four topics hold now.
pub async fn read_records(kafka: &KafkaConfig) -> Vec<Record> {
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || read(&kafka)).await.unwrap()
}

fn read(kafka: &KafkaConfig) -> Vec<Record> {
    let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", "none").create().unwrap();
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
        let headers = message.headers().expect("headers").iter();
        records.push(Record {
            topic: message.topic().to_owned(),
            key: message.key().map(text),
            value: text(message.payload().unwrap()),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
        });
    }
    records
}
