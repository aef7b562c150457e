//! Measures what a webhook costs: the CPU time, latency and memory of `hookline-ingest` on a real Kafka, and in the
//! same run those of a floor that only reads the body and computes the HMAC. `make bench` runs it.
//!
//! Server, broker and load generator share one machine, so throughput says as much about the other two as about the
//! server; the CPU time is the server's alone, and its ratio to the floor travels best from machine to machine.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its result")]

mod connection;
mod floor;
mod load;
mod report;
mod server;
mod webhooks;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser;
use hookline_schemas::topics::Topics;
use hookline_testkit::Servers;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::load::Pace;
use crate::report::{Figures, Report};
use crate::server::{Kind, Server};
use crate::webhooks::{Events, Webhooks};

const PARTITIONS: i32 = 8;

#[derive(Debug, Parser)]
struct Args {
    /// How many connections; 64 and then 256 unless given.
    #[arg(long, value_name = "COUNT")]
    connections: Option<usize>,
    /// A fifth of the webhooks, once; not written to bench.json.
    #[arg(long)]
    quick: bool,
    /// What the webhooks say; with `all` they go to three topics instead of one, and bench.json stays as it is.
    #[arg(long, value_enum, default_value_t)]
    events: Events,
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
    let servers = if args.floor_only { None } else { Some(servers().await?) };
    for connections in args.connections.map_or_else(|| vec![64, 256], |one| vec![one]) {
        for repetition in 1..=plan.repetitions {
            eprintln!("{connections} connections, {repetition} of {}", plan.repetitions);
            report.add(connections, Kind::Floor, plan.measure(Server::floor().await?, connections).await?);
            if let Some(servers) = &servers {
                let stored = stored(servers)?;
                let figures = plan.measure(Server::ingest(servers).await, connections).await?;
                report.add(connections, Kind::Ingest, figures);
                let stored = self::stored(servers)? - stored;
                let sent = plan.warm_up + plan.webhooks + plan.webhooks / 2;
                ensure!(stored == sent, "{sent} webhooks were answered 200, but {stored} are in the topics");
            }
        }
    }
    println!("{}", report.table());
    if plan.save {
        report.save()?;
    }
    Ok(())
}

struct Plan {
    events: Events,
    warm_up: usize,
    webhooks: usize,
    repetitions: usize,
    /// Whether the figures are written to bench.json, which compares runs of the same plan alone.
    save: bool,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let (warm_up, webhooks, repetitions) = if args.quick { (4_000, 20_000, 1) } else { (20_000, 100_000, 3) };
        let save = !args.quick && !args.floor_only && args.events == Events::Video;
        Self { events: args.events, warm_up, webhooks, repetitions, save }
    }

    /// Measures CPU time and memory at full load, then the latency at half of that load.
    async fn measure(&self, mut server: Server, connections: usize) -> anyhow::Result<Figures> {
        let address = server.address().await;
        let webhooks = Webhooks::signed(self.events, self.warm_up);
        let mut connections = load::run(connection::open(address, connections).await?, webhooks, Pace::Closed)
            .await
            .context("while warming up")?
            .connections;
        let webhooks = Webhooks::signed(self.events, self.webhooks);
        let before = server.cpu_time();
        let full = load::run(connections, webhooks, Pace::Closed).await.context("at full load")?;
        let cpu = server.cpu_time() - before;
        let resident_peak_mib = server.resident_peak_mib();
        connections = full.connections;
        let webhooks = Webhooks::signed(self.events, self.webhooks / 2);
        let pace = Pace::Open { per_second: full.per_second / 2.0 };
        let half = load::run(connections, webhooks, pace).await.context("at half load")?;
        Ok(Figures {
            cpu_us: cpu.as_secs_f64() * 1e6 / self.webhooks as f64,
            per_second: full.per_second,
            full_p50_ms: full.latencies.quantile_ms(0.5),
            full_p99_ms: full.latencies.quantile_ms(0.99),
            p50_ms: half.latencies.quantile_ms(0.5),
            p99_ms: half.latencies.quantile_ms(0.99),
            resident_peak_mib,
        })
    }
}

async fn servers() -> anyhow::Result<Servers> {
    let servers = Servers::fresh("bench").await;
    servers.create_topics(Topics::new(&servers.kafka.topic_prefix)?.all(), PARTITIONS).await;
    Ok(servers)
}

/// The number of records in the topics of the resources.
fn stored(servers: &Servers) -> anyhow::Result<usize> {
    let topics = Topics::new(&servers.kafka.topic_prefix)?;
    let consumer: BaseConsumer = servers.kafka.client()?.create()?;
    let mut records = 0;
    for topic in topics.all().filter(|topic| *topic != topics.dead_letter()) {
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(topic, partition, std::time::Duration::from_secs(10))?;
            records += usize::try_from(end)?;
        }
    }
    Ok(records)
}
