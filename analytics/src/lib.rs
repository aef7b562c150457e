//! Creates the topics and the tables, and reports what the tables say.

pub mod config;
mod csv;
mod expected;
pub mod migrate;
mod query;
pub mod report;
pub mod serve;
