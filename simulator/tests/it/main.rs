//! The whole pipeline on a real Kafka and a real ClickHouse, with the real binaries.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod brokers;
mod check_config;
mod contract;
mod crash_matrix;
mod end_to_end;
mod local_stack;
mod outage;
mod partitions;
mod progress;
mod prometheus;
mod secrets;
mod shapes;
mod silent_servers;
