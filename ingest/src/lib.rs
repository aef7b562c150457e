//! Receives webhooks: verifies them, hands them to Kafka, and answers once every in-sync replica has them.
//!
//! ```text
//! server ─► webhook ─► sources (verify) ─► webhook::delivery (where it goes) ─► kafka::producer ─► http::response
//! ```

mod config;
mod daemon;
mod explain;
mod http;
mod kafka;
mod metrics;
mod server;
mod sources;
mod webhook;

pub use self::config::{Config, SCHEMA};
pub use self::daemon::{read_sources, run};
pub use self::explain::{Captured, explain};
