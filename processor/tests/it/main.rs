//! The processor on a real Kafka and a real ClickHouse.

mod stand;
mod tables;
