//! The questions as the product asks them: its own statements, and the rows read to the last one.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clickhouse::Client;
use hookline_analytics::query::filter::Filter;
use hookline_analytics::query::finished::{Finished, Kind};
use hookline_analytics::query::job::{Delivery, JobById, JobDeadLetter};
use hookline_analytics::query::jobs::Job;
use hookline_analytics::query::range::{Range, Step};
use hookline_analytics::query::{Dimension, ReadFrom};

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Jobs by outcome, and the quantiles of one kind of duration, from the roll-up.
    Durations,
    /// Jobs by outcome, from the roll-up.
    Counts,
    /// What [`Topic::Durations`] asks, from the facts.
    Facts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Nothing,
    Resource,
    JobType,
    ErrorCode,
    /// Groups of so many seconds of the time of the end.
    Step(i64),
}

pub fn question(topic: Topic, by: By, range: Range) -> anyhow::Result<Finished> {
    let dimensions = match by {
        By::Nothing | By::Step(_) => Vec::new(),
        By::Resource => vec![Dimension::Resource],
        By::JobType => vec![Dimension::JobType],
        By::ErrorCode => vec![Dimension::ErrorCode],
    };
    let step = match by {
        By::Step(seconds) => Some(Step::new(seconds, range)?),
        By::Nothing | By::Resource | By::JobType | By::ErrorCode => None,
    };
    let (kinds, read_from) = match topic {
        Topic::Durations => (vec![Kind::Total], ReadFrom::Rollup),
        Topic::Counts => (Vec::new(), ReadFrom::Rollup),
        Topic::Facts => (vec![Kind::Total], ReadFrom::Facts),
    };
    Ok(Finished { range, filter: Filter::default(), by: dimensions, step, kinds, read_from: Some(read_from) })
}

/// The time from the question to its answer.
pub async fn finished(client: &Client, question: &Finished) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let groups = question.answer(question.statement().rows(client).await?);
    let asked = began.elapsed();
    anyhow::ensure!(!groups.is_empty(), "no job ended in the range");
    Ok(asked)
}

/// The same of a job of any source with its deliveries and dead letters.
pub async fn job_by_id(client: &Client, id: String) -> anyhow::Result<Duration> {
    let question = JobById { job_id: id, filter: Filter::default() };
    let began = Instant::now();
    let (jobs, deliveries, dead_letters) = (question.jobs(), question.deliveries(), question.dead_letters());
    let (jobs, deliveries, _) = tokio::try_join!(
        jobs.rows::<Job>(client),
        deliveries.rows::<Delivery>(client),
        dead_letters.rows::<JobDeadLetter>(client),
    )?;
    let asked = began.elapsed();
    let job = jobs.first().with_context(|| format!("there is no job {}", question.job_id))?;
    anyhow::ensure!(deliveries.len() == 2, "{} has {} deliveries", job.job_id, deliveries.len());
    Ok(asked)
}
