//! Brings the topics and the tables to what this version of Hookline expects; on what is there already it changes nothing.

mod tables;
mod topics;

use std::fmt;

use anyhow::Context as _;
use hookline_service::config::mask_url;
use serde::Serialize;

pub use self::tables::{Applied, PlanError, checksum, plan};
pub use self::topics::{Found, Wanted};
use crate::config::AnalyticsConfig;

/// What to do besides the configuration.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct MigrateArgs {
    /// Partitions of a topic that is made [default: topics.partitions, 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub partitions: Option<u16>,
    /// Replicas of a topic that is made [default: topics.replication, or 3 on at least three brokers, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub replication: Option<u16>,
    /// min.insync.replicas of a topic that is made [default: topics.min_insync_replicas, or a majority of the replicas]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub min_insync_replicas: Option<u16>,
    /// Change nothing, say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end instead of lines
    #[arg(long)]
    pub json: bool,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was there.
    Unchanged,
    /// It was missing and is there now.
    Done,
    /// It is missing, and a run without `--dry-run` would make it.
    Pending,
    /// It is there, and not as it must be; it was not touched.
    Differs,
}

/// A database, a migration or a topic, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `database`, `tables` or `topic`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What there is to say about it, or nothing.
    pub detail: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Unchanged => "unchanged",
            Outcome::Done => "done",
            Outcome::Pending => "pending",
            Outcome::Differs => "DIFFERS",
        };
        let line = format!("{:<9} {:<28} {outcome:<10} {}", self.kind, self.name, self.detail);
        f.write_str(line.trim_end())
    }
}

/// Everything that was done, in order; printed line by line as it happens, or as JSON at the end.
#[derive(Debug, Serialize)]
struct Progress {
    dry_run: bool,
    steps: Vec<Step>,
    notes: Vec<String>,
    #[serde(skip)]
    lines: bool,
}

impl Progress {
    fn step(&mut self, step: Step) {
        if self.lines {
            println!("{step}");
        }
        self.steps.push(step);
    }

    fn note(&mut self, note: String) {
        if self.lines {
            println!("note: {note}");
        }
        self.notes.push(note);
    }
}

/// Makes what is missing.
pub async fn run(mut config: AnalyticsConfig, arguments: MigrateArgs) -> anyhow::Result<()> {
    let topics = &mut config.topics;
    topics.partitions = arguments.partitions.unwrap_or(topics.partitions);
    topics.replication = arguments.replication.or(topics.replication);
    topics.min_insync_replicas = arguments.min_insync_replicas.or(topics.min_insync_replicas);
    topics.check()?;

    let dry_run = arguments.dry_run;
    let mut progress = Progress { dry_run, steps: Vec::new(), notes: Vec::new(), lines: !arguments.json };
    let clickhouse = config.clickhouse.client()?;
    tables::migrate(&clickhouse, &config.clickhouse.database, &mut progress)
        .await
        .with_context(|| format!("tables of {} at {}", config.clickhouse.database, mask_url(&config.clickhouse.url)))?;
    topics::migrate(&config, &mut progress)
        .await
        .with_context(|| format!("topics at {}", config.kafka.bootstrap_servers))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&progress)?);
    }
    let differing: Vec<_> = progress.steps.iter().filter(|step| step.outcome == Outcome::Differs).collect();
    match differing.as_slice() {
        [] => Ok(()),
        [first, ..] => anyhow::bail!("{} {} is not as it must be: {}", first.kind, first.name, first.detail),
    }
}
