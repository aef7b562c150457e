//! Our side: the processor as people run it, a process of its own that knows what its environment tells.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hookline_testkit::Daemon;
use serde::Deserialize;

use crate::scene::{Client, Cost, Run, Scene};
use crate::tables;
use crate::usage::Process;

/// After the last row was seen: for the commit of its offset.
const LAST_COMMIT: Duration = Duration::from_secs(30);
/// Longer than any run.
const NEVER_MS: &str = "3600000";

/// Fills the tables, and says what that cost. Without the roll-up it does what the engine's views do and no more: nothing is
/// refreshed before the figures are taken.
pub async fn run(scene: &Scene, run: &Run, with_rollup: bool) -> anyhow::Result<Cost> {
    let mut environment = run.servers.environment();
    let group = run.servers.clickhouse.database.clone();
    environment.push(("HOOKLINE_PROCESSOR__ADMIN__LISTEN".into(), "127.0.0.1:0".into()));
    environment.push(("HOOKLINE_PROCESSOR__GROUP__ID".into(), group));
    if !with_rollup {
        environment.push(("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS".into(), NEVER_MS.into()));
    }
    let before = scene.server.cpu()?;
    let began = Instant::now();
    let mut daemon = Daemon::start("hookline-processor", &[], &environment);
    let process = Process(daemon.pid());
    let elapsed = tables::until_filled(&run.clickhouse, scene.filled.records, began).await?;
    let filled = Instant::now();
    while with_rollup && daemon.metric_if_there("hookline_processor_lag_records", &[]).await != Some(0.0) {
        ensure!(filled.elapsed() < LAST_COMMIT, "every row is there, but the processor still reports lag");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let client = Client { cpu: process.cpu()?, peak_memory: process.peak_memory()? };
    tables::until_at_rest(&run.clickhouse).await?;
    let server = scene.server.cpu()? - before;
    let status = daemon.terminate().await;
    ensure!(status.success(), "the processor ended with {status}:\n{}", daemon.log().join("\n"));
    Ok(Cost { elapsed, server, client: Some(client) })
}

#[derive(Deserialize)]
struct Replayed {
    records: u64,
    records_per_second: f64,
    changed: bool,
}

/// Replays everything over tables that are right, at full speed; records a second.
pub async fn replay(scene: &Scene, run: &Run) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(Daemon::binary("hookline-processor"));
    command.args(["replay", "--json", "--rate", "0", "--state"]).arg(folder.path().join("state.json"));
    command.envs(run.servers.environment()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "the replay failed: {}", String::from_utf8_lossy(&output.stderr));
    let said: Replayed = serde_json::from_slice(&output.stdout).context("what the replay printed")?;
    ensure!(
        said.records == scene.filled.records && !said.changed,
        "{} records, changed: {}",
        said.records,
        said.changed
    );
    Ok(said.records_per_second)
}
