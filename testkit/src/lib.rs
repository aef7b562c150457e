//! What tests against real servers need: fresh topics and a fresh database, daemons to start and to kill, and waiting for
//! a condition. Only for tests and benches: a failure here is a panic that says what was missing.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod clickhouse_server;
mod cluster;
mod daemon;
mod page;
mod process;
mod proxy;
mod servers;

use std::time::Duration;

use tokio::time::Instant;

pub use self::clickhouse_server::ClickHouseServer;
pub use self::cluster::{KafkaCluster, Layout, Login, Node, Sasl};
pub use self::daemon::Daemon;
pub use self::page::{OF_DATA, Page};
pub use self::process::memory;
pub use self::proxy::{Network, Proxy};
pub use self::servers::Servers;

/// Asks `condition` until it gives a value, at most until the deadline; then fails, naming `what`.
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
