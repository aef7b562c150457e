//! `hookline-simulator`: plays the provider, and holds the tables against what it sent.

use std::process::ExitCode;
use std::time::Instant;

use hookline_schemas::signature::SigningKey;
use hookline_service::cli::{finish, parse, print_line};
use hookline_service::{shutdown, telemetry};
use hookline_simulator::check::{SimulatorConfig, check};
use hookline_simulator::cli::{Cli, Command, EXAMPLES, SECRET_VARIABLE, Simulate};
use hookline_simulator::ledger::Writer;
use hookline_simulator::plan::plan;
use hookline_simulator::progress::{self, Schedule};
use hookline_simulator::provider::{self, deliver};
use hookline_simulator::provider_time::ProviderTime;
use hookline_simulator::report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::init();
    let (is_good, result) = match run().await {
        Ok(is_good) => (is_good, Ok(())),
        Err(error) => (true, Err(error)),
    };
    let code = finish(result);
    if is_good { code } else { ExitCode::FAILURE }
}

async fn run() -> anyhow::Result<bool> {
    let cli: Cli =
        parse::<_, SimulatorConfig>(EXAMPLES, "a webhook was not acknowledged, or the tables differ, or it failed");
    let Some(config) = cli.config.load::<SimulatorConfig>()? else { return Ok(true) };
    match &cli.command {
        None => simulate(&cli.simulate).await,
        Some(Command::Check(options)) => check(&config, options).await,
    }
}

/// Returns whether everything was acknowledged.
async fn simulate(options: &Simulate) -> anyhow::Result<bool> {
    let settings = provider::Settings {
        url: options.target()?,
        key: SigningKey::new(options.secret(std::env::var(SECRET_VARIABLE).ok())?.expose()),
        retry: options.retry(),
        connections: usize::try_from(options.connections)?,
        rate: options.pace(),
    };
    let ledger = options.ledger.as_deref().map(Writer::append).transpose()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let now = ProviderTime::now();
    let plan = plan(&options.settings(seed), now);
    let schedule = Schedule::of(&plan, options.past.is_some(), now);
    let progress = progress::bar(plan.len());
    let telling = tokio::spawn(progress::tell(progress.clone(), schedule));
    let began = Instant::now();
    let counts = deliver(settings, plan, ledger, &progress, shutdown::on_signal()?).await;
    telling.abort();
    let counts = counts?;
    progress.finish_and_clear();
    let report =
        Report { seed, jobs: options.jobs, times: options.times(), seconds: began.elapsed().as_secs_f64(), counts };
    if options.json {
        print_line(serde_json::to_string_pretty(&report)?);
    } else {
        print_line(&report);
    }
    Ok(report.counts.is_complete())
}
