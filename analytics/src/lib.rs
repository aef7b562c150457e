//! Makes the topics and the tables, and reads the numbers out of them.

pub mod config;
pub mod migrate;
pub mod report;
