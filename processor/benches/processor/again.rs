//! Reading everything again at full speed, from each source: a replay over tables that lack nothing, and a rebuild.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hookline_testkit::{Process, run_successfully, with};
use serde::Deserialize;

use crate::bench_topics::{BenchTopics, Cost, Run};
use crate::report::median;
use crate::tables;

const SOURCES: [&str; 2] = ["kafka", "deliveries"];

/// What each run gave, by source.
#[derive(Default)]
pub struct Again {
    replays: [Vec<Replay>; 2],
    /// Records a second with which a rebuild filled its table, and as a share of those that the processor read.
    rebuilds: [Vec<(f64, f64)>; 2],
}

/// What a replay cost.
#[derive(Clone, Copy)]
struct Replay {
    records_per_second: f64,
    of_processor: f64,
    /// CPU time of a record, µs.
    processor_us: f64,
    clickhouse_us: f64,
}

impl Again {
    /// Reads everything again into the tables that a processor has filled at `cost`.
    pub async fn measure(&mut self, bench: &BenchTopics, run: &Run, cost: Cost) -> anyhow::Result<()> {
        let of_processor = |rate: f64| rate * cost.elapsed.as_secs_f64() / bench.filled.records as f64;
        for (source, replays) in SOURCES.iter().zip(&mut self.replays) {
            replays.push(replay(bench, run, source, of_processor).await?);
        }
        for (source, rebuilds) in SOURCES.iter().zip(&mut self.rebuilds) {
            let rate = rebuild(bench, run, source).await?;
            rebuilds.push((rate, of_processor(rate)));
        }
        Ok(())
    }

    fn replayed(&self, source: usize, figure: impl Fn(&Replay) -> f64) -> Option<f64> {
        median(self.replays.get(source)?.iter().map(figure).collect())
    }

    fn rebuilt(&self, source: usize, figure: impl Fn(&(f64, f64)) -> f64) -> Option<f64> {
        median(self.rebuilds.get(source)?.iter().map(figure).collect())
    }

    /// The names of what is kept, with the medians.
    pub fn figures(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("replay_records_per_second", self.replayed(0, |replay| replay.records_per_second.round())),
            ("replay_of_kafka_ratio_to_processor", self.replayed(0, |replay| replay.of_processor)),
            ("replay_of_archive_ratio_to_processor", self.replayed(1, |replay| replay.of_processor)),
            ("rebuild_records_per_second", self.rebuilt(0, |(rate, _)| rate.round())),
            ("rebuild_of_kafka_ratio_to_processor", self.rebuilt(0, |(_, ratio)| *ratio)),
            ("rebuild_of_archive_ratio_to_processor", self.rebuilt(1, |(_, ratio)| *ratio)),
        ]
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, source) in SOURCES.iter().enumerate() {
            let replayed = |figure: fn(&Replay) -> f64| self.replayed(number, figure).unwrap_or(f64::NAN);
            let rebuilt = |figure: fn(&(f64, f64)) -> f64| self.rebuilt(number, figure).unwrap_or(f64::NAN);
            writeln!(
                f,
                "replay of {source} over tables that lack nothing: {:.0} records/s, {:.2} of the processor's; CPU of the processor \
                 {:.2} µs a record, of ClickHouse {:.2}",
                replayed(|replay| replay.records_per_second),
                replayed(|replay| replay.of_processor),
                replayed(|replay| replay.processor_us),
                replayed(|replay| replay.clickhouse_us),
            )?;
            writeln!(
                f,
                "rebuild from {source}: filled with {:.0} records/s, {:.2} of the processor's",
                rebuilt(|(rate, _)| *rate),
                rebuilt(|(_, ratio)| *ratio),
            )?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Replayed {
    records: u64,
    records_per_second: f64,
    changed: bool,
}

async fn replay(
    bench: &BenchTopics,
    run: &Run,
    source: &str,
    of_processor: impl Fn(f64) -> f64,
) -> anyhow::Result<Replay> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state.json").display().to_string();
    let arguments = ["replay", "--json", "--rate", "0", "--no-give-way", "--source", source, "--state", &state];
    let own = Process(std::process::id());
    let (before, used) = (own.cpu_of_children(), bench.used());
    let printed = run_successfully("hookline-processor", &arguments, &run.servers.environment()).await;
    let processor = own.cpu_of_children() - before;
    tables::until_merged(&run.clickhouse).await?;
    let used = bench.used().since(used);
    let Replayed { records, records_per_second, changed } =
        serde_json::from_slice(&printed).context("what the replay printed")?;
    ensure!(records == bench.filled.records && !changed, "{records} records, changed: {changed}");
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;
    Ok(Replay {
        records_per_second,
        of_processor: of_processor(records_per_second),
        processor_us: each(processor),
        clickhouse_us: each(used.clickhouse),
    })
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

/// Builds `jobs` anew from all records of a source. Gives the records a second with which the table was filled.
async fn rebuild(bench: &BenchTopics, run: &Run, source: &str) -> anyhow::Result<f64> {
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
