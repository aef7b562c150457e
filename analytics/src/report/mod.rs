//! Durations and error rates of the jobs that finished in a range of time, on the terminal or as JSON.

mod query;
mod range;
mod show;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

pub use self::query::{Basis, Dimension, Group, sql};
use self::range::{Moment, moment, span};
pub use self::range::{Range, RangeError};
use crate::config::Config;

/// What to report on.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Jobs that finished from here on, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "to", conflicts_with = "last")]
    pub from: Option<Moment>,
    /// Jobs that finished before, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "from")]
    pub to: Option<Moment>,
    /// Jobs that finished within so long before now: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1h")]
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
    pub basis: Option<Basis>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where it was read.
    pub basis: Basis,
    /// When the jobs finished.
    pub range: Range,
    /// What a group stands for.
    pub by: Vec<Dimension>,
    /// The groups.
    pub durations: Vec<Group>,
    /// The groups, each by error code, too.
    pub errors: Vec<Group>,
}

/// Asks ClickHouse and prints the answer.
pub async fn run(config: &Config, arguments: ReportArgs) -> anyhow::Result<()> {
    let json = arguments.json;
    let report = ask(config, arguments).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

/// Asks ClickHouse.
pub async fn ask(config: &Config, arguments: ReportArgs) -> anyhow::Result<Report> {
    let range = match (arguments.from, arguments.to) {
        (Some(from), Some(to)) => Range::new(from.0, to.0)?,
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
            let seconds = |duration: Duration| i64::try_from(duration.as_secs()).context("a time out of range");
            Range::new(seconds(now)?.saturating_sub(seconds(arguments.last)?), seconds(now)?)?
        }
    };
    let basis = arguments.basis.unwrap_or(Basis::of(range));
    let client = config.clickhouse.client()?;
    let groups = async |by: &[Dimension]| {
        let filter = (arguments.source.as_deref(), arguments.resource.as_deref());
        query::groups(&client, basis, by, range, filter)
            .await
            .with_context(|| format!("{} at {}", config.clickhouse.database, config.clickhouse.url))
    };
    let by_code: Vec<_> = arguments.by.iter().copied().chain([Dimension::ErrorCode]).collect();
    let (durations, errors) = (groups(&arguments.by).await?, groups(&by_code).await?);
    Ok(Report { basis, range, by: arguments.by, durations, errors })
}
