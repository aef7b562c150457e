//! Creates the topics and the tables, and reports what the tables say.

pub mod config;
mod csv;
mod expected;
pub mod migrate;
pub mod query;
pub mod report;
pub mod serve;
pub mod top;
