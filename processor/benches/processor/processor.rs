//! The side of the processor: the binary as people run it, configured by its environment.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hookline_testkit::{Daemon, Process, run_successfully, with};
use serde::Deserialize;

use crate::bench_topics::{BenchTopics, Cost, ProcessorUsage, Run};
use crate::tables;

/// How long the commit of the last offset may take after the last row was seen.
const LAST_COMMIT: Duration = Duration::from_secs(30);
/// An interval longer than any run.
const NEVER_MS: &str = "3600000";

/// Fills the tables and measures what that costs. Without the roll-up the processor does what the engine's views do and no
/// more: nothing is refreshed before the figures are taken.
pub async fn run(bench: &BenchTopics, run: &Run, with_rollup: bool) -> anyhow::Result<Cost> {
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
    let before = bench.clickhouse.cpu();
    let began = Instant::now();
    let mut daemon = Daemon::start("hookline-processor", &[], &environment);
    let process = Process(daemon.pid());
    let elapsed = tables::until_filled(&run.clickhouse, bench.filled.records, began).await?;
    let filled = Instant::now();
    while with_rollup && daemon.metric_if_there("hookline_processor_lag_records", &[]).await != Some(0.0) {
        ensure!(filled.elapsed() < LAST_COMMIT, "every row is there, but the processor still reports lag");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let usage = ProcessorUsage { cpu: process.cpu(), peak_memory: process.memory("VmHWM") };
    tables::until_merged(&run.clickhouse).await?;
    let clickhouse = bench.clickhouse.cpu() - before;
    let status = daemon.terminate().await;
    ensure!(status.success(), "the processor ended with {status}:\n{}", daemon.log().join("\n"));
    Ok(Cost { elapsed, clickhouse, processor: Some(usage) })
}

#[derive(Deserialize)]
struct Replayed {
    records: u64,
    records_per_second: f64,
    changed: bool,
}

/// Replays all records of a source over tables that lack nothing, at full speed.
pub async fn replay(bench: &BenchTopics, run: &Run, source: &str) -> anyhow::Result<ReplayCost> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state.json").display().to_string();
    let arguments = ["replay", "--json", "--rate", "0", "--no-give-way", "--source", source, "--state", &state];
    let own = Process(std::process::id());
    let (before, clickhouse) = (own.cpu_of_children(), bench.clickhouse.cpu());
    let printed = run_successfully("hookline-processor", &arguments, &run.servers.environment()).await;
    let processor = own.cpu_of_children() - before;
    tables::until_merged(&run.clickhouse).await?;
    let clickhouse = bench.clickhouse.cpu() - clickhouse;
    let replayed: Replayed = serde_json::from_slice(&printed).context("what the replay printed")?;
    ensure!(
        replayed.records == bench.filled.records && !replayed.changed,
        "{} records, changed: {}",
        replayed.records,
        replayed.changed
    );
    Ok(ReplayCost { records_per_second: replayed.records_per_second, processor, clickhouse })
}

#[derive(Deserialize)]
struct Built {
    filled: Filled,
    changes: bool,
    loses: bool,
}

#[derive(Deserialize)]
struct Filled {
    records: u64,
    records_per_second: f64,
}

/// Builds `jobs` anew from all records of a source, at full speed. Gives the records a second with which the table was filled.
pub async fn rebuild(bench: &BenchTopics, run: &Run, source: &str) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("rebuild.json").display().to_string();
    let environment =
        with(&run.servers.environment(), &[("HOOKLINE_PROCESSOR__GROUP__ID", &run.servers.clickhouse.database)]);
    let arguments =
        ["replay", "--rebuild", "--json", "--rate", "0", "--no-give-way", "--source", source, "--state", &state];
    let printed = run_successfully("hookline-processor", &arguments, &environment).await;
    let Built { filled, changes, loses } = serde_json::from_slice(&printed).context("what the rebuild printed")?;
    ensure!(
        filled.records == bench.filled.records && !changes && !loses,
        "{} records, changes: {changes}, loses: {loses}",
        filled.records
    );
    let drop = ["replay", "--rebuild", "--json", "--drop", "--state", &state];
    run_successfully("hookline-processor", &drop, &environment).await;
    Ok(filled.records_per_second)
}

/// What a replay cost.
#[derive(Clone, Copy, Debug)]
pub struct ReplayCost {
    pub records_per_second: f64,
    /// CPU time.
    pub processor: Duration,
    /// CPU time of ClickHouse, merges included.
    pub clickhouse: Duration,
}

impl ReplayCost {
    /// Says what one of `records` cost.
    pub fn of_each(&self, records: u64) -> String {
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;
        let Self { records_per_second, processor, clickhouse } = self;
        format!(
            "{records_per_second:.0} records/s; CPU of the processor {:.2} µs a record, of ClickHouse {:.2}",
            micros(*processor),
            micros(*clickhouse)
        )
    }
}
