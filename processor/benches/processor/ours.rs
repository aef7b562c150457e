//! Our side: the processor as people run it, a process of its own that knows what its environment tells.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hookline_service::testing::Daemon;

use crate::scene::{Client, Cost, Run, Scene};
use crate::tables;
use crate::usage::Process;

/// After the last row was seen: for the commit of its offset.
const LAST_COMMIT: Duration = Duration::from_secs(30);

/// Fills the tables, and says what that cost.
pub async fn run(scene: &Scene, run: &Run) -> anyhow::Result<Cost> {
    let mut environment = run.servers.environment();
    let group = run.servers.clickhouse.database.clone();
    environment.push(("HOOKLINE_PROCESSOR__ADMIN__LISTEN".into(), "127.0.0.1:0".into()));
    environment.push(("HOOKLINE_PROCESSOR__GROUP__ID".into(), group));
    let before = scene.server.cpu()?;
    let began = Instant::now();
    let mut daemon = Daemon::start("hookline-processor", &[], &environment);
    let process = Process(daemon.pid());
    let elapsed = tables::until_filled(&run.clickhouse, scene.filled.records, began).await?;
    let filled = Instant::now();
    while daemon.metric("hookline_processor_lag_records", &[]).await > 0.0 {
        ensure!(filled.elapsed() < LAST_COMMIT, "every row is there, but the processor still reports lag");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let client = Client { cpu: process.cpu()?, peak_memory: process.peak_memory()? };
    let status = daemon.terminate().await;
    ensure!(status.success(), "the processor ended with {status}:\n{}", daemon.log().join("\n"));
    tables::until_at_rest(&run.clickhouse).await?;
    Ok(Cost { elapsed, server: scene.server.cpu()? - before, client: Some(client) })
}
