//! The paths of `/api/v1`: each makes a question of its parameters and an answer of the rows.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use time::OffsetDateTime;

use super::answer::Format;
use super::parameters::{
    Asked, CreditsParameters, DeadLettersParameters, DelaysParameters, DistributionParameters, DurationsParameters,
    ErrorsParameters, JobParameters, JobsParameters, SeriesParameters, SummaryParameters,
};
use super::problem::Problem;
use super::schema::{Answer, Compared, ComparedJobs, DeadLettersAnswer, JobAnswer, Summary, timestamp};
use super::state::ServeState;
use super::values::{compared, dimensions, kinds, limit, one_of, range, step, texts};
use super::{cursor, pipeline::Pipeline};
use crate::query::contradictions::{self, Contradictions};
use crate::query::credits::{Credits, CreditsOfJobs};
use crate::query::dead_letters::DeadLetters;
use crate::query::delays::{self, Delays, WebhookDelay};
use crate::query::distribution::{Bin, Distribution};
use crate::query::errors::{ErrorWithExamples, Errors};
use crate::query::filter::Filter;
use crate::query::finished::{Finished, FinishedJobs, Kind};
use crate::query::job::{Delivery, JobById, JobDeadLetter};
use crate::query::jobs::{Job, Jobs, Order, State as JobState, Time};
use crate::query::open::OpenNow;
use crate::query::range::{Range, Step};
use crate::query::{Dimension, ReadFrom};

const DAY: i64 = 86_400;

/// The finished jobs of a question and of its comparison range.
async fn finished(
    state: &ServeState,
    headers: &HeaderMap,
    path: &str,
    question: Finished,
    earlier: Option<Range>,
) -> Result<Response, Problem> {
    let format = Format::accepted(headers, true)?;
    let now = OffsetDateTime::now_utc();
    let ask = async {
        let rows = question.answer(state.rows(&question.statement()).await?);
        let mut answer = Answer::new(timestamp(now), question.range, question.step, question.read_from(), rows);
        if let Some(range) = earlier {
            let earlier = Finished { range, ..question.clone() };
            let rows = earlier.answer(state.rows(&earlier.statement()).await?);
            answer.compared = Some(Compared { range: range.into(), rows });
        }
        Ok(answer)
    };
    state.answer(format!("{path} {question:?} {earlier:?}"), question.range, now, format, headers, ask).await
}

/// Finished jobs, open ones and contradictions of a range, the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/summary", tag = "jobs", params(SummaryParameters), responses(
    (status = 200, body = Summary), (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn summary(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<SummaryParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, false)?;
    let now = OffsetDateTime::now_utc();
    let range = asked.range(now, DAY)?;
    let earlier = compared(asked.compare.as_deref(), range)?;
    let question = Finished {
        range,
        filter: asked.filter()?,
        by: Vec::new(),
        step: None,
        kinds: kinds(&asked.kind, &Kind::ALL)?,
        read_from: None,
    };
    let ask = async {
        let of = async |question: &Finished| {
            let rows = question.answer(state.rows(&question.statement()).await?);
            Ok::<_, Problem>(rows.into_iter().next().unwrap_or(FinishedJobs::NONE))
        };
        let jobs = of(&question).await?;
        let compared = match earlier {
            Some(range) => {
                Some(ComparedJobs { range: range.into(), jobs: of(&Finished { range, ..question.clone() }).await? })
            }
            None => None,
        };
        let filter = question.filter.clone();
        let open = state.rows(&OpenNow { filter: filter.clone() }.statement()).await?;
        let contradictions = if range.is_within(contradictions::LONGEST) {
            state.rows(&Contradictions { range, filter }.statement()).await?.into_iter().next()
        } else {
            None
        };
        let read_from = question.read_from();
        Ok(Summary { as_of: timestamp(now), range: range.into(), read_from, jobs, compared, open, contradictions })
    };
    state.answer(format!("summary {question:?} {earlier:?}"), range, now, format, &headers, ask).await
}

