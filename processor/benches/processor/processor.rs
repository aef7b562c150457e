//! The side of the processor: the binary as people run it, configured by its environment.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hookline_testkit::{Daemon, Process, with};

use crate::bench_topics::{BenchTopics, Cost, ProcessorUsage, Run};
use crate::tables;

/// How long the commit of the last offset may take after the last row was seen.
const LAST_COMMIT: Duration = Duration::from_secs(30);
/// An interval longer than any run.
const NEVER_MS: &str = "3600000";

/// Fills the tables and measures what that costs.
pub async fn run(bench: &BenchTopics, run: &Run, with_rollup: bool) -> anyhow::Result<Cost> {
    let before = bench.used();
    let began = Instant::now();
    let mut daemon = start(run, with_rollup);
    let elapsed = tables::until_filled(&run.clickhouse, bench.filled.records, began).await?;
    let process = Process(daemon.pid());
    if with_rollup {
        until_committed(&mut daemon).await?;
    }
    let usage = ProcessorUsage { cpu: process.cpu(), peak_memory: process.memory("VmHWM") };
    tables::until_merged(&run.clickhouse).await?;
    let used = bench.used().since(before);
    stop(daemon).await?;
    Ok(Cost { elapsed, used, processor: Some(usage) })
}

/// Starts it. Without the roll-up it does what the engine's views do and no more: nothing is refreshed before the figures are taken.
pub fn start(run: &Run, with_rollup: bool) -> Daemon {
    let mut environment = with(
        &run.servers.environment(),
        &[
            ("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_PROCESSOR__GROUP__ID", &run.servers.clickhouse.database),
        ],
    );
    if !with_rollup {
        environment = with(&environment, &[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", NEVER_MS)]);
    }
    Daemon::start("hookline-processor", &[], &environment)
}

/// Waits until it has committed every offset, after the last refresh.
pub async fn until_committed(daemon: &mut Daemon) -> anyhow::Result<()> {
    let began = Instant::now();
    while daemon.metric_if_there("hookline_processor_lag_records", &[]).await != Some(0.0) {
        ensure!(began.elapsed() < LAST_COMMIT, "every row is there, but the processor still reports lag");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

pub async fn stop(mut daemon: Daemon) -> anyhow::Result<()> {
    let status = daemon.terminate().await;
    ensure!(status.success(), "the processor ended with {status}:\n{}", daemon.log().join("\n"));
    Ok(())
}
