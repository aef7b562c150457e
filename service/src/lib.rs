//! What every daemon is: configuration, connections, telemetry, the admin listener, shutdown. Knows nothing of webhooks.

#![warn(missing_docs)]

pub mod admin;
pub mod bounded_map;
pub mod cli;
pub mod clickhouse;
pub mod clock;
pub mod config;
pub mod kafka;
pub mod shutdown;
pub mod telemetry;
