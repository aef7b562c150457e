//! `hookline-simulator check`: the oracle on the tables of a running stack.

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::ConfigSource;
use serde::{Deserialize, Serialize};

use crate::cli::Check;
use crate::ledger;
use crate::oracle::{Difference, tables};

/// Nothing but ClickHouse, by the names of `.local/env`.
const SCHEMA: ConfigSource = ConfigSource {
    binary: "SIMULATOR",
    aliases: &[
        ("CLICKHOUSE_URL", "clickhouse.url"),
        ("CLICKHOUSE_DATABASE", "clickhouse.database"),
        ("CLICKHOUSE_USER", "clickhouse.user"),
        ("CLICKHOUSE_PASSWORD", "clickhouse.password"),
    ],
    secrets: &[],
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    clickhouse: ClickHouseConfig,
}

#[derive(Serialize)]
struct Verdict<'a> {
    attempts: usize,
    deliveries: usize,
    dead_letters: usize,
    jobs: usize,
    roll_up_rows: usize,
    differences: &'a [Difference],
}

/// Prints the differences and returns whether there are none.
pub async fn check(options: &Check) -> anyhow::Result<bool> {
    let config: Config = SCHEMA.load(None, std::env::vars())?;
    let mut attempts = Vec::new();
    for path in &options.ledger {
        attempts.extend(ledger::read(path)?);
    }
    let evidence = tables::read(&config.clickhouse.client()?, attempts).await?;
    let differences = evidence.differences();
    let verdict = Verdict {
        attempts: evidence.attempts.len(),
        deliveries: evidence.deliveries.len(),
        dead_letters: evidence.dead_letters.len(),
        jobs: evidence.job_facts.len(),
        roll_up_rows: evidence.job_stats.len(),
        differences: &differences,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&verdict)?);
    } else {
        let Verdict { attempts, deliveries, dead_letters, jobs, roll_up_rows, differences } = &verdict;
        for difference in *differences {
            println!("{difference}");
        }
        println!("{attempts} attempts, {deliveries} deliveries, {dead_letters} dead letters, {jobs} jobs,");
        println!("{roll_up_rows} rows of the roll-up:");
        println!("{} differences", differences.len());
    }
    Ok(differences.is_empty())
}
