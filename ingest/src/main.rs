//! Webhook in, verified record in Kafka, and only then the answer.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use hookline_ingest::{BLOCKED_DEADLINE, Captured, IngestConfig, SignedHeaders, explain, read_sources, run, url};
use hookline_schemas::time::ReceivedAt;
use hookline_service::cli::{ConfigArgs, finish, parse, print, print_line};
use hookline_service::clock::unix_now;
use hookline_service::telemetry;
use hookline_sources::Sources;

/// Receives webhooks, verifies them and stores them in Kafka before it answers.
#[derive(Parser)]
#[command(version = hookline_service::version!())]
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
    "hookline-ingest sign --body body.json --curl",
    "hookline-ingest sign --body body.json | curl -H @- --data-binary @body.json URL",
];

#[derive(Subcommand)]
enum Command {
    /// Explain offline what becomes of a captured request; exit 1 if it is not authentic
    Verify {
        /// The raw body; `-` reads standard input
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
    /// Print the headers that make a source accept a body, for a test by hand
    Sign(SignArgs),
}

/// The secret comes from the configuration, as for the daemon, and is never shown.
#[derive(Args)]
struct SignArgs {
    /// The raw body; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The source whose secret signs; needed where there are several
    #[arg(long)]
    source: Option<String>,
    /// The key that signs; needed where the source has several
    #[arg(long)]
    key: Option<String>,
    /// The Unix second that is signed, now if not given
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    timestamp: Option<i64>,
    /// Print a command that sends the body
    #[arg(long)]
    curl: bool,
    /// Where that command sends it, server.listen if not given
    #[arg(long, env = "HOOKLINE_WEBHOOK_URL", hide_env_values = true)]
    url: Option<String>,
}

fn main() -> ExitCode {
    telemetry::init();
    finish(start(parse::<Cli, IngestConfig>(EXAMPLES, "it failed, or the captured request is not authentic")))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let Some(config) = cli.config.load::<IngestConfig>()? else { return Ok(()) };
    match cli.command {
        Some(command) => answer(command, &config),
        None => serve(config, cli.config),
    }
}

fn answer(command: Command, config: &IngestConfig) -> anyhow::Result<()> {
    let sources = read_sources(config)?;
    match command {
        Command::Sign(args) => sign(&args, &sources, config),
        Command::Verify { body, timestamp, signature, source } => {
            if let Some(name) = source.as_deref().filter(|name| sources.get(name).is_none()) {
                anyhow::bail!("no source is called {name:?}");
            }
            let bytes = read_body(&body)?;
            let captured = Captured { timestamp: &timestamp, signature: &signature, body: &bytes };
            let now = ReceivedAt(i64::try_from(unix_now().as_millis())?);
            let finding = explain(captured, &sources, source.as_deref(), config.tolerance, now);
            print(finding.text);
            anyhow::ensure!(finding.authentic, "not authentic");
            Ok(())
        }
    }
}

fn sign(args: &SignArgs, sources: &Sources, config: &IngestConfig) -> anyhow::Result<()> {
    let now = i64::try_from(unix_now().as_secs())?;
    let body = read_body(&args.body)?;
    let (source, key) = (args.source.as_deref(), args.key.as_deref());
    let signed = SignedHeaders::new(sources, source, key, args.timestamp.unwrap_or(now), &body)?;
    if !args.curl {
        print(signed.lines());
        return Ok(());
    }
    let file = args.body.to_str().filter(|file| *file != STDIN);
    let file = file.context("--curl: the command reads the body again, so --body must name a file in UTF-8")?;
    let url = args.url.clone().or_else(|| url(config.server.listen, &signed.source));
    let url = url.context("--curl: server.listen has no port yet: give --url http://HOST:PORT/webhooks/SOURCE")?;
    print_line(signed.curl(file, &url));
    Ok(())
}

const STDIN: &str = "-";

fn read_body(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new(STDIN) {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body).context("standard input")?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn serve(config: IngestConfig, source: ConfigArgs) -> anyhow::Result<()> {
    tracing::info!(
        version = hookline_service::version!(),
        server = %config.server.listen,
        admin = %config.admin.listen,
        kafka = config.kafka.bootstrap_servers,
        topic_prefix = config.kafka.topic_prefix,
        sources = config.sources.len().max(1),
        "starting"
    );
    let workers = config.server.workers.get();
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(workers).enable_all().build()?;
    let ended = runtime.block_on(run(config, source));
    // A thread may wait for a broker or a file that never answers.
    runtime.shutdown_timeout(BLOCKED_DEADLINE);
    ended
}
