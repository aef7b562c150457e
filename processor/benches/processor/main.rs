//! What an event costs: our processor beside ClickHouse's own Kafka engine, which is what people use without one. Both read
//! the same topics into fresh databases with the same tables, in turns; the figures are medians of CPU time as the kernel
//! counts it, of ClickHouse's process with the merges that follow, and of the processor's. Run it by `make bench`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its result")]

mod bench_topics;
mod engine;
mod fill;
mod processor;
mod report;
mod tables;
mod traffic;

use anyhow::ensure;
use clap::Parser;

use self::bench_topics::{BenchTopics, Contender, Cost, Run};
use self::report::{Figures, Rebuilt};

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
    let mut replayed = Vec::new();
    let mut rebuilt = Rebuilt::default();
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
                for source in ["kafka", "deliveries"] {
                    let cost = processor::replay(&bench, &run, source).await?;
                    println!(
                        "replay of {source} over tables that lack nothing: {}",
                        cost.of_each(bench.filled.records)
                    );
                    ensure!(tables::content(&run.clickhouse).await? == content, "the replay changed something");
                    if source == "kafka" {
                        replayed.push(cost.records_per_second);
                    }
                }
                let of_processor = bench.filled.records as f64 / cost.elapsed.as_secs_f64();
                for (source, ratios) in [("kafka", &mut rebuilt.of_kafka), ("deliveries", &mut rebuilt.of_archive)] {
                    let rate = processor::rebuild(&bench, &run, source).await?;
                    let ratio = rate / of_processor;
                    println!("rebuild from {source}: filled with {rate:.0} records/s, {ratio:.2} of the processor's");
                    ratios.push(ratio);
                }
            }
        }
    }
    let figures: Vec<Figures> = contenders
        .into_iter()
        .zip(&costs)
        .map(|(contender, runs)| Figures::of(contender, runs, options.records))
        .collect::<Result<_, _>>()?;
    println!("{}", report::table(&figures));
    let replayed = report::median(replayed);
    if let Some(replayed) = replayed {
        println!("replay over tables that lack nothing, two partitions at a time: {replayed:.0} records/s");
    }
    if options.only.is_none() {
        report::keep(&figures, options.records, replayed, rebuilt)?;
    }
    bench.delete().await;
    Ok(())
}
