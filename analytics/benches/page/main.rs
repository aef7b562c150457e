//! How long the dashboard's pages take over ten million jobs, in a browser: `make bench BENCHES=page`. With `--soak`, one page stays
//! open beside jobs that come in, and its heap must stay flat: `make soak-page`.
#![expect(clippy::print_stdout, reason = "a bench prints its result")]

#[path = "../queries/fill.rs"]
mod fill;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use clickhouse::Client;
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::{Daemon, Servers, with};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
/// What a soak adds, and how often.
const JOBS_AT_ONCE: u32 = 40;
const BETWEEN: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Options {
    /// Jobs, created evenly over thirty days
    #[arg(long, default_value_t = 10_000_000)]
    jobs: u64,
    /// How often each page is opened
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    /// Leave one page open for so many minutes instead
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u32>,
    #[arg(long, hide = true, help = "cargo bench says so")]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let servers = Servers::fresh("bench_page").await;
    let client = servers.clickhouse.client()?;
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        client.query_raw(statement).execute().await?;
    }
    fill::fill(&client, options.jobs).await?;
    let environment = with(&servers.environment(), &[("HOOKLINE_ANALYTICS__SERVE__LISTEN", "127.0.0.1:0")]);
    let mut serve = Daemon::start("hookline-analytics", &["serve"], &environment);
    let mut pages = Command::new("npx");
    pages.args(["playwright", "test", "--config", "bench/playwright.config.ts"]).current_dir(WEB).envs([
        ("HOOKLINE_ANALYTICS_URL", format!("http://{}", serve.address("serve").await)),
        ("HOOKLINE_BENCH_END", OffsetDateTime::from_unix_timestamp(fill::END.into())?.format(&Rfc3339)?),
        ("HOOKLINE_BENCH_JOBS", options.jobs.to_string()),
        ("HOOKLINE_BENCH_JOB", fill::job_id(options.jobs, 1)),
        ("HOOKLINE_BENCH_REPEAT", options.repeat.to_string()),
        ("HOOKLINE_BENCH_FILE", format!("{}/../.local/bench.json", env!("CARGO_MANIFEST_DIR"))),
    ]);
    let status = match options.soak {
        Some(minutes) => {
            pages.arg("soak").env("HOOKLINE_SOAK_MINUTES", minutes.to_string());
            let pages = tokio::task::spawn_blocking(move || pages.status());
            tokio::select! {
                status = pages => status??,
                added = add_jobs(&client) => return added,
            }
        }
        None => tokio::task::spawn_blocking(move || pages.arg("page").status()).await??,
    };
    anyhow::ensure!(status.success(), "the pages in {}: see what they say above", Path::new(WEB).display());
    Ok(())
}

/// Adds jobs that have just ended, and refreshes their hour, for as long as it is polled.
async fn add_jobs(client: &Client) -> anyhow::Result<()> {
    let statement = format!(
        "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, started_at, completed_at, errored_at, error, \
         first_received_at, last_received_at, fold_version) SELECT 'magichour', ['video', 'image', 'audio'][number % 3 + 1], \
         toStartOfHour(created), concat('live', toString(generateUUIDv4())), created, concat('TYPE_', toString(number % 10)), \
         created + 1, if(number % 9 = 0, NULL, created + 5 + number), if(number % 9 = 0, created + 5 + number, NULL), \
         if(number % 9 = 0, concat('code_', toString(number % 4), '\\0why'), ''), created, created, 1 \
         FROM (SELECT number, now64(3) - 60 AS created FROM numbers({JOBS_AT_ONCE}))"
    );
    loop {
        client.query_raw(&statement).execute().await.context("to add jobs")?;
        let hour = (OffsetDateTime::now_utc().unix_timestamp() - 60) / 3_600 * 3_600;
        client.query_raw(&refresh_statement(&[CreatedHour(hour)])).execute().await?;
        tokio::time::sleep(BETWEEN).await;
    }
}
