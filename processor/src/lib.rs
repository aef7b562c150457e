//! From topics to tables: reads the records, folds them to facts, fills `jobs`, `deliveries` and `dead_letters`.
//!
//! One thread consumes ([`consumer`]), one writes ([`writer`]); what they hit on is a [`batch`]. What takes values and
//! returns values is in [`batch`] and [`clickhouse`], apart from the inserter.

mod batch;
mod clickhouse;
mod config;
mod consumer;
mod daemon;
mod dead_letter_producer;
mod fail_point;
mod metrics;
mod replay;
mod retry;
mod writer;

pub use self::config::{ProcessorConfig, SCHEMA};
pub use self::daemon::run;
pub use self::replay::{ReplayArgs, replay};
