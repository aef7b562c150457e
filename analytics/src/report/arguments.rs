//! The options of `report`, and the values that the command line has for those of the questions.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use hookline_schemas::ids::Resource;
use hookline_schemas::outcome::Outcome;
use hookline_service::cli::{TimePoint, UsageError, duration};
use time::OffsetDateTime;

use crate::query::filter::Filter;
use crate::query::finished::Kind;
use crate::query::range::Range;
use crate::query::{Dimension, ReadFrom};

const FILTERS: &str = "Filters, each of which may be given several times";
const OUTPUT: &str = "Output";

/// The rows of a table where nothing else is asked for.
const TOP: u16 = 10;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A quantile has a relative error of at most 1 %, is never above the exact maximum, and is of the lower rank: of two jobs, every \
one is the shorter. It stands on the jobs in the column `timed`, which are those with such a duration: a job whose `started` is \
missing has neither run nor queue.

Examples:
  hookline-analytics report --last 24h --compare -7d
  hookline-analytics report --by type,code --resource video --resource audio --top 20
  hookline-analytics report --last 30d --csv=errors
  hookline-analytics report --watch 10s

Exit codes:
  0   it is done, also where no job finished
  1   ClickHouse does not answer, or what it answers cannot be printed
  2   the command line is wrong
  78  the configuration is wrong")]
pub struct ReportArgs {
    /// Jobs that finished at or after this time: 2026-11-25T10:00:00Z, an age such as 2h or -24h, or now; whole minutes
    #[arg(long, value_name = "TIME", conflicts_with = "last", allow_hyphen_values = true)]
    pub from: Option<TimePoint>,
    /// Jobs that finished before this time
    #[arg(long, value_name = "TIME", requires = "from", allow_hyphen_values = true, default_value = "now")]
    pub to: TimePoint,
    /// Jobs that finished within this span before now: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "SPAN", value_parser = duration, default_value = "1h")]
    pub last: Duration,
    /// Show the change since the range of the same length that lies so much earlier: -24h, -7d
    #[arg(long, value_name = "SPAN", value_parser = earlier, allow_hyphen_values = true)]
    pub compare: Option<i64>,
    /// What a row of durations stands for, several separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "resource")]
    pub by: Vec<Dimension>,
    /// The duration to show; --json and --csv have all of them
    #[arg(long, value_enum, default_value = "total")]
    pub kind: Kind,
    /// Rows of each table, those with the most jobs first [default: 10; all with --json and --csv]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub top: Option<u16>,
    /// Every row of each table
    #[arg(long, conflicts_with = "top")]
    pub all: bool,
    /// The view to read, the numbers being the same [default: rollup for more than 2 hours, facts for less]
    #[arg(long, value_enum, value_name = "VIEW")]
    pub read_from: Option<ReadFrom>,

    /// Only this source
    #[arg(long, help_heading = FILTERS)]
    pub source: Vec<String>,
    /// Only this resource
    #[arg(long, help_heading = FILTERS, value_parser = PossibleValuesParser::new(Resource::ALL.map(Resource::as_str)))]
    pub resource: Vec<String>,
    /// Only this type of job
    #[arg(long, value_name = "TYPE", help_heading = FILTERS)]
    pub job_type: Vec<String>,
    /// Only this error code; the empty one is that of jobs that completed
    #[arg(long, value_name = "CODE", help_heading = FILTERS)]
    pub error_code: Vec<String>,
    /// Only jobs that ended so
    #[arg(long, help_heading = FILTERS, value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str)).try_map(outcome))]
    pub outcome: Vec<Outcome>,

    /// Print one JSON object, as docs/report.md describes it
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// Print one table as CSV: --csv=errors, --csv=series; durations without a name
    #[arg(long, value_enum, value_name = "TABLE", num_args = 0..=1, require_equals = true, default_missing_value = "durations",
        conflicts_with = "json", help_heading = OUTPUT)]
    pub csv: Option<CsvTable>,
    /// Ask again every 5 s, or in this interval, and redraw the terminal, until Ctrl-C
    #[arg(long, value_name = "SPAN", num_args = 0..=1, default_missing_value = "5s", value_parser = interval,
        conflicts_with_all = ["json", "csv"], help_heading = OUTPUT)]
    pub watch: Option<Duration>,
}

/// A table of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CsvTable {
    Durations,
    Errors,
    Series,
}

impl ReportArgs {
    pub fn range(&self, now: OffsetDateTime) -> Result<Range, UsageError> {
        let seconds = |point: TimePoint| point.as_millis(now).div_euclid(1_000);
        let last = TimePoint::Ago(i64::try_from(self.last.as_secs()).unwrap_or(i64::MAX));
        let (from, to) = (self.from.unwrap_or(last), self.to);
        Range::new(seconds(from), seconds(to)).map_err(|error| {
            let (from, to) = (from.shown(now), to.shown(now));
            UsageError(format!("from {from} to {to}: {error}; change --from, --to or --last"))
        })
    }

