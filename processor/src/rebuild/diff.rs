//! What differs between the two tables: job by job, in the columns that people read, added up by day and by column.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::{Client, Row};
use hookline_schemas::sql::job_facts_of;
use hookline_schemas::time::SignedAt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::tables::{Hours, of_hours};
use super::verify::Moving;
use crate::clickhouse::columns::Table;

/// The columns that are compared; their place here is their number in a row of the comparison.
const COLUMNS: [Column; 24] = [
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
/// It is in the key, so that a job in which it differs is in each table under another.
const CREATED_HOUR: &str = "created_hour";
/// Facts that the view does not show.
const HIDDEN: [&str; 2] = ["credits_completed", "credits_errored"];

/// A few of each column show what became of it.
const EXAMPLES: usize = 5;
/// A message of an error may be long.
const EXAMPLE_CHARACTERS: usize = 80;
/// Jobs that are looked for under another key with one question.
const JOBS_PER_QUESTION: usize = 10_000;
const MAX_QUERY_BYTES: &str = "1073741824";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    name: &'static str,
    kind: Kind,
    is_derived: bool,
}

/// What people ask first: how many jobs have another outcome, another end, other durations, other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
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

/// The differences, as they are written to a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Jobs of the new table.
    pub jobs: u64,
    /// Jobs of which one of the tables did not have the last webhooks yet: that they differ says nothing.
    pub moving: u64,
    #[serde(flatten)]
    pub total: Differences,
    /// Jobs with another `outcome`.
    pub outcome: u64,
    /// Jobs with another `finished_at`, also where that is because of another outcome.
    pub finished_at: u64,
    /// Jobs with another `total_seconds`, `run_seconds` or `queue_seconds`.
    pub durations: u64,
    /// Jobs with another number of images or credits.
    pub numbers: u64,
    /// Jobs of which a fact is known in the old table and not in the new one.
    pub emptied: u64,
    pub columns: BTreeMap<&'static str, ColumnDiff>,
    /// By the day of the created hour.
    pub days: BTreeMap<String, DayDiff>,
    pub lost_examples: Vec<JobName>,
    #[serde(skip)]
    pub hours: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Jobs that are in both and differ.
    pub changed: u64,
    /// Jobs that only the new table has.
    pub added: u64,
    /// Jobs that only the old table has.
    pub lost: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ColumnDiff {
    pub jobs: u64,
    /// Those of them that have a value in the old table and none in the new one.
    pub emptied: u64,
    pub examples: Vec<Example>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DayDiff {
    #[serde(flatten)]
    pub total: Differences,
    /// Jobs that differ in each column.
    pub columns: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    #[serde(flatten)]
    pub job: JobName,
    pub old: Option<String>,
    pub new: Option<String>,
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
    source: String,
    resource: String,
    job_id: String,
    created_hour: u32,
    in_old: bool,
    in_new: bool,
    /// The number of a column, the old value, the new one, and whether they differ.
    changes: Vec<(u8, Option<String>, Option<String>, bool)>,
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
async fn elsewhere(client: &Client, table: Table, jobs: &[&DifferingJob]) -> anyhow::Result<BTreeMap<JobName, u32>> {
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
    fn name(&self) -> JobName {
        JobName { source: self.source.clone(), resource: self.resource.clone(), job_id: self.job_id.clone() }
    }

    pub fn key(&self) -> (&str, &str, &str) {
        (&self.source, &self.resource, &self.job_id)
    }

    /// Tells whether the old table has the job, or a fact of it, that the new one does not have there.
    pub fn loses(&self) -> bool {
        (self.in_old && !self.in_new) || self.is_emptied()
    }

    fn is_emptied(&self) -> bool {
        self.changes.iter().any(|(number, old, new, _)| {
            let is_fact = COLUMNS.get(usize::from(*number)).is_some_and(|column| !column.is_derived);
            is_fact && old.is_some() && new.is_none()
        })
    }
}

impl Diff {
    /// Adds the jobs that differ, but for those that live traffic explains.
    pub async fn add(
        &mut self,
        client: &Client,
        (old, new): (Table, Table),
        differing: Vec<DifferingJob>,
        explanation: &Moving<'_>,
    ) -> anyhow::Result<()> {
        let (moving, differing): (Vec<_>, Vec<_>) = differing.iter().partition(|job| explanation.explains(job));
        self.moving += moving.len() as u64;
        let only = |in_old: bool| {
            let one_sided = differing.iter().filter(move |job| (job.in_old, job.in_new) == (in_old, !in_old));
            one_sided.copied().collect::<Vec<_>>()
        };
        let (only_old, only_new) = (only(true), only(false));
        let known_in_new = elsewhere(client, new, &only_old).await?;
        let known_in_old = elsewhere(client, old, &only_new).await?;
        for job in differing.iter().filter(|job| job.in_old && job.in_new) {
            self.add_changed(job);
        }
        for job in only_old {
            match known_in_new.get(&job.name()) {
                Some(hour) => self.add_moved(job, *hour),
                None => self.add_lost(job),
            }
        }
        for job in only_new {
            // A job that is elsewhere in the old table is counted there.
            self.hours.insert(job.created_hour.into());
            if !known_in_old.contains_key(&job.name()) {
                self.total.added += 1;
                self.day(job).total.added += 1;
            }
        }
        Ok(())
    }

    fn add_changed(&mut self, job: &DifferingJob) {
        let mut kinds = Vec::new();
        for (number, old, new, _) in &job.changes {
            let Some(column) = COLUMNS.get(usize::from(*number)) else { continue };
            kinds.push(column.kind);
            self.add_to_column(column.name, job, (old.clone(), new.clone()));
        }
        self.emptied += u64::from(job.is_emptied());
        for (kind, jobs) in [
            (Kind::Outcome, &mut self.outcome),
            (Kind::End, &mut self.finished_at),
            (Kind::Duration, &mut self.durations),
            (Kind::Number, &mut self.numbers),
        ] {
            *jobs += u64::from(kinds.contains(&kind));
        }
        self.count_changed(job);
    }

    fn add_moved(&mut self, job: &DifferingJob, to: u32) {
        let hour = |seconds: u32| Some(SignedAt(seconds).to_string());
        self.add_to_column(CREATED_HOUR, job, (hour(job.created_hour), hour(to)));
        self.hours.insert(to.into());
        self.count_changed(job);
    }

    fn add_lost(&mut self, job: &DifferingJob) {
        self.hours.insert(job.created_hour.into());
        self.total.lost += 1;
        self.day(job).total.lost += 1;
        if self.lost_examples.len() < EXAMPLES {
            self.lost_examples.push(job.name());
        }
    }

    fn count_changed(&mut self, job: &DifferingJob) {
        self.hours.insert(job.created_hour.into());
        self.total.changed += 1;
        self.day(job).total.changed += 1;
    }

    fn add_to_column(&mut self, name: &'static str, job: &DifferingJob, (old, new): (Option<String>, Option<String>)) {
        *self.day(job).columns.entry(name).or_default() += 1;
        let column = self.columns.entry(name).or_default();
        column.jobs += 1;
        column.emptied += u64::from(old.is_some() && new.is_none());
        if column.examples.len() < EXAMPLES {
            column.examples.push(Example { job: job.name(), old, new });
        }
    }

    fn day(&mut self, job: &DifferingJob) -> &mut DayDiff {
        let date = OffsetDateTime::from_unix_timestamp(job.created_hour.into()).map(|time| time.date().to_string());
        self.days.entry(date.unwrap_or_default()).or_default()
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

    fn job(id: &str, (in_old, in_new): (bool, bool), changes: &[(&str, Option<&str>, Option<&str>)]) -> DifferingJob {
        let number = |name: &str| COLUMNS.iter().position(|column| column.name == name).unwrap() as u8;
        DifferingJob {
            source: "prod".into(),
            resource: "video".into(),
            job_id: id.into(),
            created_hour: 1_786_698_000,
            in_old,
            in_new,
            changes: changes
                .iter()
                .map(|(name, old, new)| (number(name), old.map(str::to_owned), new.map(str::to_owned), true))
                .collect(),
        }
    }

    #[test]
    fn jobs_are_added_up_by_what_changes() {
        let mut diff = Diff::default();
        let (outcome, end) = (("outcome", Some("open"), Some("errored")), ("finished_at", None, Some("3")));
        diff.add_changed(&job("a", (true, true), &[outcome, end]));
        diff.add_changed(&job("f", (true, true), &[("finished_at", Some("3"), Some("2"))]));
        diff.add_changed(&job(
            "b",
            (true, true),
            &[("width", Some("1"), None), ("total_seconds", Some("3"), None), ("run_seconds", None, Some("2"))],
        ));
        diff.add_changed(&job("c", (true, true), &[("image_count", Some("1"), Some("2")), ("fps", None, Some("9"))]));
        diff.add_moved(&job("d", (true, false), &[]), 1_786_694_400);
        diff.add_lost(&job("e", (true, false), &[]));
        assert_eq!(diff.total, Differences { changed: 5, added: 0, lost: 1 });
        assert_eq!((diff.outcome, diff.finished_at, diff.durations, diff.numbers, diff.emptied), (1, 2, 1, 1, 1));
        assert_eq!(diff.hours, [1_786_694_400, 1_786_698_000].into());
        let day = &diff.days["2026-08-14"];
        assert_eq!((day.total, day.columns["width"], day.columns[CREATED_HOUR]), (diff.total, 1, 1));
        assert_eq!(diff.columns["total_seconds"].emptied, 1);
        let example = &diff.columns[CREATED_HOUR].examples[0];
        assert_eq!(
            (example.old.as_deref(), example.new.as_deref()),
            (Some("2026-08-14T09:00:00Z"), Some("2026-08-14T08:00:00Z"))
        );
    }
}
