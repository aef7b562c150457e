//! Receives webhooks: verifies them, hands them to Kafka, and answers once every in-sync replica has the record.
//!
//! ```text
//! server ─► http::body ─► sources (verifies) ─► webhook::routing (picks the topic) ─► kafka::producer ─► http::response
//!           └───────────────────────── webhook::Webhooks calls them in this order ─────────────────────────┘
//! ```

mod config;
mod daemon;
mod explain;
mod http;
mod kafka;
mod metrics;
mod reload;
mod server;
mod sign;
mod webhook;

pub use self::config::IngestConfig;
pub use self::daemon::{BLOCKED_DEADLINE, read_sources, run};
pub use self::explain::{Captured, explain};
pub use self::sign::{SignedHeaders, url};
