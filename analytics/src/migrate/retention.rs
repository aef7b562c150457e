//! How long each table keeps its rows: the TTL that the configuration asks for, and the view `jobs_kept_since`, which tells the
//! refresh of the roll-up which created hours still have all of their jobs.

use clickhouse::{Client, Row};
use hookline_schemas::sql::jobs_kept_since_view;
use hookline_schemas::time::CreatedHour;
use serde::Deserialize;

use super::definitions::Definitions;
use super::{MigrateReport, Step, StepOutcome};
use crate::config::RetentionConfig;

/// The view that says since when jobs are kept.
pub(super) const KEPT: &str = "jobs_kept_since";

struct Retention {
    table: &'static str,
    key: &'static str,
    /// The time of a row, a `DateTime`.
    time: &'static str,
    days: Option<u32>,
}

impl RetentionConfig {
    /// `jobs` comes first: its view has to be right before anything expires.
    fn of_tables(&self) -> [Retention; 4] {
        let of = |table, key, time, days| Retention { table, key, time, days };
        [
            of("jobs", "retention.jobs_days", "created_hour", self.jobs_days),
            of("deliveries", "retention.deliveries_days", "signed_at", self.deliveries_days),
            of("dead_letters", "retention.dead_letters_days", "toDateTime(received_at, 'UTC')", self.dead_letters_days),
            of("job_stats", "retention.job_stats_days", "created_hour", self.job_stats_days),
        ]
    }
}

/// The expression for `days`, as ClickHouse writes it. A time so late that the sum would wrap to 1970 counts as the last one that
/// does not.
fn ttl(time: &str, days: u32) -> String {
    let latest = u32::MAX - days * 86_400;
    format!("least({time}, toDateTime({latest}, 'UTC')) + toIntervalDay({days})")
}

/// The days of a TTL that `migrate` made.
fn days_of(ttl: &str, time: &str) -> Option<u32> {
    let days = number_after(ttl, "toIntervalDay(")?;
    (ttl == self::ttl(time, days)).then_some(days)
}

