//! `hookline-processor`: the daemon, its commands, and what all programs have.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hookline_processor::{
    AcknowledgeArgs, DeadLettersArgs, ProcessorConfig, RedriveArgs, ReplayArgs, TailArgs, acknowledge, list, redrive,
    replay, run, tail,
};
use hookline_service::cli::{ConfigArgs, finish, parse};
use hookline_service::shutdown::{BLOCKED_TIMEOUT, LONGEST};
use hookline_service::telemetry;

/// Folds the topics into facts and fills the tables.
#[derive(Parser)]
#[command(version = hookline_service::version!())]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &[&str] = &[
    "hookline-processor --config processor.toml",
    "hookline-processor replay --from -2h --dry-run",
    "hookline-processor replay --from 2026-11-25T10:00:00Z --to now --resource video",
    "hookline-processor replay --rebuild --dry-run",
    "hookline-processor replay --rebuild && hookline-processor replay --rebuild --swap",
    "hookline-processor acknowledge --dry-run",
    "hookline-processor dead-letters --from -24h",
    "hookline-processor redrive --reason stale --from -24h",
    "hookline-processor redrive --execute",
    "hookline-processor tail --from -10m --outcome errored",
];

#[derive(Subcommand)]
enum Command {
    Replay(ReplayArgs),
    Acknowledge(AcknowledgeArgs),
    DeadLetters(DeadLettersArgs),
    Redrive(RedriveArgs),
    Tail(TailArgs),
}

fn main() -> ExitCode {
    telemetry::init();
    finish(start(parse::<Cli, ProcessorConfig>(EXAMPLES, "it failed")))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let Some(config) = cli.config.load::<ProcessorConfig>()? else { return Ok(()) };
    if cli.command.is_none() {
        tracing::info!(
            version = hookline_service::version!(),
            admin = %config.admin.listen,
            kafka = config.kafka.bootstrap_servers,
            topic_prefix = config.kafka.topic_prefix,
            group = config.group_id(),
            clickhouse = config.clickhouse.url,
            database = config.clickhouse.database,
            "starting"
        );
        if config.group.shutdown_timeout() > LONGEST {
            tracing::warn!(
                shutdown_timeout_ms = config.group.shutdown_timeout_ms,
                default_ms = LONGEST.as_millis(),
                "group.shutdown_timeout_ms is longer than most supervisors wait after SIGTERM: give the process this time there, \
                 too, such as by terminationGracePeriodSeconds or TimeoutStopSec"
            );
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        match cli.command {
            None => run(config).await,
            Some(Command::Replay(args)) => replay(config, args).await,
            Some(Command::Acknowledge(args)) => acknowledge(config, args).await,
            Some(Command::DeadLetters(args)) => list(config, args).await,
            Some(Command::Redrive(args)) => redrive(config, args).await,
            Some(Command::Tail(args)) => tail(config, args).await,
        }
    });
    // A thread may wait for a name server that never answers.
    runtime.shutdown_timeout(BLOCKED_TIMEOUT);
    ended
}
