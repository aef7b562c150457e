//! The options of `top`.

use std::time::Duration;

use hookline_service::cli::{UsageError, duration};
use time::OffsetDateTime;

use crate::query::range::Range;
use crate::report::interval;

const OUTPUT: &str = "Output";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Webhooks, records, lag and stages come from the metrics of ingest and the processors: from the listeners of serve.admin_urls or \
the Prometheus of serve.prometheus_url. Jobs and dead letters come from ClickHouse. What cannot be asked is named on top, and its \
figures are –, or those of before with their time. A rate is that of the last minute, or of the time since the start where that is \
less.

Where the time goes: a stage of a processor that comes near 1.0 s/s holds the others up, except for `wait`, which has nothing to do.

Keys: q, Esc or Ctrl-C end it.

Examples:
  hookline-analytics top
  hookline-analytics top --interval 2s --last 1h
  hookline-analytics top --once >> pipeline.log
  hookline-analytics top --once --json | jq .pipeline.processors.lag_seconds

Exit codes:
  0   it is done
  1   something did not answer; with --once, what did is printed all the same
  2   the command line is wrong, or standard output is no terminal and --once is missing
  78  the configuration is wrong")]
pub struct TopArgs {
    /// Ask again in this interval; with --once, the time between the two readings of the listeners that a rate needs
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Jobs that finished, and dead letters that were received, within this span before now, in whole minutes
    #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = duration)]
    pub last: Duration,

    /// Print it once, as plain text, for a pipe or a log
    #[arg(long, help_heading = OUTPUT)]
    pub once: bool,
    /// Print one JSON object, as docs/top.md describes it
    #[arg(long, requires = "once", help_heading = OUTPUT)]
    pub json: bool,
}

impl TopArgs {
    pub fn range(&self, now: OffsetDateTime) -> Result<Range, UsageError> {
        let (now, last) = (now.unix_timestamp(), i64::try_from(self.last.as_secs()).unwrap_or(i64::MAX));
        Range::new(now.saturating_sub(last), now).map_err(|error| UsageError(format!("--last: {error}; change it")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        top: TopArgs,
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let parse = |arguments: &str| {
            let arguments = ["top"].into_iter().chain(arguments.split_whitespace());
            Cli::try_parse_from(arguments).map(|cli| cli.top).map_err(|error| error.to_string())
        };
        let now = OffsetDateTime::from_unix_timestamp(864_000).unwrap();
        let range = parse("").unwrap().range(now).unwrap();
        assert_eq!((range.from.0, range.to.0), (864_000 - 900, 864_000));
        for (arguments, reason) in [("--json", "--once"), ("--interval 10ms", "at least 1s"), ("--last soon", "15m")] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(reason), "{arguments}: {error}");
        }
        for last in ["0s", "11d", "99999999999y"] {
            let error = parse(&format!("--last {last}")).unwrap().range(now).unwrap_err().to_string();
            assert!(error.starts_with("--last: "), "{error}");
        }
    }
}
