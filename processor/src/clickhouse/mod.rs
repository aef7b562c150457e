//! How rows reach ClickHouse: as blocks in its Native format, split by partition; and what an error of it means.

mod code;
pub mod columns;
pub mod error;
mod gateway;
pub mod inserter;
pub mod native;
pub mod partitions;
