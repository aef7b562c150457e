//! What an event costs: our processor beside ClickHouse's own Kafka engine, which is what people use without one. Both read
//! the same full topics into fresh databases with the same tables, in turns, and then a minute of traffic as it comes. The figures
//! are CPU time as the kernel counts it, medians where the topics are full, of the processor's process, of ClickHouse's with the
//! merges that follow, and of the broker's. Run it by `make bench`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its result")]

mod again;
mod bench_topics;
mod engine;
mod fill;
mod live;
mod processor;
mod report;
mod tables;
mod traffic;

use anyhow::ensure;
use clap::Parser;

use self::again::Again;
use self::bench_topics::{BenchTopics, Contender, Cost, Run};
use self::report::Figures;

/// The speed of the processor beside ClickHouse's own Kafka engine.
#[derive(Parser)]
struct Options {
    /// How many records the topics hold
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// How often each contender runs
    #[arg(long, default_value_t = 2)]
    repeat: usize,
    /// One more contender: the processor, after these statements have changed the tables
    #[arg(long, value_name = "SQL")]
    alter: Vec<String>,
    /// Run one side only, and keep no figures
    #[arg(long)]
    only: Option<Side>,
    #[arg(long, hide = true, help = "cargo bench says so")]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Processor,
    Engine,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let bench = BenchTopics::fill(options.records).await?;
    let filled = &bench.filled;
    let average = filled.body_bytes / filled.records;
    println!("{} records of {} jobs, bodies of {average} bytes on the average", filled.records, filled.jobs);

    let runs = |side| options.only.is_none_or(|only| only == side);
    let mut contenders = Vec::new();
    contenders.extend(runs(Side::Processor).then_some(Contender::Processor));
    contenders.extend(runs(Side::Engine).then_some(Contender::Engine));
    contenders.extend(runs(Side::Processor).then_some(Contender::WithRollUp));
    contenders.extend(options.alter.into_iter().map(Contender::Altered));
    let mut costs: Vec<Vec<(Cost, u64)>> = vec![Vec::new(); contenders.len()];
    let mut agreed: Option<tables::Content> = None;
    let mut again = Again::default();
    for _ in 0..options.repeat {
        for (contender, costs) in contenders.iter().zip(&mut costs) {
            let run = Run::prepare(&bench, contender).await?;
            let cost = match contender {
                Contender::Engine => engine::run(&bench, &run).await?,
                Contender::Processor | Contender::Altered(_) => processor::run(&bench, &run, false).await?,
                Contender::WithRollUp => processor::run(&bench, &run, true).await?,
            };
            costs.push((cost, tables::disk_bytes(&run.clickhouse).await?));
            let content = tables::content(&run.clickhouse).await?;
            println!("{contender:?}: {cost:?}, {content:?}");
            let expected = agreed.get_or_insert_with(|| content.clone());
            ensure!(*expected == content, "the tables differ, so the comparison means nothing: {expected:?}");
            if *contender == Contender::WithRollUp {
                again.measure(&bench, &run, cost).await?;
                ensure!(tables::content(&run.clickhouse).await? == content, "a replay or a rebuild changed something");
            }
        }
    }
    let figures: Vec<Figures> = contenders
        .into_iter()
        .zip(&costs)
        .map(|(contender, runs)| Figures::of(contender, runs, options.records))
        .collect::<Result<_, _>>()?;
    println!("{}", report::table(&figures));
    println!("{again}");
    if options.only.is_none() {
        let mut live = Vec::new();
        for per_second in live::RATES {
            let figures = live::compare(&bench, per_second).await?;
            println!("{per_second} a second, as they come\n{}", report::table(&figures));
            live.push((per_second, figures));
        }
        report::keep(&figures, options.records, &again, &live)?;
    }
    bench.delete().await;
    Ok(())
}
