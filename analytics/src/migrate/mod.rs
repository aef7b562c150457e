//! Creates the tables and topics that this version of Hookline expects. What exists already is compared, and not changed, but
//! for partitions that are asked for.

mod definitions;
mod grants;
mod retention;
mod tables;
mod topics;

use std::fmt;

use anyhow::Context as _;
use hookline_service::cli::{print, print_line};
use hookline_service::config::mask_url;
use serde::Serialize;

use crate::config::AnalyticsConfig;

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct MigrateArgs {
    /// Partitions of a topic that is made [default: topics.partitions, 2]; a topic that has fewer gets so many
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
    /// Print the SQL that makes the user `reader`, who may read and sees no body, and exit; serve.reader_user is to be this one
    #[arg(long)]
    pub print_grants: bool,
    /// Print one JSON object at the end instead of lines
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StepOutcome {
    /// It exists as it must be.
    Unchanged,
    /// It was missing, and is created now.
    Done,
    /// It is missing, and a run without `--dry-run` would create it.
    Pending,
    /// It exists and is not as it must be; it was not changed.
    Differs,
}

/// A database, a migration of its tables, a table's retention, or a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Step {
    /// One of `database`, `tables`, `retention` and `topic`.
    kind: &'static str,
    name: String,
    outcome: StepOutcome,
    /// Its settings, its differences or the time it took; empty where there is nothing to say.
    detail: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            StepOutcome::Unchanged => "unchanged",
            StepOutcome::Done => "done",
            StepOutcome::Pending => "pending",
            StepOutcome::Differs => "DIFFERS",
        };
        let line = format!("{:<9} {:<28} {outcome:<10} {}", self.kind, self.name, self.detail);
        f.write_str(line.trim_end())
    }
}

/// Every step, in order. Each is printed as a line as soon as it is done, unless the whole is printed as JSON at the end.
#[derive(Debug, Serialize)]
struct MigrateReport {
    dry_run: bool,
    steps: Vec<Step>,
    notes: Vec<String>,
    /// Why the tables were not compared with those of this version.
    not_compared: Option<String>,
    #[serde(skip)]
    prints_lines: bool,
}

impl MigrateReport {
    fn add_step(&mut self, step: Step) {
        if self.prints_lines {
            print_line(&step);
        }
        self.steps.push(step);
    }

    fn add_note(&mut self, note: String) {
        if self.prints_lines {
            print_line(format_args!("note: {note}"));
        }
        self.notes.push(note);
    }
}

/// Creates what is missing. Fails where something exists and is not as the configuration asks for.
pub async fn run(mut config: AnalyticsConfig, arguments: MigrateArgs) -> anyhow::Result<()> {
    if arguments.print_grants {
        print(grants::statements(&config.clickhouse.database));
        return Ok(());
    }
    let topics = &mut config.topics;
    topics.partitions = arguments.partitions.unwrap_or(topics.partitions);
    topics.replication = arguments.replication.or(topics.replication);
    topics.min_insync_replicas = arguments.min_insync_replicas.or(topics.min_insync_replicas);
    topics.check()?;

    let dry_run = arguments.dry_run;
    let mut report = MigrateReport {
        dry_run,
        steps: Vec::new(),
        notes: Vec::new(),
        not_compared: None,
        prints_lines: !arguments.json,
    };
    let clickhouse = config.clickhouse.answering_client().await?;
    let tables = async {
        tables::migrate(&clickhouse, &config.clickhouse.database, config.stuck_after, &mut report).await?;
        retention::migrate(&clickhouse, &config.retention, &mut report).await
    };
    config.clickhouse.within_timeout(tables).await.with_context(|| {
        format!("cannot migrate the tables of {} at {}", config.clickhouse.database, mask_url(&config.clickhouse.url))
    })?;
    topics::migrate(&config, arguments.partitions, &mut report)
        .await
        .with_context(|| format!("cannot migrate the topics at {}", config.kafka.bootstrap_servers))?;
    if arguments.json {
        print_line(serde_json::to_string_pretty(&report)?);
    }
    let differing: Vec<_> = report.steps.iter().filter(|step| step.outcome == StepOutcome::Differs).collect();
    match differing.as_slice() {
        [] => report.not_compared.map_or(Ok(()), |why| Err(anyhow::Error::msg(why))),
        [first, ..] => anyhow::bail!(
            "{} {} is not as it must be: {}; alter it, for migrate changes nothing that exists",
            first.kind,
            first.name,
            first.detail
        ),
    }
}
