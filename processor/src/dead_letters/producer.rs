//! Sends letters back into their resource topics.

use hookline_schemas::ids::EventType;
use hookline_schemas::record::{DeliveryMetadata, encode_headers, encode_redrive};
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::{KafkaConfig, KafkaContext};
use hookline_service::kafka_raw::add_header;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::identity::LogPosition;
use crate::log_ids::LogIds;

/// The largest record that is tried, see [`crate::dead_letter_producer`].
const MAX_BYTES: &str = "104000000";

pub struct ResourceProducer {
    producer: FutureProducer<KafkaContext>,
    topics: Topics,
    log_ids: LogIds,
}

/// A record as ingest would have written it, but for two headers that say that it was redriven.
pub struct RedrivenRecord<'r> {
    pub metadata: DeliveryMetadata<'r>,
    pub event_type: EventType,
    pub job_id: &'r str,
    pub body: &'r [u8],
    /// How often it has been sent back, this time included.
    pub redrives: u16,
    pub from: &'r LogPosition,
}

impl RedrivenRecord<'_> {
    fn headers(&self) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(13);
        let mut add = |name: &'static str, value: &str| {
            headers = add_header(std::mem::take(&mut headers), name.as_bytes(), Some(value.as_bytes()));
        };
        encode_headers(&self.metadata, Some(self.event_type), self.job_id, None, &mut add);
        encode_redrive(self.redrives, &self.from.to_string(), &mut add);
        headers
    }
}

/// A record that is on its way.
pub struct Pending {
    report: DeliveryFuture,
    topic: Topic,
}

impl ResourceProducer {
    pub fn new(kafka: &KafkaConfig, topics: Topics, log_ids: LogIds) -> anyhow::Result<Self> {
        let mut config: ClientConfig = kafka.client()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", MAX_BYTES)
            // No limit: a record that was given up might still be appended, and one that is sent again would be a second one.
            .set("message.timeout.ms", "0");
        let producer = config.create_with_context(KafkaContext::new("redrive producer"))?;
        Ok(Self { producer, topics, log_ids })
    }

    /// Hands a record to librdkafka, which keeps a copy of it.
    pub fn send(&self, record: &RedrivenRecord<'_>) -> Result<Pending, KafkaError> {
        let topic = Topic::Resource(record.event_type.resource);
        let message = FutureRecord::to(topic.name(&self.topics)).key(record.job_id).payload(record.body);
        let report = self.producer.send_result(message.headers(record.headers())).map_err(|(error, _)| error)?;
        Ok(Pending { report, topic })
    }

    /// Waits until every in-sync replica has the record, however long that takes.
    pub async fn landed(&self, pending: Pending) -> Result<LogPosition, KafkaError> {
        let delivery = pending.report.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
        Ok(LogPosition {
            log_id: self.log_ids.of(pending.topic).into(),
            topic: pending.topic.name(&self.topics).into(),
            partition: Partition(delivery.partition),
            offset: Offset(delivery.offset),
        })
    }
}
