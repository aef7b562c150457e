//! Traffic as it comes, instead of topics that are full: small inserts, and so parts, merges and refreshes, are the cost of it.

use std::time::{Duration, Instant};

use hookline_testkit::Process;

use crate::bench_topics::{BenchTopics, Contender, Cost, ProcessorUsage, Run};
use crate::report::Figures;
use crate::{engine, fill, processor, tables};

/// Webhooks a second.
pub const RATES: [u32; 2] = [300, 3_000];
const SECONDS: u32 = 60;

/// Measures what a minute of traffic costs each contender, once.
pub async fn compare(bench: &BenchTopics, per_second: u32) -> anyhow::Result<Vec<Figures>> {
    let mut figures = Vec::new();
    for contender in [Contender::Processor, Contender::Engine, Contender::WithRollUp] {
        let run = Run::live().await?;
        let cost = measure(bench, &run, &contender, per_second).await?;
        let disk = tables::disk_bytes(&run.clickhouse).await?;
        figures.push(Figures::of(contender, &[(cost, disk)], u64::from(per_second * SECONDS))?);
    }
    Ok(figures)
}

/// A contender is there from before the traffic.
async fn measure(bench: &BenchTopics, run: &Run, contender: &Contender, per_second: u32) -> anyhow::Result<Cost> {
    match contender {
        Contender::Engine => {
            engine::start(bench, run).await?;
            let before = bench.used();
            let elapsed = receive(run, per_second).await?;
            engine::stop(run).await?;
            Ok(Cost { elapsed, used: bench.used().since(before), processor: None })
        }
        Contender::Processor | Contender::WithRollUp | Contender::Altered(_) => {
            let with_rollup = *contender == Contender::WithRollUp;
            let mut daemon = processor::start(run, with_rollup);
            daemon.wait_ready().await;
            let process = Process(daemon.pid());
            let (before, own_before) = (bench.used(), process.cpu());
            let elapsed = receive(run, per_second).await?;
            if with_rollup {
                processor::until_committed(&mut daemon).await?;
            }
            let usage = ProcessorUsage { cpu: process.cpu() - own_before, peak_memory: process.memory("VmHWM") };
            tables::until_merged(&run.clickhouse).await?;
            let used = bench.used().since(before);
            processor::stop(daemon).await?;
            Ok(Cost { elapsed, used, processor: Some(usage) })
        }
    }
}

/// Produces the traffic, and waits until the tables have it.
async fn receive(run: &Run, per_second: u32) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let (kafka, topics) = (run.servers.kafka.clone(), run.topics.clone());
    let records = tokio::task::spawn_blocking(move || fill::fill_live(&kafka, &topics, per_second, SECONDS)).await??;
    tables::until_filled(&run.clickhouse, records, began).await
}
