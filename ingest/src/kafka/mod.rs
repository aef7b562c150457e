//! Kafka as ingest needs it: records handed to the producer, its events on the runtime, and whether brokers and topics
//! could take a webhook now.

pub mod event_queue;
pub mod producer;
pub mod readiness;
