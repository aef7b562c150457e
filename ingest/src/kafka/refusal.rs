//! Why a record was not taken: the code of the broker or of librdkafka, as a label of metrics.

use rdkafka::error::RDKafkaErrorCode;

/// A code by its name in Kafka's protocol, or in librdkafka, whose own begin with `_`. There are a few dozen codes that a produce
/// request can have: those that are expected have a name each, the others are `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(&'static str);

const OTHER: &str = "other";

const NAMES: [(RDKafkaErrorCode, &str); 22] = [
    (RDKafkaErrorCode::ClusterAuthorizationFailed, "CLUSTER_AUTHORIZATION_FAILED"),
    (RDKafkaErrorCode::InvalidMessage, "CORRUPT_MESSAGE"),
    (RDKafkaErrorCode::InvalidProducerEpoch, "INVALID_PRODUCER_EPOCH"),
    (RDKafkaErrorCode::InvalidRecord, "INVALID_RECORD"),
    (RDKafkaErrorCode::InvalidTopic, "INVALID_TOPIC_EXCEPTION"),
    (RDKafkaErrorCode::KafkaStorageError, "KAFKA_STORAGE_ERROR"),
    (RDKafkaErrorCode::LeaderNotAvailable, "LEADER_NOT_AVAILABLE"),
    (RDKafkaErrorCode::MessageSizeTooLarge, "MESSAGE_TOO_LARGE"),
    (RDKafkaErrorCode::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS"),
    (RDKafkaErrorCode::NotEnoughReplicasAfterAppend, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (RDKafkaErrorCode::NotLeaderForPartition, "NOT_LEADER_OR_FOLLOWER"),
    (RDKafkaErrorCode::OutOfOrderSequenceNumber, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (RDKafkaErrorCode::PolicyViolation, "POLICY_VIOLATION"),
    (RDKafkaErrorCode::MessageBatchTooLarge, "RECORD_LIST_TOO_LARGE"),
    (RDKafkaErrorCode::RequestTimedOut, "REQUEST_TIMED_OUT"),
    (RDKafkaErrorCode::TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED"),
    (RDKafkaErrorCode::UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION"),
    (RDKafkaErrorCode::Fatal, "_FATAL"),
    (RDKafkaErrorCode::PurgeInflight, "_PURGE_INFLIGHT"),
    (RDKafkaErrorCode::PurgeQueue, "_PURGE_QUEUE"),
    (RDKafkaErrorCode::BrokerTransportFailure, "_TRANSPORT"),
    (RDKafkaErrorCode::UnknownTopic, "_UNKNOWN_TOPIC"),
];

impl Refusal {
    pub fn of(code: RDKafkaErrorCode) -> Self {
        Self(NAMES.iter().find(|(known, _)| *known == code).map_or(OTHER, |(_, name)| name))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(_, name)| Self(name)).chain([Self(OTHER)])
    }

    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_the_name_of_the_protocol() {
        let name = |code| Refusal::of(code).as_str();
        assert_eq!(name(RDKafkaErrorCode::NotEnoughReplicas), "NOT_ENOUGH_REPLICAS");
        assert_eq!(name(RDKafkaErrorCode::PurgeQueue), "_PURGE_QUEUE");
        assert_eq!(name(RDKafkaErrorCode::GroupIdNotFound), "other");
        assert!(NAMES.is_sorted_by_key(|(_, name)| *name), "in the order of the names");
    }
}
