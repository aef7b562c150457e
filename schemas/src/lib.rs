//! The contract of Hookline, shared by everything that writes or reads its topics and tables: ids, events, signatures,
//! Kafka records, the facts of a job and the tables that hold them.
//!
//! Everything here takes values and returns values. There is no IO, no clock and no runtime: a replay of the same bytes
//! gives the same rows.

#![warn(missing_docs)]

pub mod dead_letter;
pub mod envelope;
pub mod facts;
pub mod ids;
mod json;
pub mod migrations;
pub mod outcome;
pub mod record;
pub mod rollup;
pub mod rollup_range;
pub mod signature;
pub mod sql;
pub mod time;
pub mod topics;

/// Headers of the provider's requests.
pub mod provider {
    /// The signature in 64 hex digits: see [`crate::signature`].
    pub const SIGNATURE_HEADER: &str = "magic-hour-event-signature";
    /// When the provider signed the request: Unix seconds in decimal digits.
    pub const TIMESTAMP_HEADER: &str = "magic-hour-event-timestamp";
    /// Seconds that a signed time may lie in the past or in the future, as the provider recommends.
    pub const TOLERANCE_SECONDS: u32 = 300;
}
