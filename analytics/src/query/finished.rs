//! The finished jobs of a range: how many, their error rate and their durations, over time and by any dimension.

use clickhouse::Row;
use hookline_schemas::sql::{QUANTILE_LEVELS, at_most_max, created_hours_of};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::filter::Filter;
use super::range::{Range, Step};
use super::statement::Statement;
use super::timestamp::Timestamp;
use super::{Dimension, ReadFrom};

/// A kind of duration. Each costs as much again, so a question names those that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From creation to end.
    Total,
    /// From start to end.
    Run,
    /// From creation to start.
    Queue,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Total, Self::Run, Self::Queue];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Run => "run",
            Self::Queue => "queue",
        }
    }

    /// What the duration is, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Total => "from creation to end",
            Self::Run => "from start to end",
            Self::Queue => "from creation to start",
        }
    }
}

/// Asks for finished jobs and, of the kinds that are named, their durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub range: Range,
    pub filter: Filter,
    /// A group has the jobs that have the same values of these dimensions.
    pub by: Vec<Dimension>,
    /// The width of the groups of time; the range is one group without it.
    pub step: Option<Step>,
    /// The durations to answer with.
    pub kinds: Vec<Kind>,
    /// The view to read; the faster one without it. The numbers are the same.
    pub read_from: Option<ReadFrom>,
}

/// The jobs of one group. A dimension that the jobs are not grouped by is left out.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FinishedJobs {
    /// Start of the step, a whole multiple of it since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// Empty for completed jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    pub completed: u64,
    pub errored: u64,
    /// `errored` divided by both; null where there are none.
    pub error_rate: Option<f64>,
    /// Seconds from creation to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Durations>,
    /// Seconds from start to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Durations>,
    /// Seconds from creation to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Durations>,
}

/// Durations of the jobs that have one. Quantiles are within 1 % of the exact ones and never above the exact maximum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Durations {
    /// The jobs that have such a duration.
    pub jobs: u64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Durations {
    pub fn new(jobs: u64, max: Option<f64>, quantiles: &[f64]) -> Option<Self> {
        match (max, quantiles) {
            (Some(max), &[p50, p90, p95, p99]) => Some(Self { jobs, p50, p90, p95, p99, max }),
            _ => None,
        }
    }
}

/// The row that ClickHouse gives.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct FinishedRow {
    at: i64,
    source: String,
    resource: String,
    job_type: String,
    error_code: String,
    completed: u64,
    errored: u64,
    total_jobs: u64,
    run_jobs: u64,
    queue_jobs: u64,
    total_max: Option<f64>,
    run_max: Option<f64>,
    queue_max: Option<f64>,
    total: Vec<f64>,
    run: Vec<f64>,
    queue: Vec<f64>,
}

impl Finished {
    /// The view that answers: the one that is asked for, where it can.
    pub fn read_from(&self) -> ReadFrom {
        ReadFrom::asked(self.read_from, &self.filter, self.range)
    }

    pub fn statement(&self) -> Statement {
        let read_from = self.read_from();
        let keys = Dimension::ALL.map(|dimension| {
            let column = if self.by.contains(&dimension) { dimension.column() } else { "''" };
            format!("{column} AS by_{}", dimension.name())
        });
        let at = self.step.map_or("toInt64(0)".to_owned(), |step| {
            let step = step.seconds();
            format!("toInt64(intDiv(toUnixTimestamp(part.ended), {step}) * {step})")
        });
        let measures: String = Kind::ALL.iter().map(|kind| self.measures(*kind, read_from)).collect();
        let names = Dimension::ALL.map(Dimension::name);
        let outer = names.map(|name| format!("by_{name} AS {name}")).join(", ");
        let sql = format!(
            "SELECT by_at AS at, {outer}, groups.* EXCEPT (by_at, by_source, by_resource, by_job_type, by_error_code) FROM \
             (SELECT {at} AS by_at, {keys}, sum(part.completed) AS completed, sum(part.errored) AS errored{measures} \
             FROM ({rows}) AS part GROUP BY by_at, by_source, by_resource, by_job_type, by_error_code) AS groups \
             WHERE completed + errored > 0 ORDER BY by_at, by_source, by_resource, by_job_type, by_error_code",
            keys = keys.join(", "),
            rows = self.rows(read_from),
        );
        Statement::new(sql, self.filter.parameters())
    }

