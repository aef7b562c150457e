//! `hookline-analytics`: makes topics and tables, and asks them.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use hookline_analytics::config::AnalyticsConfig;
use hookline_analytics::migrate::{self, MigrateArgs};
use hookline_analytics::report::{self, ReportArgs};
use hookline_analytics::serve;
use hookline_analytics::top::{self, TopArgs};
use hookline_service::admin::DRAIN_TIMEOUT;
use hookline_service::cli::{ConfigArgs, finish, parse};
use hookline_service::shutdown::{BLOCKED_TIMEOUT, fits_shutdown};
use hookline_service::telemetry;

/// Makes Hookline's topics and tables, and reads the numbers out of them.
#[derive(Debug, Parser)]
#[command(version = hookline_service::version!(), arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &[&str] = &[
    "hookline-analytics migrate --dry-run",
    "hookline-analytics report --last 24h --compare -7d",
    "hookline-analytics report --from 2026-11-25T10:00:00Z --by resource,code --json",
    "hookline-analytics top",
    "hookline-analytics serve",
];

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the database, the tables and the topics, where they are missing
    Migrate(MigrateArgs),
    /// Show how many jobs finished in a range of time, how long they took and why some failed
    Report(Box<ReportArgs>),
    /// Watch the pipeline and its jobs on the terminal: rates, lag, where the time goes, errors, durations, open jobs
    Top(TopArgs),
    /// Answer questions by HTTP, as JSON and CSV, and show gauges of the last minutes and hours
    Serve,
}

/// `serve` ends within this time; the other commands end at once.
const _: () = assert!(fits_shutdown(&[DRAIN_TIMEOUT, BLOCKED_TIMEOUT]));

fn main() -> ExitCode {
    telemetry::init();
    finish(start(parse::<Cli, AnalyticsConfig>(EXAMPLES, "it failed")))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(cli));
    // A thread may wait for a name server that never answers.
    runtime.shutdown_timeout(BLOCKED_TIMEOUT);
    ended
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let Some(config) = cli.config.load::<AnalyticsConfig>()? else { return Ok(()) };
    match cli.command {
        Some(Command::Migrate(arguments)) => migrate::run(config, arguments).await,
        Some(Command::Report(arguments)) => report::run(&config, *arguments).await,
        Some(Command::Top(arguments)) => top::run(&config, &arguments).await,
        Some(Command::Serve) => serve::run(config).await,
        None => Ok(Cli::command().print_help()?),
    }
}
