//! From topics to tables: reads the records, folds them to facts, fills `jobs`, `deliveries` and `dead_letters`.
//!
//! One thread consumes (`consumer`) and hands each `batch` to another, which writes it (`writer`). Decoding, folding and
//! encoding are pure functions in `batch` and `clickhouse`; only the inserter there talks to a server.

mod batch;
mod clickhouse;
mod config;
mod consumer;
mod daemon;
mod dead_letter_producer;
mod dead_letters;
mod expired;
mod fail_point;
mod log_ids;
mod metrics;
mod probe;
mod rebuild;
mod replay;
mod retry;
mod state_file;
mod tail;
mod writer;

pub use self::config::ProcessorConfig;
pub use self::daemon::run;
pub use self::dead_letters::list::{DeadLettersArgs, list};
pub use self::dead_letters::redrive::{RedriveArgs, redrive};
pub use self::expired::acknowledge::{AcknowledgeArgs, acknowledge};
pub use self::replay::{ReplayArgs, replay};
pub use self::tail::{TailArgs, tail};
