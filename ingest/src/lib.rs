//! Receives webhooks: verifies them, hands them to Kafka, and answers once every in-sync replica has them.
//!
//! ```text
//! server ─► webhooks ─► sources (verify) ─► delivery (where it goes) ─► producer ─► answer
//! ```
//! What decides is pure and takes the time as an argument: [`sources`], [`delivery`], [`answer`], [`patience`].

pub mod answer;
pub mod config;
pub mod delivery;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod openapi;
pub mod patience;
pub mod probe;
pub mod producer;
pub mod run;
pub mod server;
pub mod sources;
pub mod verify;
pub mod webhooks;
