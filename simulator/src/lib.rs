//! Plays the provider, so that the whole pipeline can be tried without one: signed webhooks of realistic jobs, retried,
//! repeated and out of order, and a ledger of every attempt with its answer.
//!
//! [`oracle`] compares the tables with that ledger. It shares no code with what it judges but one constant, `FOLD_VERSION`: it
//! reads bodies and derives facts by itself.

mod body;
mod catalog;
pub mod check;
pub mod cli;
mod job;
pub mod ledger;
pub mod oracle;
#[cfg(feature = "pipeline")]
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod provider;
pub mod provider_time;
pub mod report;
pub mod retry;
