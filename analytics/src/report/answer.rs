//! What a report knows: the answers to the questions of the API, about one range and, where one is asked for, an earlier one.

use std::cmp::Reverse;

use anyhow::Context as _;
use clickhouse::{Client, RowOwned, RowRead};
use hookline_service::config::mask_url;
use serde::Serialize;
use time::OffsetDateTime;

use super::arguments::ReportArgs;
use crate::config::AnalyticsConfig;
use crate::query::errors::{ErrorWithExamples, Errors};
use crate::query::finished::{Finished, FinishedJobs};
use crate::query::open::{OpenCount, OpenNow};
use crate::query::range::{Range, Step};
use crate::query::statement::Statement;
use crate::query::timestamp::Timestamp;
use crate::query::{Dimension, ReadFrom};

/// The answer to a report. Its parts are named and made as those of the API are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// When ClickHouse was asked.
    pub as_of: Timestamp,
    /// The jobs finished within this range.
    pub range: Range,
    pub read_from: ReadFrom,
    pub summary: Summary,
    pub durations: Durations,
    pub errors: ErrorTable,
    pub series: Series,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// All jobs that finished in the range.
    pub jobs: FinishedJobs,
    /// Jobs without an end, now.
    pub open: Vec<OpenCount>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Durations {
    /// A group has the jobs that have the same values of these dimensions.
    #[serde(serialize_with = "names")]
    pub by: Vec<Dimension>,
    /// All groups that there are.
    pub groups: u64,
    /// Those with the most jobs, and these first.
    pub rows: Vec<FinishedJobs>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorTable {
    /// All groups that there are.
    pub groups: u64,
    /// Those with the most jobs, and these first.
    pub rows: Vec<ErrorWithExamples>,
}

/// Finished jobs over time; a step without any is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Seconds.
    pub step: u32,
    pub rows: Vec<FinishedJobs>,
}

/// The earlier range. All its groups are here, because those that the report shows may be small ones there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    pub range: Range,
    pub jobs: FinishedJobs,
    pub durations: Vec<FinishedJobs>,
    /// By source, resource, job type and error code.
    pub errors: Vec<FinishedJobs>,
}

fn names<S: serde::Serializer>(by: &[Dimension], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(by.iter().map(|dimension| dimension.name()))
}

/// Asks ClickHouse, without printing anything. The series has about so many steps.
pub async fn ask(config: &AnalyticsConfig, arguments: &ReportArgs, steps: i64) -> anyhow::Result<Report> {
    let now = OffsetDateTime::now_utc();
    let range = arguments.range(now)?;
    let earlier = arguments.compared(range)?;
    let asking = Asking { config, client: config.clickhouse.answering_client().await? };

    let all = Finished {
        range,
        filter: arguments.filter(),
        by: Vec::new(),
        step: None,
        kinds: arguments.kinds(),
        read_from: arguments.read_from,
    };
    let step = Step::within(range, steps);
    let by_time = Finished { step: Some(step), kinds: Vec::new(), ..all.clone() };
    let grouped = Finished { by: arguments.dimensions(), ..all.clone() };
    let limit = arguments.limit();

    let mut durations = asking.finished(&grouped).await?;
    let groups = durations.len() as u64;
    // The sort is stable: groups of the same size keep the order of their names.
    durations.sort_by_key(|group| Reverse(group.finished()));
    durations.truncate(limit.into());
    let compared = match earlier {
        Some(range) => Some(asking.compared(range, &all, &grouped).await?),
        None => None,
    };
    Ok(Report {
        as_of: Timestamp::of_seconds(now.unix_timestamp()),
        range,
        read_from: all.read_from(),
        summary: Summary {
            jobs: asking.total(&all).await?,
            open: asking.rows(&OpenNow { filter: all.filter.clone() }.statement()).await?,
        },
        durations: Durations { by: grouped.by, groups, rows: durations },
        errors: asking.errors(Errors { range, filter: all.filter, limit, read_from: arguments.read_from }).await?,
        series: Series { step: step.seconds(), rows: asking.finished(&by_time).await? },
        compared,
    })
}

struct Asking<'c> {
    config: &'c AnalyticsConfig,
    client: Client,
}

impl Asking<'_> {
    async fn rows<T: RowOwned + RowRead>(&self, statement: &Statement) -> anyhow::Result<Vec<T>> {
        let clickhouse = &self.config.clickhouse;
        clickhouse.within_timeout(statement.rows(&self.client)).await.with_context(|| {
            format!("cannot read the jobs of {} at {}", clickhouse.database, mask_url(&clickhouse.url))
        })
    }

    async fn finished(&self, question: &Finished) -> anyhow::Result<Vec<FinishedJobs>> {
        Ok(question.answer(self.rows(&question.statement()).await?))
    }

    async fn total(&self, question: &Finished) -> anyhow::Result<FinishedJobs> {
        Ok(self.finished(question).await?.into_iter().next().unwrap_or(FinishedJobs::NONE))
    }

    async fn errors(&self, question: Errors) -> anyhow::Result<ErrorTable> {
        let groups = self.rows(&question.statement()).await?;
        let examples = if groups.is_empty() { Vec::new() } else { self.rows(&question.examples(&groups)).await? };
        Ok(ErrorTable { groups: Errors::groups(&groups), rows: Errors::answer(groups, examples) })
    }

    async fn compared(&self, range: Range, all: &Finished, grouped: &Finished) -> anyhow::Result<Compared> {
        let errors = Finished { range, by: Dimension::ALL.to_vec(), kinds: Vec::new(), ..all.clone() };
        let mut errors = self.finished(&errors).await?;
        errors.retain(|group| group.errored > 0);
        Ok(Compared {
            range,
            jobs: self.total(&Finished { range, ..all.clone() }).await?,
            durations: self.finished(&Finished { range, ..grouped.clone() }).await?,
            errors,
        })
    }
}
