//! Ingest as a process of its own, on a real Kafka.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod answers;
mod connection;
mod dead_letters;
mod fatal;
mod ingest_under_test;
mod load;
mod openapi;
mod outage;
mod overload;
mod records;
mod reload;
mod replicas;
mod security;
mod shutdown;
mod sign_command;
mod sockets;
mod strangers;
mod telemetry;
mod timeouts;
mod topics;
mod verification;
mod verify_command;
mod webhook;
