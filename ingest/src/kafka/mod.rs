//! The producer, its event queue on the runtime, and the check whether brokers and topics could take a webhook now.

pub mod event_queue;
pub mod producer;
pub mod readiness;
pub mod refusal;
