//! The live table and the one that is built beside it, as the server has them.
//!
//! A table keeps its UUID when it gets another name. So which of the two is live is asked of the server and never remembered: a process
//! that was killed at the EXCHANGE cannot know whether it took place.

use std::ops::Range;

use anyhow::{Context as _, bail};
use clickhouse::{Client, Row};
use hookline_schemas::time::CreatedHour;
use serde::{Deserialize, Serialize};

use crate::clickhouse::columns::Table;

/// Created hours, Unix seconds, the end not included.
pub type Hours = Range<i64>;

const HOUR: i64 = 3_600;
/// The rows of a question that compares both tables: so many of each are in the server's memory, and in ours where all of them differ.
const ROWS_PER_QUESTION: u64 = 100_000;
/// The months that an INSERT SELECT of one question may touch are fewer than these hours.
const MAX_SPAN: i64 = 50 * 28 * 24 * HOUR;

/// The UUID of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableId(String);

#[derive(Clone, Debug)]
pub struct Tables {
    client: Client,
}

/// What stands under the two names now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub jobs: TableId,
    pub jobs_rebuild: Option<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: TableId,
    pub rows: u64,
}

#[derive(Row, Deserialize)]
struct SystemTable {
    name: String,
    id: String,
    rows: u64,
}

/// How much room there is on the disks of `jobs`, and how much `jobs` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct Room {
    pub taken_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Row, Deserialize)]
struct HourRows {
    hour: u32,
    rows: u64,
}

impl Room {
    /// The shadow takes as much as the table, and merges need as much again while they run.
    pub fn needed_bytes(self) -> u64 {
        self.taken_bytes.saturating_mul(2)
    }

    pub fn is_enough(self) -> bool {
        self.needed_bytes() <= self.free_bytes
    }
}

impl Tables {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub async fn names(&self) -> anyhow::Result<Names> {
        let query = "SELECT name, toString(uuid) AS id, ifNull(total_rows, 0) AS rows FROM system.tables \
                     WHERE database = currentDatabase() AND name IN ('jobs', 'jobs_rebuild')";
        let found = self.client.query(query).fetch_all::<SystemTable>().await?;
        let named = |table: Table| found.iter().find(|found| found.name == table.as_str());
        let jobs = named(Table::Jobs).context("the table jobs is missing: run hookline-analytics migrate")?;
        let shadow = named(Table::JobsRebuild);
        Ok(Names {
            jobs: TableId(jobs.id.clone()),
            jobs_rebuild: shadow.map(|found| Found { id: TableId(found.id.clone()), rows: found.rows }),
        })
    }

    /// EXCHANGE TABLES is one step only where the database names its tables by UUID.
    pub async fn check_engine(&self) -> anyhow::Result<()> {
        let query = "SELECT engine FROM system.databases WHERE name = currentDatabase()";
        let engine: String = self.client.query(query).fetch_one().await?;
        if !["Atomic", "Replicated", "Shared"].contains(&&*engine) {
            bail!(
                "the database has the engine {engine}, in which tables cannot be exchanged in one step: Atomic has it"
            );
        }
        Ok(())
    }

    pub async fn room(&self) -> anyhow::Result<Room> {
        let query = "SELECT ifNull((SELECT sum(bytes_on_disk) FROM system.parts \
                     WHERE database = currentDatabase() AND table = 'jobs' AND active), 0) AS taken_bytes, \
                     ifNull((SELECT sum(unreserved_space) FROM system.disks WHERE name IN ( \
                     SELECT arrayJoin(disks) FROM system.storage_policies WHERE policy_name = ( \
                     SELECT storage_policy FROM system.tables WHERE database = currentDatabase() AND name = 'jobs'))), 0) AS free_bytes";
        Ok(self.client.query(query).fetch_one().await?)
    }

    /// Makes the shadow by the statement that the server has of `jobs`, with whatever an operator changed.
    pub async fn create_shadow(&self) -> anyhow::Result<()> {
        let query = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'jobs'";
        let statement: String = self.client.query(query).fetch_one().await?;
        self.client.query_raw(&shadow_statement(&statement)?).execute().await?;
        Ok(())
    }

    pub async fn exchange(&self) -> anyhow::Result<()> {
        Ok(self.client.query("EXCHANGE TABLES jobs AND jobs_rebuild").execute().await?)
    }

