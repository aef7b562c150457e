//! Plays the provider, so that the whole way can be walked without it: signed webhooks of realistic jobs, retried,
//! repeated and out of order, and a ledger of every attempt with what became of it.
//!
//! [`oracle`] holds the tables against that ledger. It shares no code with what it judges: it reads bodies and derives
//! facts by itself.

pub mod body;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod job;
pub mod ledger;
pub mod moment;
pub mod oracle;
pub mod plan;
pub mod provider;
pub mod report;
pub mod retry;
