//! The processor on a real Kafka and a real ClickHouse.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod any_record;
mod counting;
mod counting_replay;
mod endings;
mod expired;
mod groups;
mod lag;
mod log_ids;
mod memory;
mod outage;
mod processor_under_test;
mod rebuild;
mod rebuild_ends;
mod rebuild_sources;
mod redrive;
mod redrive_ends;
mod refused_records;
mod repeated_blocks;
mod replay;
mod replay_archive;
mod replay_ends;
mod replay_gives_way;
mod rollup;
mod rollup_versions;
mod security;
mod stopped_partitions;
mod surroundings;
mod tables;
mod tail;
mod telemetry;
mod witness;
