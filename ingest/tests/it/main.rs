//! Ingest as a process of its own, on a real Kafka.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod openapi;
