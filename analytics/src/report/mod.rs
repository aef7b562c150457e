//! Durations and error rates of the jobs that finished in a range of time, on the terminal or as JSON.

mod query;
mod range;
mod show;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

pub use self::query::{Dimension, Group, sql};
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
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Asks ClickHouse and prints the answer.
pub async fn run(config: &Config, arguments: ReportArgs) -> anyhow::Result<()> {
    let range = match (arguments.from, arguments.to) {
        (Some(from), Some(to)) => Range::new(from.0, to.0)?,
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
            let seconds = |duration: Duration| i64::try_from(duration.as_secs()).context("a time out of range");
            Range::new(seconds(now)?.saturating_sub(seconds(arguments.last)?), seconds(now)?)?
        }
    };
    let client = config.clickhouse.client()?;
    let by_code: Vec<_> = arguments.by.iter().copied().chain([Dimension::ErrorCode]).collect();
    let ask = async |by: &[Dimension]| {
        let filter = (arguments.source.as_deref(), arguments.resource.as_deref());
        query::groups(&client, by, range, filter)
            .await
            .with_context(|| format!("{} at {}", config.clickhouse.database, config.clickhouse.url))
    };
    let (durations, errors) = (ask(&arguments.by).await?, ask(&by_code).await?);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&show::json(range, &arguments.by, &durations, &errors))?);
    } else {
        print!("{}", show::text(range, &arguments.by, &durations, &errors));
    }
    Ok(())
}