    pub fn compared(&self, range: Range) -> Result<Option<Range>, UsageError> {
        let earlier = self.compare.map(|seconds| range.earlier(seconds)).transpose();
        earlier.map_err(|error| UsageError(format!("--compare: {error}; compare with a later range")))
    }

    pub fn filter(&self) -> Filter {
        let Self { source, resource, job_type, error_code, outcome, .. } = self.clone();
        Filter { source, resource, job_type, error_code, outcome }
    }

    /// The dimensions in their order, each once.
    pub fn dimensions(&self) -> Vec<Dimension> {
        Dimension::ALL.into_iter().filter(|dimension| self.by.contains(dimension)).collect()
    }

    /// Whether a program reads what is printed.
    pub const fn for_programs(&self) -> bool {
        self.json || self.csv.is_some()
    }

    /// The durations to ask for, since each costs as much again.
    pub fn kinds(&self) -> Vec<Kind> {
        if self.for_programs() { Kind::ALL.to_vec() } else { vec![self.kind] }
    }

    /// The rows of each table.
    pub fn limit(&self) -> u16 {
        let default = if self.all || self.for_programs() { u16::MAX } else { TOP };
        self.top.unwrap_or(default)
    }
}

fn outcome(name: String) -> Result<Outcome, String> {
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == name).ok_or(name)
}

fn earlier(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(TimePoint::Ago(seconds @ 60..)) => Ok(seconds),
        _ => Err("expected a span of at least a minute, such as -24h or -7d".to_owned()),
    }
}

pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_secs(1) { Err("expected at least 1s".to_owned()) } else { Ok(interval) }
}

impl ValueEnum for ReadFrom {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Self::Facts => "`job_facts`, a row for each job",
            Self::Rollup => "`job_stats_by_hour`, a row for each hour and kind of job, and minutes at the edges",
        }))
    }
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.meaning()))
    }
}

impl ValueEnum for Dimension {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Source => PossibleValue::new("source").help("The account or environment that the webhooks came from"),
            Self::Resource => PossibleValue::new("resource").help("Video, image or audio"),
            Self::JobType => {
                PossibleValue::new("type").aliases(["job-type", "job_type"]).help("The provider's type of the job")
            }
            Self::ErrorCode => PossibleValue::new("code")
                .aliases(["error-code", "error_code"])
                .help("Why the job failed; nothing for a completed one"),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn parse(arguments: &str) -> Result<ReportArgs, String> {
        let arguments = ["report"].into_iter().chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).map(|cli| cli.report).map_err(|error| error.to_string())
    }

    #[test]
    fn options_mean_what_those_of_the_api_do() {
        let arguments = parse("--by code,type,job-type --source a --source b --outcome errored --compare -7d").unwrap();
        assert_eq!(arguments.dimensions(), [Dimension::JobType, Dimension::ErrorCode]);
        let filter = arguments.filter();
        assert_eq!((filter.source, filter.outcome), (vec!["a".into(), "b".into()], vec![Outcome::Errored]));
        let range = Range::new(864_000, 867_600).unwrap();
        assert_eq!(arguments.compared(range), Ok(range.earlier(7 * 86_400).ok()));
        assert_eq!((arguments.limit(), arguments.kinds()), (10, vec![Kind::Total]));
        let arguments = parse("--csv --kind run").unwrap();
        assert_eq!((arguments.csv, arguments.limit()), (Some(CsvTable::Durations), u16::MAX));
        assert_eq!(arguments.kinds(), Kind::ALL);
        assert_eq!(parse("--json --top 3").unwrap().limit(), 3);
        assert_eq!(parse("--watch").unwrap().watch, Some(Duration::from_secs(5)));
        assert_eq!(parse("--watch 1m").unwrap().watch, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (arguments, reason) in [
            ("--resource foo", "[possible values: video, image, audio]"),
            ("--by colour", "[possible values: source, resource, type, code]"),
            ("--compare now", "-24h"),
            ("--compare 30s", "at least a minute"),
            ("--top 0", "1.."),
            ("--top 3 --all", "--all"),
            ("--json --csv", "--csv"),
            ("--json --watch", "--watch"),
            ("--watch 10ms", "at least 1s"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(reason), "{arguments}: {error}");
        }
        let now = OffsetDateTime::from_unix_timestamp(864_000).unwrap();
        let error = parse("--from now --to -1h").unwrap().range(now).unwrap_err().to_string();
        assert!(error.contains("--from") && error.contains("1970-01-11T00:00:00Z"), "{error}");
        let arguments = parse("--last 1h --compare 300d").unwrap();
        assert!(arguments.compared(arguments.range(now).unwrap()).is_err());
    }
}
