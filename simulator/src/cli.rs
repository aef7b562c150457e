//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use hookline_schemas::provider::TOLERANCE_SECONDS;
use hookline_service::cli::{ConfigArgs, duration};
use hookline_service::config::Secret;
use reqwest::Url;

use crate::plan::{self, Timing};
use crate::retry::Retry;

/// The variable that holds the secret.
pub const SECRET_VARIABLE: &str = "HOOKLINE_WEBHOOK_SECRET";

/// Plays the provider: signed webhooks of realistic jobs, retried until they are acknowledged.
///
/// Each job is of a type that the provider offers, takes about as long as the provider says, and succeeds or fails with
/// one of its errors. Its events are signed and posted as they happen; whatever is not answered with a 2xx is sent again
/// after 1 s, 2 s, 4 s and so on.
///
/// The signed time of a webhook is always the time of its event, so that durations come out as the jobs had them.
#[derive(Clone, Debug, Parser)]
#[command(version = hookline_service::version!(), args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to send.
    #[command(flatten)]
    pub simulate: Simulate,
}

/// The examples of `--help`.
pub const EXAMPLES: &[&str] = &[
    "hookline-simulator                             1,000 jobs from now on, 50 webhooks/s, in real time",
    "hookline-simulator --speed 60 --rate 200       the same jobs at sixty times their speed",
    "hookline-simulator --past 4m --jobs 3000       jobs that have just ended, as fast as possible",
    "hookline-simulator --duplicates 0.1 --shuffle 0.2 --missing-started 0.1 --ledger run.jsonl",
    "hookline-simulator check --ledger run.jsonl    compares the tables with what was sent",
    "`set -a; . .local/env` sets the URL and the secret of the local stack.",
];

/// What to do instead of sending.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Holds the tables of ClickHouse against a ledger and says where they differ
    Check(Check),
}

/// What to send.
#[derive(Clone, Debug, Args)]
pub struct Simulate {
    /// Where to post, source included, such as http://127.0.0.1:8080/webhooks/magichour
    #[arg(long, env = "HOOKLINE_WEBHOOK_URL", value_name = "URL", hide_env_values = true)]
    pub url: Option<String>,
    /// A file that holds the secret; without it, HOOKLINE_WEBHOOK_SECRET does
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// How many jobs to run; each sends about two webhooks
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub jobs: usize,
    /// Webhooks per second: the average of live jobs (50 if not given), the limit with --past (none if not given)
    #[arg(long, value_parser = positive, value_name = "N")]
    pub rate: Option<f64>,
    /// The share of events that are delivered twice, half of them signed anew
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    pub duplicates: f64,
    /// The share of webhooks that come in up to 30 s late, after later ones
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    pub shuffle: f64,
    /// The share of jobs that never send `started`
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    pub missing_started: f64,
    /// Webhooks of unknown or unreadable events, for each job: authentic, but dead letters
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    pub foreign: f64,
    /// Divide the times of live jobs by this
    #[arg(long, default_value_t = 1.0, value_parser = positive, value_name = "N", conflicts_with = "past")]
    pub speed: f64,
    /// Jobs that ended within this time, at most 4m50s, instead of live ones
    ///
    /// They keep their real lengths and are sent at once, each webhook signed with the second of its event: receivers
    /// take what is up to 5 minutes old. A job that started before that is sent without its `started`.
    #[arg(long, value_parser = past, value_name = "DURATION")]
    pub past: Option<Duration>,
    /// Draws the same jobs again; a new one is drawn if not given
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Append every attempt and what became of it to this file, a JSON object on each line
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// The most requests under way at a time
    #[arg(long, default_value_t = 64, value_parser = RangedU64ValueParser::<u64>::new().range(1..=65_536), value_name = "N")]
    pub connections: u64,
    /// How long to try a webhook again
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "DURATION")]
    pub give_up_after: Duration,
    /// The longest wait between two attempts
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub longest_wait: Duration,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to hold against what.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The ledger of a run; several, if several runs went into the tables
    #[arg(long, required = true, value_name = "FILE")]
    pub ledger: Vec<PathBuf>,
    /// Compare all rows, not only those of the jobs and webhooks in the ledger: whatever others sent is then a difference
    #[arg(long)]
    pub everything: bool,
    /// How long differences have to vanish: the processor takes in what was acknowledged within seconds
    #[arg(long, default_value = "20s", value_parser = duration, value_name = "DURATION")]
    pub within: Duration,
    /// Print every difference, not only twenty
    #[arg(long)]
    pub all: bool,
    /// Print every difference as JSON
    #[arg(long)]
    pub json: bool,
}

impl Simulate {
    /// What to plan.
    pub fn settings(&self, seed: u64) -> plan::Settings {
        const LIVE_RATE: f64 = 50.0;
        plan::Settings {
            jobs: self.jobs,
            seed,
            timing: match self.past {
                Some(window) => Timing::Past(window),
                None => Timing::Live { rate: self.rate.unwrap_or(LIVE_RATE), speed: self.speed },
            },
            duplicates: self.duplicates,
            shuffle: self.shuffle,
            missing_started: self.missing_started,
            foreign: self.foreign,
        }
    }

    /// How to send again.
    pub fn retry(&self) -> Retry {
        Retry { longest: self.longest_wait, give_up_after: self.give_up_after }
    }

    /// First attempts per second at most. Live jobs are sent when their events happen; past ones are all due at once.
    pub fn pace(&self) -> Option<f64> {
        const NO_LIMIT: f64 = 1e9;
        self.past.map(|_| self.rate.unwrap_or(NO_LIMIT))
    }

    /// What the times of the jobs mean.
    pub fn times(&self) -> String {
        match self.past {
            Some(window) => format!("real, ended within the last {}", humantime::format_duration(window)),
            None if self.speed == 1.0 => "real".to_owned(),
            None => format!("compressed: real times divided by {}", self.speed),
        }
    }

    /// The secret; `from_environment` is what the variable holds.
    pub fn secret(&self, from_environment: Option<String>) -> anyhow::Result<Secret> {
        match (&self.secret_file, from_environment) {
            (Some(path), _) => Ok(Secret::read("--secret-file", path)?),
            (None, Some(secret)) if !secret.is_empty() => Ok(Secret::parse(SECRET_VARIABLE, &secret)?),
            (None, _) => bail!("no secret: set {SECRET_VARIABLE} or give --secret-file"),
        }
    }

    /// Where to post.
    pub fn target(&self) -> anyhow::Result<Url> {
        let url = self.url.as_deref().context("no URL: set HOOKLINE_WEBHOOK_URL or give --url")?;
        // No message shows the URL before it is known to hold no password.
        let url = Url::parse(url).ok().context("--url: expected http://HOST:PORT/webhooks/SOURCE")?;
        if url.scheme() != "http" {
            bail!("--url: only http:// is supported: the simulator is for a receiver nearby");
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            bail!("--url: it has a user, a password or a query, which ingest does not ask for: remove them");
        }
        Ok(url)
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a share from 0 to 1".into())
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "expected a number above 0".into())
}

fn past(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(u64::from(TOLERANCE_SECONDS) - 10);
    let window = duration(text)?;
    if window.is_zero() || window > longest {
        return Err(format!("expected more than 0s and at most {}", humantime::format_duration(longest)));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let parse = |arguments: &str| Cli::try_parse_from(["simulator"].into_iter().chain(arguments.split(' ')));
        for good in ["--duplicates 0.1", "--past 4m", "--speed 60", "--rate 0.5", "check --ledger l.jsonl"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["--duplicates 1.1", "--past 5m", "--speed 0", "--rate nan", "check", "--past 4m --speed 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
