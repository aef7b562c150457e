//! Sends records to the dead-letter topic.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::ids::EventType;
use hookline_schemas::record::{DeadLetter, DeliveryMetadata, encode_headers, header};
use hookline_schemas::topics::Topics;
use hookline_service::config::ConfigError;
use hookline_service::kafka::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::batch::dead_letter::UnattributedRecord;

/// Longer than any hiccup of a broker; the writer tries again after that.
const DELIVERY_TIMEOUT_MS: &str = "30000";

/// A producer for the dead-letter topic alone; it connects when there is something to send.
pub struct DeadLetterProducer {
    config: ClientConfig,
    producer: OnceCell<FutureProducer>,
    topic: String,
    spared: HashSet<String>,
    sent: AtomicU64,
}

/// A delivery that cannot be inserted.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'r> {
    /// How it came in.
    pub metadata: DeliveryMetadata<'r>,
    /// What happened, if known.
    pub event_type: Option<EventType>,
    /// To which job, if known.
    pub job_id: &'r str,
    /// The signed bytes.
    pub body: &'r [u8],
    /// Why it is dead.
    pub dead: DeadLetter<'r>,
}

impl DeadLetterProducer {
    /// To these brokers.
    pub fn new(kafka: &KafkaConfig, topics: &Topics) -> Result<Self, ConfigError> {
        let mut config = kafka.client()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS);
        let (topic, spared, sent) = (topics.dead_letter().to_owned(), HashSet::new(), AtomicU64::new(0));
        Ok(Self { config, producer: OnceCell::new(), topic, spared, sent })
    }

    /// From now on, sends nothing for these origins: a replay comes by records that have their dead letter.
    pub fn spare(&mut self, origins: HashSet<String>) {
        self.spared = origins;
    }

    /// How many dead dead_letters were sent since this was last asked.
    pub fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// Sends a delivery; it is durable when this returns.
    pub async fn reject(&self, rejected: &Rejected<'_>) -> Result<(), KafkaError> {
        let mut headers = OwnedHeaders::new_with_capacity(16);
        encode_headers(&rejected.metadata, rejected.event_type, rejected.job_id, Some(&rejected.dead), |key, value| {
            headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
        });
        self.send(rejected.dead.origin, rejected.job_id.as_bytes(), rejected.body, headers).await
    }

    /// Sends a record that ingest did not write, with its own headers and what is wrong with them.
    pub async fn reject_foreign(&self, record: &UnattributedRecord, topics: &Topics) -> Result<(), KafkaError> {
        let (detail, origin) = (record.bad.to_string(), record.position.named(topics).to_string());
        let dead = [
            (header::DEAD_REASON, DeadLetterReason::BadRecord.as_str()),
            (header::DEAD_DETAIL, &*detail),
            (header::DEAD_ORIGIN, &*origin),
            (header::DEAD_REDRIVES, "0"),
        ];
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + dead.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        for (key, value) in dead {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        self.send(&origin, &record.key, &record.body, headers).await
    }

    async fn send(&self, origin: &str, key: &[u8], body: &[u8], headers: OwnedHeaders) -> Result<(), KafkaError> {
        if self.spared.contains(origin) {
            return Ok(());
        }
        let record = FutureRecord::to(&self.topic).key(key).payload(body).headers(headers);
        let producer = match self.producer.get() {
            Some(producer) => producer,
            None => {
                let producer = self.config.create()?;
                self.producer.get_or_init(|| producer)
            }
        };
        producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
