//! Webhook in, verified record in Kafka, and only then the answer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hookline_ingest::{Captured, IngestConfig, explain, read_sources, run};
use hookline_schemas::time::ReceivedAt;
use hookline_service::cli::{ConfigArgs, finish, parse, print};
use hookline_service::clock::unix_now;
use hookline_service::telemetry;

/// Receives webhooks, verifies them and stores them in Kafka before it answers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &[&str] = &[
    "hookline-ingest --config ingest.toml",
    "HOOKLINE_SOURCE=prod HOOKLINE_WEBHOOK_SECRET=mhw_live_… hookline-ingest",
    "hookline-ingest verify --body body.json --timestamp 1786699613 --signature 5f2c…",
];

/// The time that threads have at the end for calls that block.
const BLOCKED_DEADLINE: Duration = Duration::from_secs(3);

#[derive(Subcommand)]
enum Command {
    /// Explain offline what becomes of a captured request; exit 1 if it is not authentic
    Verify {
        /// The raw body
        #[arg(long, value_name = "FILE")]
        body: PathBuf,
        /// The header magic-hour-event-timestamp
        #[arg(long, allow_hyphen_values = true)]
        timestamp: String,
        /// The header magic-hour-event-signature
        #[arg(long, allow_hyphen_values = true)]
        signature: String,
        /// Only the keys of this source
        #[arg(long)]
        source: Option<String>,
    },
}

fn main() -> ExitCode {
    telemetry::init();
    finish(start(parse::<Cli, IngestConfig>(EXAMPLES, "it failed, or the captured request is not authentic")))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let Some(config) = cli.config.load::<IngestConfig>()? else { return Ok(()) };
    if let Some(Command::Verify { body, timestamp, signature, source }) = cli.command {
        let sources = read_sources(&config)?;
        if let Some(name) = source.as_deref().filter(|name| sources.get(name).is_none()) {
            anyhow::bail!("no source is called {name:?}");
        }
        let bytes = std::fs::read(&body).with_context(|| body.display().to_string())?;
        let captured = Captured { timestamp: &timestamp, signature: &signature, body: &bytes };
        let now = ReceivedAt(i64::try_from(unix_now().as_millis())?);
        let finding = explain(captured, &sources, source.as_deref(), config.tolerance, now);
        print(finding.text);
        anyhow::ensure!(finding.authentic, "not authentic");
        return Ok(());
    }
    let workers = config.server.workers.get();
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(workers).enable_all().build()?;
    let ended = runtime.block_on(run(config, cli.config));
    // A thread may wait for a broker or a file that never answers.
    runtime.shutdown_timeout(BLOCKED_DEADLINE);
    ended
}
