//! Publishes to the dead-letter topic; nothing else does.

use std::cell::OnceCell;
use std::time::Duration;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::topics::Topics;
use hookline_service::config::ConfigError;
use hookline_service::kafka::{KafkaConfig, KafkaContext};
use hookline_service::shutdown::CancellationToken;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::retry::{Cancelled, until_cancelled};

/// An attempt outlasts the election of a new leader; after it, the message is sent again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects when there is something to send for the first time: most processes never have a dead letter.
pub struct DeadLetterProducer {
    config: ClientConfig,
    producer: OnceCell<FutureProducer<KafkaContext>>,
    topic: String,
}

#[derive(Debug)]
pub struct DeadLetterMessage<'m> {
    pub reason: DeadLetterReason,
    /// `topic/partition/offset` of the record it is made from.
    pub origin: String,
    pub key: &'m [u8],
    pub body: &'m [u8],
    pub headers: OwnedHeaders,
}

impl DeadLetterProducer {
    pub fn new(kafka: &KafkaConfig, topics: &Topics) -> Result<Self, ConfigError> {
        let mut config = kafka.client()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        Ok(Self { config, producer: OnceCell::new(), topic: topics.dead_letter().to_owned() })
    }

    /// Sends a message until the brokers have it: it is durable when this returns `Ok`.
    pub async fn publish(&self, message: &DeadLetterMessage<'_>, cancel: &CancellationToken) -> Result<(), Cancelled> {
        let retry = |error: &KafkaError| {
            tracing::warn!(%error, origin = message.origin, "a dead letter could not be published, trying again");
            true
        };
        // Every error is retried, so none comes back.
        until_cancelled(cancel, async || self.send(message).await, retry).await.map(drop)
    }

    async fn send(&self, message: &DeadLetterMessage<'_>) -> Result<(), KafkaError> {
        let producer = match self.producer.get() {
            Some(producer) => producer,
            None => {
                let context = KafkaContext::new("dead-letter producer");
                let producer = self.config.create_with_context(context)?;
                self.producer.get_or_init(|| producer)
            }
        };
        let record = FutureRecord::to(&self.topic).key(message.key).payload(message.body);
        let record = record.headers(message.headers.clone());
        producer.send(record, DELIVERY_TIMEOUT).await.map(drop).map_err(|(error, _)| error)
    }
}
