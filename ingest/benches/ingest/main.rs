//! Measures what a webhook costs: the CPU time of `hookline-ingest` and of its broker, latency and memory, and in the same run
//! those of a floor that only reads the body and computes the HMAC. `make bench` runs it.
//!
//! Server, broker and load generator share one machine, so throughput says as much about the other two as about the
//! server; CPU time is each process's own, and its ratio to the floor travels best from machine to machine.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its result")]

mod connection;
mod floor;
mod load;
mod plan;
mod report;
mod server;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use hookline_schemas::topics::Topics;
use hookline_testkit::Servers;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::plan::{Load, Plan};
use crate::report::Report;
use crate::server::{Broker, Kind, Server};
use crate::webhooks::Events;

#[derive(Debug, Parser)]
struct Args {
    /// How many connections send as fast as they are answered; 64 and then 256 unless given.
    #[arg(long, value_name = "COUNT")]
    connections: Vec<usize>,
    /// How many webhooks a second come from senders that do not wait for each other; 300, 3000 and 10000 unless given.
    #[arg(long, value_name = "COUNT")]
    rate: Vec<u32>,
    /// A fifth of the webhooks, once; not written to bench.json.
    #[arg(long)]
    quick: bool,
    /// What the webhooks say; with `video` they go to one topic instead of three, and bench.json stays as it is.
    #[arg(long, value_enum, default_value_t)]
    events: Events,
    /// Partitions of each topic; bench.json stays as it is unless it is the number that `migrate` makes.
    #[arg(long, value_name = "COUNT", default_value_t = Topics::DEFAULT_PARTITIONS)]
    partitions: u16,
    /// Measure the floor alone: needs no Kafka.
    #[arg(long)]
    floor_only: bool,
    /// Be the floor.
    #[arg(long, hide = true)]
    floor_server: bool,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// The loads in the order of their runs: the ones that were asked for, or all that are kept.
    fn loads(&self) -> Vec<Load> {
        let loads = |connections: &[usize], rates: &[u32]| {
            let closed = connections.iter().copied().map(Load::Connections);
            closed.chain(rates.iter().copied().map(Load::Rate)).collect()
        };
        if self.connections.is_empty() && self.rate.is_empty() {
            loads(&[64, 256], &[300, 3_000, 10_000])
        } else {
            loads(&self.connections, &self.rate)
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    hookline_service::cli::finish(run(&args))
}

#[tokio::main(flavor = "current_thread")]
async fn run(args: &Args) -> anyhow::Result<()> {
    if args.floor_server {
        return floor::serve().await;
    }
    let plan = Plan::new(args);
    let mut report = Report::default();
    let bench = if args.floor_only { None } else { Some(Bench::new(args.partitions).await?) };
    for load in args.loads() {
        for repetition in 1..=plan.repetitions {
            eprintln!("{load}, {repetition} of {}", plan.repetitions);
            if let Load::Connections(_) = load {
                report.add(load, Kind::Floor, plan.measure(Server::floor().await?, load, None).await?);
            }
            if let Some(bench) = &bench {
                let stored = bench.stored()?;
                let server = Server::ingest(&bench.servers).await;
                report.add(load, Kind::Ingest, plan.measure(server, load, Some(&bench.broker)).await?);
                let (stored, sent) = (bench.stored()? - stored, plan.webhooks(load));
                ensure!(stored == sent, "{sent} webhooks were answered 200, but {stored} are in the topics");
            }
        }
    }
    println!("{}", report.table());
    if plan.save {
        report.save();
    }
    Ok(())
}

/// The topics that `hookline-ingest` writes.
struct Bench {
    servers: Servers,
    broker: Broker,
    topics: Topics,
    partitions: u16,
}

impl Bench {
    async fn new(partitions: u16) -> anyhow::Result<Self> {
        let servers = Servers::fresh("bench").await;
        let topics = Topics::new(&servers.kafka.topic_prefix)?;
        servers.create_topics(topics.all(), partitions.into()).await;
        Ok(Self { broker: Broker::of(&servers)?, servers, topics, partitions })
    }

    /// The number of records in the topics of the resources.
    fn stored(&self) -> anyhow::Result<usize> {
        let consumer: BaseConsumer = self.servers.kafka.client()?.create()?;
        let mut records = 0;
        for topic in self.topics.all().filter(|topic| *topic != self.topics.dead_letter()) {
            for partition in 0..self.partitions {
                let (_, end) = consumer.fetch_watermarks(topic, partition.into(), Duration::from_secs(10))?;
                records += usize::try_from(end)?;
            }
        }
        Ok(records)
    }
}