fn number_after(text: &str, start: &str) -> Option<u32> {
    let (_, rest) = text.split_once(start)?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// The statement that makes the view `jobs_kept_since` as it stands, where `migrate` made it.
pub(super) fn standing_view(before: &Definitions) -> String {
    let statement = before.get(KEPT).map(|view| view.statement.as_str()).unwrap_or_default();
    let lost_before = number_after(statement, "toDateTime(").unwrap_or(0);
    jobs_kept_since_view(number_after(statement, "toIntervalDay("), CreatedHour(lost_before.into()))
}

#[derive(Row, Deserialize)]
struct Table {
    engine_full: String,
}

#[derive(Row, Deserialize)]
struct Expiring {
    expired: u64,
    bytes: u64,
    oldest: String,
}

pub(super) async fn migrate(
    client: &Client,
    config: &RetentionConfig,
    report: &mut MigrateReport,
) -> anyhow::Result<()> {
    for retention in config.of_tables() {
        let step = retention.apply(client, report.dry_run).await?;
        report.add_step(step);
    }
    Ok(())
}

impl Retention {
    async fn apply(&self, client: &Client, dry_run: bool) -> anyhow::Result<Step> {
        let Self { table, key, time, days } = self;
        let step = |outcome, detail| Step { kind: "retention", name: (*table).to_owned(), outcome, detail };
        let standing = client
            .query("SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?")
            .bind(table)
            .fetch_optional::<Table>()
            .await?;
        let standing = standing.as_ref().and_then(|table| table.engine_full.split_once(" TTL "));
        let standing = standing.map(|(_, rest)| rest.split_once(" SETTINGS ").map_or(rest, |(ttl, _)| ttl));
        let standing_days = standing.and_then(|ttl| days_of(ttl, time));
        if let (Some(ttl), None, None) = (standing, standing_days, days) {
            return Ok(step(
                StepOutcome::Differs,
                format!(
                    "{table} has a TTL that the configuration does not know, {ttl}: set {key}, or ALTER TABLE {table} REMOVE TTL"
                ),
            ));
        }
        let kept = days.map_or("kept for ever".to_owned(), |days| format!("kept for {days} days"));
        if standing_days == *days {
            if *table == "jobs" && !dry_run {
                self.set_kept_since(client).await?;
            }
            return Ok(step(StepOutcome::Unchanged, kept));
        }
        let expiring = match days {
            Some(days) => expiring(client, table, time, *days, dry_run).await?,
            None => String::new(),
        };
        let detail = format!("{kept}{expiring}");
        if dry_run {
            return Ok(step(StepOutcome::Pending, detail));
        }
        // An hour is given up before its jobs may go, and is not taken back while they may.
        let is_shorter = days.is_some_and(|days| standing_days.is_none_or(|standing| days < standing));
        if *table == "jobs" && is_shorter {
            self.set_kept_since(client).await?;
        }
        let change = days.map_or("REMOVE TTL".to_owned(), |days| format!("MODIFY TTL {}", ttl(time, days)));
        client.query_raw(&format!("ALTER TABLE {table} {change}")).execute().await?;
        if *table == "jobs" && !is_shorter {
            self.set_kept_since(client).await?;
        }
        Ok(step(StepOutcome::Done, detail))
    }

    /// Makes the view anew unless it says so already. What it gave up stays given up.
    async fn set_kept_since(&self, client: &Client) -> anyhow::Result<()> {
        let statement = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = ?";
        let standing = client.query(statement).bind(KEPT).fetch_one::<String>().await?;
        if number_after(&standing, "toIntervalDay(") == self.days {
            return Ok(());
        }
        let lost_before = client.query("SELECT created_hour FROM jobs_kept_since").fetch_one::<u32>().await?;
        let view = jobs_kept_since_view(self.days, CreatedHour(lost_before.into()));
        Ok(client.query_raw(&view).execute().await?)
    }
}

/// Says what is older than so many days now.
async fn expiring(client: &Client, table: &str, time: &str, days: u32, dry_run: bool) -> anyhow::Result<String> {
    let exists = client.query("SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ?");
    if dry_run && exists.bind(table).fetch_one::<u64>().await? == 0 {
        return Ok(String::new());
    }
    let query = format!(
        "SELECT count() AS expired, toUInt64(expired * ifNull((SELECT sum(bytes_on_disk) / greatest(sum(rows), 1) FROM system.parts \
         WHERE database = currentDatabase() AND table = '{table}' AND active), 0)) AS bytes, \
         toString(toDate(min({time}))) AS oldest FROM {table} WHERE {} <= now('UTC')",
        ttl(time, days)
    );
    let Expiring { expired, bytes, oldest } = client.query(&query).fetch_one().await?;
    if expired == 0 {
        return Ok("; nothing is older".to_owned());
    }
    let go = if dry_run { "would go" } else { "go" };
    let mib = bytes.div_ceil(1 << 20);
    Ok(format!("; {expired} rows since {oldest}, about {mib} MiB, are older and {go}, each part with its last row"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_known_again_and_another_is_not() {
        assert_eq!(days_of(&ttl("created_hour", 30), "created_hour"), Some(30));
        for foreign in [
            "created_hour + toIntervalDay(30)",
            "least(signed_at, toDateTime(4292375295, 'UTC')) + toIntervalDay(30)",
            "least(created_hour, toDateTime(1, 'UTC')) + toIntervalDay(30)",
            "created_hour + toIntervalMonth(1)",
        ] {
            assert_eq!(days_of(foreign, "created_hour"), None, "{foreign}");
        }
    }

    #[test]
    fn no_time_wraps() {
        for days in [9, 36_500] {
            let latest = number_after(&ttl("t", days), "toDateTime(").unwrap();
            assert_eq!(latest.checked_add(days * 86_400), Some(u32::MAX));
        }
    }
}
