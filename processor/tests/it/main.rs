//! The processor on a real Kafka and a real ClickHouse.

mod counting;
mod groups;
mod guilty;
mod memory;
mod replay;
mod rollup;
mod stand;
mod tables;
