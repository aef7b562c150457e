//! What the questions of dashboards, reports and the API cost in ClickHouse at ten million jobs in thirty days, and what a refresh of
//! the roll-up costs beside one that kept minutes alone. `make bench BENCHES=queries` runs it.
#![expect(clippy::print_stdout, reason = "a bench prints its result")]

mod ask;
mod fill;
mod report;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use clickhouse::Client;
use hookline_analytics::query::range::Range;
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::ClickHouseServer;

use self::ask::{By, Topic, finished, job_by_id, question};
use self::report::{Figure, Refreshes};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// The time of questions about many jobs.
#[derive(Parser)]
struct Options {
    /// Jobs, created evenly over thirty days
    #[arg(long, default_value_t = 10_000_000)]
    jobs: u64,
    /// How often each question is asked
    #[arg(long, default_value_t = 30)]
    asks: u32,
    #[arg(long, hide = true, help = "cargo bench says so")]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let server = ClickHouseServer::start().await;
    let client = server.config().client()?;
    for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
        client.query_raw(statement).execute().await?;
    }
    fill::fill(&client, options.jobs).await?;
    let refreshes = refreshes(&client).await?;
    // As `serve` asks.
    let reader = server.reader().client()?;

    let keys = [
        ("overview_1d", Topic::Durations, DAY, HOUR),
        ("overview_7d", Topic::Durations, 7 * DAY, HOUR),
        ("overview_30d", Topic::Durations, 30 * DAY, 6 * HOUR),
        ("counts_30d", Topic::Counts, 30 * DAY, 6 * HOUR),
        ("facts_24h", Topic::Facts, DAY, HOUR),
    ];
    let mut figures = Vec::new();
    for (key, topic, seconds, step) in keys {
        let mut slowest: Option<Figure> = None;
        for by in [By::Nothing, By::Resource, By::JobType, By::ErrorCode, By::Step(step)] {
            let mut times = Vec::new();
            for number in 0..options.asks {
                let question = question(topic, by, range(seconds, number)?)?;
                forget(&client).await?;
                times.push(finished(&reader, &question).await.with_context(|| format!("{key} {by:?}"))?);
            }
            let figure = Figure::of(key, &format!("{by:?}"), times)?;
            if slowest.as_ref().is_none_or(|slowest| slowest.p95_ms < figure.p95_ms) {
                slowest = Some(figure);
            }
        }
        figures.extend(slowest);
    }
    let mut times = Vec::new();
    for number in 0..options.asks {
        forget(&client).await?;
        times.push(job_by_id(&reader, fill::job_id(options.jobs, number)).await?);
    }
    figures.push(Figure::of("job_by_id", "with its deliveries", times)?);
    println!("{}", report::table(&figures, &refreshes));
    report::keep(&figures, &refreshes, options.jobs);
    Ok(())
}

/// What one question learns of granules must not help the next one.
async fn forget(client: &Client) -> clickhouse::error::Result<()> {
    client.query_raw("SYSTEM DROP QUERY CONDITION CACHE").execute().await
}

/// A range that is another one each time, and neither begins nor ends on the hour.
fn range(seconds: i64, number: u32) -> anyhow::Result<Range> {
    let number = i64::from(number);
    let off_the_hour = |at: i64| if at % HOUR == 0 { at - 60 } else { at };
    let to = off_the_hour(i64::from(fill::END) - (number * 37 % 180 + 1) * 60);
    Ok(Range::new(off_the_hour(to - seconds + (number * 7 % 29 + 1) * 60), to)?)
}

/// Refreshes the last two whole hours by the product's statement and by the one for minutes alone, in turn.
async fn refreshes(client: &Client) -> anyhow::Result<Refreshes> {
    const REPEAT: usize = 30;
    let hours = [1, 2].map(|ago| CreatedHour(i64::from(fill::END) - ago * HOUR));
    let (table, statement) =
        include_str!("minutes_alone.sql").split_once(";\n").context("two statements in minutes_alone.sql")?;
    let table = table.split_once('\n').map_or(table, |(_, table)| table);
    client.query_raw(table).execute().await?;
    let hours_list = hours.map(|hour| hour.0.to_string()).join(", ");
    let minutes_alone = statement.trim().trim_end_matches(';').replace("{hours}", &hours_list);
    let both = refresh_statement(&hours);
    let timed = async |statement: &str| -> anyhow::Result<Duration> {
        let began = Instant::now();
        client.query_raw(statement).execute().await?;
        Ok(began.elapsed())
    };
    let (mut refreshes, mut before) = (Vec::new(), Vec::new());
    for _ in 0..REPEAT {
        refreshes.push(timed(&both).await?);
        before.push(timed(&minutes_alone).await?);
    }
    Ok(Refreshes { now: Figure::of("refresh_2h", "", refreshes)?, before: Figure::of("before", "", before)? })
}
