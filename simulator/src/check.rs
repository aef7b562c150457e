//! `hookline-simulator check`: the oracle on the tables of a running stack.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hookline_service::cli::{print, print_line, printable};
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
    let began = Instant::now();
    let (evidence, differences) = loop {
        let mut evidence = config.clickhouse.within_timeout(tables::read(&client, attempts)).await?;
        if !options.everything {
            evidence = evidence.narrowed_to_ledger();
        }
        let differences = evidence.differences();
        if differences.is_empty() || began.elapsed() >= options.within {
            break (evidence, differences);
        }
        attempts = evidence.attempts;
        tokio::time::sleep(READ_INTERVAL).await;
    };
    anyhow::ensure!(
        !evidence.attempts.is_empty() || options.everything,
        "the ledger has no attempt, so there is nothing to check"
    );
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
        print_line(format_args!(
            "{attempts} attempts, {deliveries} deliveries, {dead_letters} dead letters, {jobs} jobs,\n\
             {roll_up_rows} rows of the roll-up:\n{} differences",
            differences.len()
        ));
        print(describe(differences, if options.all { usize::MAX } else { EXAMPLES }));
    }
    Ok(differences.is_empty())
}

/// The pause before the tables are read again.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The differences that are printed, unless all are asked for.
const EXAMPLES: usize = 20;

/// Counts the differences by table and kind, and shows at most `limit` of them: the first of each kind, then the second, and so
/// on, so that many of one kind do not hide another.
fn describe(differences: &[Difference], limit: usize) -> String {
    let mut groups = BTreeMap::<_, Vec<&Difference>>::new();
    for difference in differences {
        groups.entry(difference.group()).or_default().push(difference);
    }
    let mut text = String::new();
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    for ((table, kind), group) in &groups {
        add(format_args!("  {table:<22}{kind:<14}{}", group.len()));
    }
    let longest = groups.values().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|place| groups.values().filter_map(move |group| group.get(place)));
    let mut shown: Vec<_> = in_turn.take(limit).collect();
    shown.sort();
    for difference in &shown {
        add(format_args!("{}", printable(&difference.to_string())));
    }
    let hidden = differences.len() - shown.len();
    if hidden > 0 {
        add(format_args!("and {hidden} more, which --all shows"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_differences_are_counted_and_few_are_shown() {
        let extra = |number: usize| Difference::ExtraRow { table: "job_facts", row: format!("row {number}") };
        let mut differences: Vec<_> = (0..23_083).map(extra).collect();
        differences.push(Difference::MissingRow { table: "jobs", row: "the one that matters".into() });
        let text = describe(&differences, EXAMPLES);
        assert_eq!(text.lines().count(), 2 + EXAMPLES + 1, "{text}");
        assert!(text.starts_with("  job_facts             extra_row     23083\n"), "{text}");
        assert!(text.contains("the one that matters is missing\n"), "{text}");
        assert!(text.ends_with("and 23064 more, which --all shows\n"), "{text}");
        assert_eq!(describe(&differences, usize::MAX).lines().count(), 2 + differences.len());
        assert_eq!(describe(&[], EXAMPLES), "");
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let reference = hookline_service::config::to_markdown::<SimulatorConfig>().unwrap();
        hookline_testkit::docs::assert_section("configuration.md", "hookline-simulator", &reference);
    }
}