/// Finished jobs over time, by any dimensions; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/series", tag = "jobs", params(SeriesParameters), responses(
    (status = 200, content((Answer<FinishedJobs> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn series(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<SeriesParameters>,
) -> Result<Response, Problem> {
    let range = asked.range(OffsetDateTime::now_utc(), DAY)?;
    let step = step(asked.step.as_deref(), range)?.unwrap_or_else(|| Step::usual(range));
    let question = Finished {
        range,
        filter: asked.filter()?,
        by: dimensions(&asked.by, &[])?,
        step: Some(step),
        kinds: kinds(&asked.kind, &[])?,
        read_from: None,
    };
    finished(&state, &headers, "series", question, compared(asked.compare.as_deref(), range)?).await
}

/// Finished jobs of a range and their durations, by any dimensions; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/durations", tag = "jobs", params(DurationsParameters), responses(
    (status = 200, content((Answer<FinishedJobs> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn durations(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<DurationsParameters>,
) -> Result<Response, Problem> {
    let range = asked.range(OffsetDateTime::now_utc(), DAY)?;
    let question = Finished {
        range,
        filter: asked.filter()?,
        by: dimensions(&asked.by, &[Dimension::Resource, Dimension::JobType])?,
        step: None,
        kinds: kinds(&asked.kind, &Kind::ALL)?,
        read_from: None,
    };
    finished(&state, &headers, "durations", question, compared(asked.compare.as_deref(), range)?).await
}

/// Errors by code, the most frequent first, with first and last seen and examples; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/errors", tag = "jobs", params(ErrorsParameters), responses(
    (status = 200, content((Answer<ErrorWithExamples> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn errors(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<ErrorsParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let range = asked.range(now, DAY)?;
    let question = Errors { range, filter: asked.filter()?, limit: limit(asked.limit.as_deref())?, read_from: None };
    let ask = async {
        let groups = state.rows(&question.statement()).await?;
        let examples = if groups.is_empty() { Vec::new() } else { state.rows(&question.examples(&groups)).await? };
        let all = Errors::groups(&groups);
        let rows = Errors::answer(groups, examples);
        Ok(Answer { groups: Some(all), ..Answer::new(timestamp(now), range, None, question.read_from(), rows) })
    };
    state.answer(format!("{question:?}"), range, now, format, &headers, ask).await
}

/// The distribution of durations over time, for a heat map; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/distribution", tag = "jobs", params(DistributionParameters), responses(
    (status = 200, content((Answer<Bin> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn distribution(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<DistributionParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let range = asked.range(now, DAY)?;
    let step = step(asked.step.as_deref(), range)?.unwrap_or_else(|| Step::usual(range));
    let kind = asked.kind.as_deref().map_or(Ok(Kind::Total), |text| one_of("kind", text, &Kind::ALL, Kind::name))?;
    let question = Distribution { range, filter: asked.filter()?, step, kind };
    let ask = async {
        let rows = Distribution::answer(state.rows(&question.statement()).await?);
        Ok(Answer::new(timestamp(now), range, Some(step), question.read_from(), rows))
    };
    state.answer(format!("{question:?}"), range, now, format, &headers, ask).await
}

/// Credits of finished jobs: estimated, charged and refunded; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/credits", tag = "jobs", params(CreditsParameters), responses(
    (status = 200, content((Answer<CreditsOfJobs> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn credits(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<CreditsParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let range = asked.range(now, DAY)?;
    let step = step(asked.step.as_deref(), range)?;
    let question = Credits { range, filter: asked.filter()?, by: dimensions(&asked.by, &[])?, step };
    let ask = async {
        let rows = question.answer(state.rows(&question.statement()).await?);
        Ok(Answer::new(timestamp(now), range, step, ReadFrom::Facts, rows))
    };
    state.answer(format!("{question:?}"), range, now, format, &headers, ask).await
}

const STATES: [(JobState, &str); 4] = [
    (JobState::Any, "any"),
    (JobState::Open, "open"),
    (JobState::Stuck, "stuck"),
    (JobState::Unresolved, "unresolved"),
];
const TIMES: [(Time, &str); 2] = [(Time::Created, "created"), (Time::Finished, "finished")];
const ORDERS: [(Order, &str); 4] = [
    (Order::Newest, "newest"),
    (Order::Slowest(Kind::Total), "total"),
    (Order::Slowest(Kind::Run), "run"),
    (Order::Slowest(Kind::Queue), "queue"),
];

fn choice<T: Copy>(name: &str, text: Option<&str>, all: &[(T, &'static str)]) -> Result<T, Problem> {
    let text = text.or(all.first().map(|(_, name)| *name)).unwrap_or_default();
    Ok(one_of(name, text, all, |(_, name)| name)?.0)
}

/// Jobs by any filter, newest or slowest first, page by page; those of the last 24 hours by default, of 30 days where unresolved.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(JobsParameters), responses(
    (status = 200, content((Answer<Job> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn jobs(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<JobsParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let job_state = choice("state", asked.state.as_deref(), &STATES)?;
    let time = choice("time", asked.time.as_deref(), &TIMES)?;
    if job_state != JobState::Any && time == Time::Finished {
        return Err(Problem::parameter(
            "time",
            "jobs of this state have no end: leave `time` out, or ask for state=any",
        ));
    }
    let days = if job_state == JobState::Unresolved { 30 } else { 1 };
    let mut range = asked.range(now, days * DAY)?;
    let parameters = format!("jobs {:?}", JobsParameters { cursor: None, limit: None, ..asked.clone() });
    let mut after = None;
    if let Some(text) = &asked.cursor {
        let (first, position) = cursor::read(text, &parameters)?;
        (range, after) = (first, Some(position));
    }
    let question = Jobs {
        state: job_state,
        time,
        range,
        filter: asked.filter()?,
        order: choice("order", asked.order.as_deref(), &ORDERS)?,
        after,
        limit: limit(asked.limit.as_deref())?,
    };
    let ask = async {
        let rows = state.rows(&question.statement()).await?;
        let next = question.next(&rows).map(|position| cursor::write(&parameters, range, position));
        Ok(Answer { next, ..Answer::new(timestamp(now), range, None, ReadFrom::Facts, rows) })
    };
    state.answer(format!("{question:?} {parameters}"), range, now, format, &headers, ask).await
}

/// The jobs that have an id, in every source and resource, with their deliveries and dead letters.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "The id, percent-encoded"), JobParameters), responses(
    (status = 200, body = JobAnswer), (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn job(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Path(job_id): Path<String>,
    Asked(asked): Asked<JobParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, false)?;
    let now = OffsetDateTime::now_utc();
    let filter = Filter {
        source: texts("source", &asked.source)?,
        resource: texts("resource", &asked.resource)?,
        ..Filter::default()
    };
    texts("id", std::slice::from_ref(&job_id))?;
    let question = JobById { job_id, filter };
    let ask = async {
        let (jobs, deliveries, dead_letters) = (question.jobs(), question.deliveries(), question.dead_letters());
        let (jobs, deliveries, dead_letters) = tokio::try_join!(
            state.rows::<Job>(&jobs),
            state.rows::<Delivery>(&deliveries),
            state.rows::<JobDeadLetter>(&dead_letters),
        )?;
        if jobs.is_empty() && deliveries.is_empty() && dead_letters.is_empty() {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "nothing was received about a job of this id: look for it with /api/v1/jobs, or leave source and resource out",
            ));
        }
        Ok(JobAnswer { as_of: timestamp(now), jobs, deliveries, dead_letters })
    };
    let range = Range { from: crate::query::range::Moment(0), to: crate::query::range::Moment(i64::MAX) };
    state.answer(format!("{question:?}"), range, now, format, &headers, ask).await
}

/// How late webhooks are, by source, resource and action, over at most 7 days; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/delays", tag = "webhooks", params(DelaysParameters), responses(
    (status = 200, content((Answer<WebhookDelay> = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn webhook_delays(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<DelaysParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let range = range(asked.from.as_deref(), asked.to.as_deref(), now, DAY)?;
    if !range.is_within(delays::LONGEST) {
        return Err(Problem::parameter(
            "from",
            "delays are asked of at most 7 days: every webhook of the range is read",
        ));
    }
    let filter = Filter {
        source: texts("source", &asked.source)?,
        resource: texts("resource", &asked.resource)?,
        ..Filter::default()
    };
    let question = Delays { range, filter };
    let ask = async {
        let rows = Delays::answer(state.rows(&question.statement()).await?);
        Ok(Answer::new(timestamp(now), range, None, ReadFrom::Facts, rows))
    };
    state.answer(format!("{question:?}"), range, now, format, &headers, ask).await
}

/// Dead letters by reason, and one by one, newest first; the last 24 hours by default.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "webhooks", params(DeadLettersParameters), responses(
    (status = 200, content((DeadLettersAnswer = "application/json"), (String = "text/csv"))),
    (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn dead_letters(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(asked): Asked<DeadLettersParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, true)?;
    let now = OffsetDateTime::now_utc();
    let mut range = range(asked.from.as_deref(), asked.to.as_deref(), now, DAY)?;
    let parameters = format!("dead letters {:?}", DeadLettersParameters { cursor: None, limit: None, ..asked.clone() });
    let mut after = None;
    if let Some(text) = &asked.cursor {
        let (first, position) = cursor::read(text, &parameters)?;
        (range, after) = (first, Some(position));
    }
    let question = DeadLetters {
        range,
        source: texts("source", &asked.source)?,
        reason: texts("reason", &asked.reason)?,
        after,
        limit: limit(asked.limit.as_deref())?,
    };
    let ask = async {
        let by_reason = state.rows(&question.counts()).await?;
        let rows = state.rows(&question.page()).await?;
        let next = question.next(&rows).map(|position| cursor::write(&parameters, range, position));
        Ok(DeadLettersAnswer { as_of: timestamp(now), range: range.into(), by_reason, rows, next })
    };
    state.answer(format!("{question:?} {parameters}"), range, now, format, &headers, ask).await
}

/// How the pipeline does: rates, refusals, lag, dead letters, freshness and seconds by stage, now and over the last hour, from
/// the admin listeners or the Prometheus that is configured, and the roll-up's age.
#[utoipa::path(get, path = "/api/v1/pipeline", tag = "pipeline", responses(
    (status = 200, body = Pipeline), (status = 304, description = "as before"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn pipeline(
    State(state): State<ServeState>,
    headers: HeaderMap,
    Asked(_): Asked<NoParameters>,
) -> Result<Response, Problem> {
    let format = Format::accepted(&headers, false)?;
    let now = OffsetDateTime::now_utc();
    let range = Range { from: crate::query::range::Moment(0), to: crate::query::range::Moment(i64::MAX) };
    let ask = async { state.pipeline(timestamp(now)).await };
    state.answer("pipeline".to_owned(), range, now, format, &headers, ask).await
}

/// Any parameter is one too many.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoParameters {}
