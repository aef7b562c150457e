//! How rows reach ClickHouse: blocks in its Native format, split by partition, inserted, and what a refusal of them means.

mod code;
pub mod columns;
pub mod error;
pub mod inserter;
pub mod native;
pub mod partitions;
