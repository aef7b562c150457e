//! `hookline-simulator check`: the oracle on the tables of a running stack.

use hookline_service::cli::{print_line, printable};
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::{ConfigError, Settings, Variables};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::Check;
use crate::ledger;
use crate::oracle::{Difference, tables};

/// The configuration of `check`; what to send is told by options.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// The server that holds the tables.
    pub clickhouse: ClickHouseConfig,
}

impl Settings for SimulatorConfig {
    const BINARY: &'static str = "SIMULATOR";

    fn check(&self, _: &Variables) -> Result<(), ConfigError> {
        self.clickhouse.client().map(|_| ())
    }
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
pub async fn check(config: &SimulatorConfig, options: &Check) -> anyhow::Result<bool> {
    let mut attempts = Vec::new();
    for path in &options.ledger {
        attempts.extend(ledger::read(path)?);
    }
    let client = config.clickhouse.answering_client().await?;
    let evidence = config.clickhouse.within_timeout(tables::read(&client, attempts)).await?;
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
        print_line(serde_json::to_string_pretty(&verdict)?);
    } else {
        let Verdict { attempts, deliveries, dead_letters, jobs, roll_up_rows, differences } = &verdict;
        for difference in *differences {
            print_line(printable(&difference.to_string()));
        }
        print_line(format_args!(
            "{attempts} attempts, {deliveries} deliveries, {dead_letters} dead letters, {jobs} jobs,\n\
             {roll_up_rows} rows of the roll-up:\n{} differences",
            differences.len()
        ));
    }
    Ok(differences.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<SimulatorConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-simulator", &reference);
    }
}
