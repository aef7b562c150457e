//! What tests and benches need to run against real servers: fresh topics and a fresh database on the servers that the whole
//! run shares, servers of a test's own to break, our binaries to start and to kill, and readers of what the topics hold.
//!
//! Not for anything that ships: a failure here is a panic that says what was missing.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod acls;
mod bench_file;
mod clickhouse_server;
mod command;
mod daemon;
pub mod docs;
mod environment;
mod kafka_cluster;
mod metrics_table;
mod network_proxy;
mod page;
mod process;
mod prometheus_server;
mod promtool;
mod records;
mod refusing_proxy;
mod servers;
mod small_disk;
mod topics;

use std::time::Duration;

pub use nix::sys::signal::Signal;
use tokio::time::Instant;

pub use self::acls::{Grant, grant};
pub use self::bench_file::{keep_figures, rounded};
pub use self::clickhouse_server::ClickHouseServer;
pub use self::command::{run, run_successfully};
pub use self::daemon::{Daemon, LogPipe};
pub use self::environment::{Environment, clickhouse_environment, kafka_environment, sasl_environment, with};
pub use self::kafka_cluster::{KafkaCluster, Layout, Login, Node, Sasl};
pub use self::metrics_table::metrics_table;
pub use self::network_proxy::{NetworkProxy, NetworkState};
pub use self::page::{OF_DATA, Page};
pub use self::process::Process;
pub use self::prometheus_server::{PrometheusServer, Setup};
pub use self::promtool::promtool;
pub use self::records::{Record, read_records, record_headers};
pub use self::refusing_proxy::{Refusal, RefusingProxy};
pub use self::servers::Servers;
pub use self::small_disk::{Filler, SmallDisk};
pub use self::topics::{
    PartitionOffsets, TopicOffsets, create_topics, delete_records, delete_topics, grow_topics, topic_offsets,
};

/// Asks `condition` every 20 ms until it gives a value; after the deadline it panics with `what` was waited for.
pub async fn eventually<T>(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(began.elapsed() < deadline, "{what}: not within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
