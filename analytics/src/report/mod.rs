//! Durations and error rates of the jobs that finished in a range of time, on the terminal or as JSON.

mod arguments;
mod render;

use std::time::Duration;

use anyhow::Context as _;
use hookline_service::cli::{TimePoint, duration, print, print_line};
use hookline_service::config::mask_url;
use time::OffsetDateTime;

use crate::config::AnalyticsConfig;
use crate::query::Dimension;
pub use crate::query::ReadFrom;
use crate::query::filter::Filter;
use crate::query::finished::{Finished, FinishedJobs, Kind};
use crate::query::range::Range;

#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Jobs that finished at or after this time: 2026-11-25T10:00:00Z, an age such as 2h or -24h, or now
    #[arg(long, value_name = "TIME", conflicts_with = "last", allow_hyphen_values = true)]
    pub from: Option<TimePoint>,
    /// Jobs that finished before this time
    #[arg(long, value_name = "TIME", requires = "from", allow_hyphen_values = true, default_value = "now")]
    pub to: TimePoint,
    /// Jobs that finished within this span before now: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "SPAN", value_parser = duration, default_value = "1h")]
    pub last: Duration,
    /// Only this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only this resource: video, image or audio
    #[arg(long)]
    pub resource: Option<String>,
    /// What a row stands for, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "resource,job-type")]
    pub by: Vec<Dimension>,
    /// Where to read, the numbers being the same [default: rollup for more than 2 hours, facts for less]
    #[arg(long, value_enum)]
    pub basis: Option<ReadFrom>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub read_from: ReadFrom,
    /// The jobs finished within this range.
    pub range: Range,
    /// A group has the jobs that have the same values of these dimensions.
    pub by: Vec<Dimension>,
    pub durations: Vec<FinishedJobs>,
    /// The same groups, each divided by error code.
    pub errors: Vec<FinishedJobs>,
}

/// Asks ClickHouse and prints the answer.
pub async fn run(config: &AnalyticsConfig, arguments: ReportArgs) -> anyhow::Result<()> {
    let json = arguments.json;
    let report = ask(config, arguments).await?;
    if json {
        print_line(serde_json::to_string_pretty(&report.json())?);
    } else {
        print(report.text());
    }
    Ok(())
}

/// Asks ClickHouse, without printing anything.
pub async fn ask(config: &AnalyticsConfig, arguments: ReportArgs) -> anyhow::Result<Report> {
    let now = OffsetDateTime::now_utc();
    let seconds = |point: TimePoint| point.as_millis(now).div_euclid(1000);
    let last = TimePoint::Ago(i64::try_from(arguments.last.as_secs()).unwrap_or(i64::MAX));
    let range = Range::new(seconds(arguments.from.unwrap_or(last)), seconds(arguments.to))?;
    let durations = Finished {
        range,
        filter: Filter {
            source: arguments.source.into_iter().collect(),
            resource: arguments.resource.into_iter().collect(),
            ..Filter::default()
        },
        by: arguments.by,
        step: None,
        kinds: Kind::ALL.to_vec(),
        read_from: arguments.basis,
    };
    let by_code = durations.by.iter().copied().chain([Dimension::ErrorCode]).collect();
    let errors = Finished { by: by_code, kinds: Vec::new(), ..durations.clone() };
    let client = config.clickhouse.answering_client().await?;
    let groups = async |question: &Finished| {
        let statement = question.statement();
        let rows = config.clickhouse.within_timeout(statement.rows(&client)).await.with_context(|| {
            format!("cannot read the jobs of {} at {}", config.clickhouse.database, mask_url(&config.clickhouse.url))
        })?;
        anyhow::Ok(question.answer(rows))
    };
    let read_from = durations.read_from();
    Ok(Report {
        read_from,
        range,
        durations: groups(&durations).await?,
        errors: groups(&errors).await?,
        by: durations.by,
    })
}
