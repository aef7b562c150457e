//! From topics to tables.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hookline_processor::{ProcessorConfig, ReplayArgs, SCHEMA, replay, run};
use hookline_service::cli::{ConfigArgs, finish};
use hookline_service::telemetry;

/// Folds the topics into facts and fills the tables.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Replay(ReplayArgs),
}

fn main() -> ExitCode {
    telemetry::init();
    finish(start(Cli::parse()))
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let config = SCHEMA.load::<ProcessorConfig>(cli.config.config.as_deref(), std::env::vars())?.validate()?;
    config.kafka.client()?;
    config.clickhouse.client()?;
    if cli.config.check_config {
        println!("the configuration is sound");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            None => run(config).await,
            Some(Command::Replay(args)) => replay(config, args).await,
        }
    })
}