    pub async fn drop_shadow(&self) -> anyhow::Result<()> {
        Ok(self.client.query("DROP TABLE jobs_rebuild SYNC").execute().await?)
    }

    /// The first created hour of which no job may have expired.
    pub async fn kept_since(&self) -> anyhow::Result<CreatedHour> {
        let query = "SELECT toUInt32(created_hour) FROM jobs_kept_since";
        Ok(CreatedHour(self.client.query(query).fetch_one::<u32>().await?.into()))
    }

    /// Counts the jobs of a table.
    pub async fn jobs(&self, table: Table, hours: &Hours) -> anyhow::Result<u64> {
        let query = format!("SELECT count() FROM {}", of_hours(table, hours));
        Ok(self.client.query(&query).fetch_one().await?)
    }

    /// Parts the created hours of both tables into ranges that one question compares.
    pub async fn ranges(&self) -> anyhow::Result<Vec<Hours>> {
        let since = self.kept_since().await?.0;
        let query = format!(
            "SELECT toUInt32(created_hour) AS hour, toUInt64(max(rows)) AS rows FROM ( \
             SELECT created_hour, count() AS rows FROM jobs GROUP BY created_hour \
             UNION ALL SELECT created_hour, count() FROM jobs_rebuild GROUP BY created_hour) \
             WHERE created_hour >= {since} GROUP BY hour ORDER BY hour"
        );
        let hours = self.client.query(&query).fetch_all::<HourRows>().await?;
        Ok(ranges(hours.into_iter().map(|hour| (hour.hour.into(), hour.rows))))
    }
}

/// A table with these created hours alone, as a FROM clause; the condition reaches the table's key.
pub fn of_hours(table: Table, hours: &Hours) -> String {
    format!("{} FINAL WHERE created_hour >= {} AND created_hour < {}", table.as_str(), hours.start, hours.end)
}

fn ranges(hours: impl Iterator<Item = (i64, u64)>) -> Vec<Hours> {
    let mut ranges: Vec<Hours> = Vec::new();
    let mut rows_in_last = 0;
    for (hour, rows) in hours {
        match ranges.last_mut() {
            Some(last) if rows_in_last + rows <= ROWS_PER_QUESTION && hour - last.start < MAX_SPAN => {
                last.end = hour + HOUR;
                rows_in_last += rows;
            }
            _ => {
                ranges.push(hour..hour + HOUR);
                rows_in_last = rows;
            }
        }
    }
    ranges
}

fn shadow_statement(statement: &str) -> anyhow::Result<String> {
    let rest = statement.split_once('(').filter(|(before, _)| before.starts_with("CREATE TABLE "));
    let (_, rest) =
        rest.with_context(|| format!("the server made jobs by a statement that is none of ours: {statement}"))?;
    Ok(format!("CREATE TABLE jobs_rebuild ({rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_hours_up_to_a_number_of_rows_and_of_months() {
        let hours = |rows: &[(i64, u64)]| ranges(rows.iter().map(|(hour, rows)| (hour * HOUR, *rows)));
        let in_hours = |ranges: Vec<Hours>| {
            ranges.into_iter().map(|range| range.start / HOUR..range.end / HOUR).collect::<Vec<_>>()
        };
        assert_eq!(in_hours(hours(&[])), []);
        assert_eq!(in_hours(hours(&[(3, 99_999), (7, 1), (8, 1)])), [3..8, 8..9]);
        assert_eq!(in_hours(hours(&[(3, 5_000_000), (4, 1)])), [3..4, 4..5], "an hour is not parted");
        assert_eq!(in_hours(hours(&[(0, 1), (50 * 28 * 24, 1)])).len(), 2);
    }

    #[test]
    fn there_must_be_room_for_the_shadow_and_its_merges() {
        let room = |taken_bytes, free_bytes| Room { taken_bytes, free_bytes }.is_enough();
        assert!(room(0, 0) && room(5, 10) && room(5, 11));
        assert!(!room(5, 9) && !room(u64::MAX, u64::MAX - 1));
    }

    #[test]
    fn the_shadow_is_made_as_the_table_was() {
        let made = shadow_statement("CREATE TABLE `a-b`.jobs (`source` String) ENGINE = MergeTree ORDER BY (source)");
        assert_eq!(made.unwrap(), "CREATE TABLE jobs_rebuild (`source` String) ENGINE = MergeTree ORDER BY (source)");
        assert!(shadow_statement("CREATE VIEW jobs (a) AS SELECT 1").is_err());
    }
}
