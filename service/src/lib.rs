//! What every binary needs, whatever it does: its command line and configuration, connections, logs, the admin listener,
//! shutdown. Nothing here knows of webhooks.

#![warn(missing_docs)]

pub mod admin;
pub mod bounded_map;
pub mod cli;
pub mod clickhouse;
pub mod clock;
pub mod config;
pub mod kafka;
pub mod kafka_raw;
mod readiness;
pub mod shutdown;
pub mod telemetry;
pub mod version;
