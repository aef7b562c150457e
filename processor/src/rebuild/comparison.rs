//! Compares the two tables job by job, in the columns that people read.

use std::collections::BTreeMap;

use clickhouse::{Client, Row};
use hookline_schemas::sql::job_facts_of;
use serde::{Deserialize, Serialize};

use super::tables::{Hours, of_hours};
use crate::clickhouse::columns::Table;

/// The columns that are compared; their place here is their number in a row of the comparison.
pub const COLUMNS: [Column; 24] = [
    fact("job_type"),
    fact("created_at"),
    fact("started_at"),
    fact("completed_at"),
    fact("errored_at"),
    fact("error_code"),
    fact("error_message"),
    fact("width"),
    fact("height"),
    fact("fps"),
    fact("media_seconds"),
    fact("first_received_at"),
    fact("last_received_at"),
    number("image_count"),
    number("credits_estimated"),
    number("credits_completed"),
    number("credits_errored"),
    derived("credits_charged", Kind::Number),
    derived("credits_refunded", Kind::Number),
    derived("outcome", Kind::Outcome),
    derived("finished_at", Kind::End),
    derived("total_seconds", Kind::Duration),
    derived("run_seconds", Kind::Duration),
    derived("queue_seconds", Kind::Duration),
];
/// Facts that the view does not show.
const HIDDEN: [&str; 2] = ["credits_completed", "credits_errored"];

/// A message of an error may be long.
const EXAMPLE_CHARACTERS: usize = 80;
/// Jobs that are looked for under another key with one question.
const JOBS_PER_QUESTION: usize = 10_000;
const MAX_QUERY_BYTES: &str = "1073741824";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    is_derived: bool,
}

/// What people ask first: how many jobs have another outcome, another end, other durations, other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Outcome,
    End,
    Duration,
    Number,
    Other,
}

const fn fact(name: &'static str) -> Column {
    Column { name, kind: Kind::Other, is_derived: false }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: Kind::Number, is_derived: false }
}

const fn derived(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_derived: true }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Row)]
pub struct JobName {
    pub source: String,
    pub resource: String,
    pub job_id: String,
}

/// A job that is not the same in both tables.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct DifferingJob {
    pub source: String,
    pub resource: String,
    pub job_id: String,
    pub created_hour: u32,
    pub in_old: bool,
    pub in_new: bool,
    /// The number of a column, the old value, the new one, and whether they differ.
    pub changes: Vec<(u8, Option<String>, Option<String>, bool)>,
}

#[derive(Row, Deserialize)]
struct Elsewhere {
    source: String,
    resource: String,
    job_id: String,
    created_hour: u32,
}

/// The jobs of these created hours that are not the same in the tables `old` and `new`.
pub async fn differing_jobs(
    client: &Client,
    old: Table,
    new: Table,
    hours: &Hours,
) -> anyhow::Result<Vec<DifferingJob>> {
    // The crate validates flat rows only.
    let client = client.clone().with_validation(false);
    let query = comparison(old, new, hours);
    Ok(client.query(&query).fetch_all().await?)
}

fn comparison(old: Table, new: Table, hours: &Hours) -> String {
    let facts = |table| job_facts_of(&of_hours(table, hours), &HIDDEN);
    let differs =
        |name: &str| format!("(isNull(old.{name}) != isNull(new.{name}) OR ifNull(old.{name} != new.{name}, false))");
    let text =
        |side: &str, name: &str| format!("toNullable(substringUTF8(toString({side}.{name}), 1, {EXAMPLE_CHARACTERS}))");
    let change = |(number, column): (usize, &Column)| {
        let name = column.name;
        format!("(toUInt8({number}), {}, {}, {})", text("old", name), text("new", name), differs(name))
    };
    let changes: Vec<_> = COLUMNS.iter().enumerate().map(change).collect();
    let any: Vec<_> = COLUMNS.iter().map(|column| differs(column.name)).collect();
    format!(
        "SELECT
    if(old.job_id != '', old.source, new.source) AS source,
    if(old.job_id != '', old.resource, new.resource) AS resource,
    if(old.job_id != '', old.job_id, new.job_id) AS job_id,
    toUInt32(if(old.job_id != '', old.created_hour, new.created_hour)) AS created_hour,
    old.job_id != '' AS in_old,
    new.job_id != '' AS in_new,
    if(in_old AND in_new, arrayFilter(change -> change.4, [{changes}]), []) AS changes
FROM ({old}) AS old
FULL JOIN ({new}) AS new
ON old.source = new.source AND old.resource = new.resource AND old.created_hour = new.created_hour AND old.job_id = new.job_id
WHERE old.job_id = '' OR new.job_id = '' OR {any}
SETTINGS join_use_nulls = 0",
        changes = changes.join(", "),
        old = facts(old),
        new = facts(new),
        any = any.join(" OR "),
    )
}

/// Finds jobs that are in `table` under whatever created hour. A look by the id is quick: the table has an index of it.
pub async fn elsewhere(
    client: &Client,
    table: Table,
    jobs: &[&DifferingJob],
) -> anyhow::Result<BTreeMap<JobName, u32>> {
    let mut found = BTreeMap::new();
    for jobs in jobs.chunks(JOBS_PER_QUESTION) {
        let query = format!(
            "SELECT CAST(source, 'String') AS source, CAST(resource, 'String') AS resource, job_id, toUInt32(min(created_hour)) AS \
             created_hour FROM {} WHERE job_id IN ? GROUP BY source, resource, job_id",
            table.as_str()
        );
        let ids: Vec<_> = jobs.iter().map(|job| &*job.job_id).collect();
        let query = client.query(&query).with_setting("max_query_size", MAX_QUERY_BYTES).bind(ids);
        for Elsewhere { source, resource, job_id, created_hour } in query.fetch_all().await? {
            found.insert(JobName { source, resource, job_id }, created_hour);
        }
    }
    Ok(found)
}

impl DifferingJob {
    pub fn name(&self) -> JobName {
        JobName { source: self.source.clone(), resource: self.resource.clone(), job_id: self.job_id.clone() }
    }

    pub fn key(&self) -> (&str, &str, &str) {
        (&self.source, &self.resource, &self.job_id)
    }

    /// Tells whether the old table has the job, or a fact of it, that the new one does not have there.
    pub fn loses(&self) -> bool {
        (self.in_old && !self.in_new) || self.is_emptied()
    }

    pub fn is_emptied(&self) -> bool {
        self.changes.iter().any(|(number, old, new, _)| {
            let is_fact = COLUMNS.get(usize::from(*number)).is_some_and(|column| !column.is_derived);
            is_fact && old.is_some() && new.is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::facts::Facts;

    use super::*;

    #[test]
    fn every_fact_is_compared() {
        // The view parts it.
        let shown = Facts::COLUMNS.iter().map(|(name, _)| *name).filter(|name| *name != "error");
        // All jobs of a new fold differ in it.
        let shown = shown.filter(|name| *name != "fold_version");
        let compared: Vec<_> = COLUMNS.iter().filter(|column| !column.is_derived).map(|column| column.name).collect();
        for name in shown {
            assert!(compared.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_tables_are_read_by_their_key() {
        let query = comparison(Table::Jobs, Table::JobsRebuild, &(0..3_600));
        for table in ["jobs", "jobs_rebuild"] {
            let read = format!("FROM {table} FINAL WHERE created_hour >= 0 AND created_hour < 3600\n");
            assert!(query.contains(&read), "{query}");
        }
        assert_eq!(query.matches(", credits_errored\n").count() + query.matches("    credits_errored\n").count(), 2);
    }
}
