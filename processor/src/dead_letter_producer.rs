//! Publishes to the dead-letter topic; nothing else does.

use std::cell::RefCell;
use std::time::Duration;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::topics::Topics;
use hookline_service::config::ConfigError;
use hookline_service::kafka::{KafkaConfig, KafkaContext};
use hookline_service::shutdown::CancellationToken;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::retry::{Cancelled, until_cancelled};

/// The client's name in logs and metrics.
pub const DEAD_LETTER_PRODUCER: &str = "dead-letter producer";
/// An attempt outlasts the election of a new leader; after it, the message is sent again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message that is tried. A request may have 100 MiB by a broker's `socket.request.max.bytes`, and a broker that
/// hears of more closes the connection without a word.
const MAX_BYTES: u32 = 104_000_000;

/// Connects when there is something to send for the first time: most processes never have a dead letter.
pub struct DeadLetterProducer {
    config: ClientConfig,
    /// A producer that failed for good is dropped, and the next message gets a new one.
    producer: RefCell<Option<FutureProducer<KafkaContext>>>,
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

/// A message that outlives the batch it was made of.
#[derive(Clone, Debug)]
pub struct KeptMessage {
    reason: DeadLetterReason,
    origin: String,
    key: Vec<u8>,
    body: Vec<u8>,
    headers: OwnedHeaders,
}

impl DeadLetterMessage<'_> {
    pub fn keep(self) -> KeptMessage {
        let Self { reason, origin, key, body, headers } = self;
        KeptMessage { reason, origin, key: key.to_vec(), body: body.to_vec(), headers }
    }
}

impl KeptMessage {
    pub fn message(&self) -> DeadLetterMessage<'_> {
        let (origin, headers) = (self.origin.clone(), self.headers.clone());
        DeadLetterMessage { reason: self.reason, origin, key: &self.key, body: &self.body, headers }
    }
}

/// Why a dead letter was not published.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}{}", .fatal.as_ref().map(|(_, text)| format!(": {text}")).unwrap_or_default())]
pub struct PublishError {
    error: KafkaError,
    /// What the producer failed for, if it failed for good.
    fatal: Option<(RDKafkaErrorCode, String)>,
}

/// What follows from a [`PublishError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The brokers or the way to them are at fault: the message is sent again.
    Retry,
    /// The message is too large for the topic or for a request.
    Cut,
    /// No repetition helps until somebody changes what the client may do or what the topic takes.
    Stop,
}

impl PublishError {
    pub fn remedy(&self) -> Remedy {
        use RDKafkaErrorCode as Code;
        let fatal = self.fatal.as_ref().map(|(code, _)| *code);
        let Some(code) = fatal.or_else(|| self.error.rdkafka_error_code()) else { return Remedy::Retry };
        #[expect(clippy::wildcard_enum_match_arm, reason = "librdkafka has 170 codes; the others pass")]
        match code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => Remedy::Cut,
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnsupportedFeature
            | Code::UnsupportedForMessageFormat
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidTopic
            | Code::InvalidRequiredAcks
            | Code::PolicyViolation => Remedy::Stop,
            _ => Remedy::Retry,
        }
    }
}

impl DeadLetterProducer {
    pub fn new(kafka: &KafkaConfig, topics: &Topics) -> Result<Self, ConfigError> {
        let mut config = kafka.client()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            // Each message is awaited before the next one is sent.
            .set("linger.ms", "0")
            .set("message.max.bytes", MAX_BYTES.to_string())
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        Ok(Self { config, producer: RefCell::new(None), topic: topics.dead_letter().to_owned() })
    }

    /// Sends a message until the brokers have it: it is durable when this returns `Ok(Ok(()))`. An error is never one that passes.
    /// Calls `waiting` with each error that does.
    pub async fn publish(
        &self,
        message: &DeadLetterMessage<'_>,
        cancel: &CancellationToken,
        waiting: impl Fn(&PublishError),
    ) -> Result<Result<(), PublishError>, Cancelled> {
        let retry = |error: &PublishError| {
            let passes = error.remedy() == Remedy::Retry;
            if passes {
                tracing::warn!(%error, origin = message.origin, "a dead letter was not published, trying again");
                waiting(error);
            }
            passes
        };
        until_cancelled(cancel, async || self.send(message).await, retry).await
    }

    async fn send(&self, message: &DeadLetterMessage<'_>) -> Result<(), PublishError> {
        let producer = self.producer().map_err(|error| PublishError { error, fatal: None })?;
        let record = FutureRecord::to(&self.topic).key(message.key).payload(message.body);
        let sent = producer.send(record.headers(message.headers.clone()), DELIVERY_TIMEOUT).await;
        let Err((error, _)) = sent else { return Ok(()) };
        let fatal = producer.client().fatal_error();
        if fatal.is_some() {
            self.producer.replace(None);
        }
        Err(PublishError { error, fatal })
    }

    fn producer(&self) -> Result<FutureProducer<KafkaContext>, KafkaError> {
        if let Some(producer) = &*self.producer.borrow() {
            return Ok(producer.clone());
        }
        let producer: FutureProducer<_> = self.config.create_with_context(KafkaContext::new(DEAD_LETTER_PRODUCER))?;
        self.producer.replace(Some(producer.clone()));
        Ok(producer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: RDKafkaErrorCode, fatal: Option<RDKafkaErrorCode>) -> Remedy {
        let fatal = fatal.map(|code| (code, String::new()));
        PublishError { error: KafkaError::MessageProduction(code), fatal }.remedy()
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_pass_is_not() {
        use RDKafkaErrorCode as Code;
        for passes in [Code::MessageTimedOut, Code::NotEnoughReplicas, Code::QueueFull, Code::BrokerTransportFailure] {
            assert_eq!(remedy(passes, None), Remedy::Retry, "{passes}");
        }
        assert_eq!(remedy(Code::MessageSizeTooLarge, None), Remedy::Cut);
        assert_eq!(remedy(Code::TopicAuthorizationFailed, None), Remedy::Stop);
        assert_eq!(remedy(Code::Fatal, Some(Code::ClusterAuthorizationFailed)), Remedy::Stop);
        assert_eq!(remedy(Code::Fatal, Some(Code::OutOfOrderSequenceNumber)), Remedy::Retry, "by a new producer");
    }
}