    /// What the groups are made of: a row for each job, or for each cell of the roll-up.
    fn rows(&self, read_from: ReadFrom) -> String {
        let condition = self.filter.condition(read_from);
        match read_from {
            ReadFrom::Facts => format!(
                "SELECT toDateTime(assumeNotNull(finished_at), 'UTC') AS ended, source, resource, job_type, \
                 if(outcome = 'errored', error_code, '') AS code, outcome = 'completed' AS completed, \
                 outcome = 'errored' AS errored, total_seconds AS total_max, run_seconds AS run_max, \
                 queue_seconds AS queue_max FROM job_facts \
                 WHERE outcome != 'open' AND {ended} AND {hours} AND {condition}",
                ended = self.range.contains("finished_at"),
                hours = created_hours_of(&self.range.from.sql()),
            ),
            ReadFrom::Rollup => {
                let dimensions = Dimension::ALL.into_iter().filter(|dimension| self.by.contains(dimension));
                let mut columns: Vec<_> = dimensions
                    .map(|dimension| match dimension {
                        Dimension::ErrorCode => "error_code AS code".to_owned(),
                        Dimension::Source | Dimension::Resource | Dimension::JobType => dimension.name().to_owned(),
                    })
                    .collect();
                columns.extend(["completed".to_owned(), "errored".to_owned()]);
                for kind in &self.kinds {
                    let name = kind.name();
                    columns.extend([format!("{name}_jobs"), format!("{name}_max"), format!("{name}_state")]);
                }
                let columns: Vec<_> = columns.iter().map(String::as_str).collect();
                self.range.in_rollup().rows(&columns, &condition, self.step.map(Step::seconds))
            }
        }
    }

    fn measures(&self, kind: Kind, read_from: ReadFrom) -> String {
        let name = kind.name();
        if !self.kinds.contains(&kind) {
            return format!(
                ", toUInt64(0) AS {name}_jobs, CAST(NULL, 'Nullable(Float64)') AS {name}_max, \
                 CAST([], 'Array(Float64)') AS {name}"
            );
        }
        let (jobs, quantiles) = match read_from {
            ReadFrom::Facts => (
                format!("count(part.{name}_max)"),
                format!(
                    "quantilesDDIf({QUANTILE_LEVELS})(assumeNotNull(part.{name}_max), part.{name}_max IS NOT NULL)"
                ),
            ),
            ReadFrom::Rollup => {
                (format!("sum(part.{name}_jobs)"), format!("quantilesDDMerge({QUANTILE_LEVELS})(part.{name}_state)"))
            }
        };
        let max = format!("max(part.{name}_max)");
        let quantiles = at_most_max(&quantiles, &max);
        format!(", {jobs} AS {name}_jobs, {max} AS {name}_max, {quantiles} AS {name}")
    }

    pub fn answer(&self, rows: Vec<FinishedRow>) -> Vec<FinishedJobs> {
        rows.into_iter().map(|row| self.group(row)).collect()
    }

    fn group(&self, row: FinishedRow) -> FinishedJobs {
        let value = |dimension, value| self.by.contains(&dimension).then_some(value);
        FinishedJobs {
            at: self.step.map(|_| Timestamp::of_seconds(row.at)),
            source: value(Dimension::Source, row.source),
            resource: value(Dimension::Resource, row.resource),
            job_type: value(Dimension::JobType, row.job_type),
            error_code: value(Dimension::ErrorCode, row.error_code),
            completed: row.completed,
            errored: row.errored,
            error_rate: error_rate(row.completed, row.errored),
            total: Durations::new(row.total_jobs, row.total_max, &row.total),
            run: Durations::new(row.run_jobs, row.run_max, &row.run),
            queue: Durations::new(row.queue_jobs, row.queue_max, &row.queue),
        }
    }
}

/// The share of errored jobs; nothing where no job finished, which is not 0.
pub fn error_rate(completed: u64, errored: u64) -> Option<f64> {
    share(errored, completed.saturating_add(errored))
}

/// The share that `part` is of `whole`; nothing where that is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share of more than 2^53 jobs is not counted to the last one")]
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl FinishedJobs {
    pub const fn finished(&self) -> u64 {
        self.completed.saturating_add(self.errored)
    }

    pub const fn durations(&self, kind: Kind) -> Option<Durations> {
        match kind {
            Kind::Total => self.total,
            Kind::Run => self.run,
            Kind::Queue => self.queue,
        }
    }

    /// The value of a dimension that the jobs are grouped by; empty for any other.
    pub fn value(&self, dimension: Dimension) -> &str {
        let value = match dimension {
            Dimension::Source => &self.source,
            Dimension::Resource => &self.resource,
            Dimension::JobType => &self.job_type,
            Dimension::ErrorCode => &self.error_code,
        };
        value.as_deref().unwrap_or_default()
    }

    /// The group of no jobs at all, which ClickHouse does not answer with.
    pub const NONE: Self = Self {
        at: None,
        source: None,
        resource: None,
        job_type: None,
        error_code: None,
        completed: 0,
        errored: 0,
        error_rate: None,
        total: None,
        run: None,
        queue: None,
    };
}
