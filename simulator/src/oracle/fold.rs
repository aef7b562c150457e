//! Derives the facts of every job from the bodies of its deliveries, and compares them with `job_facts`, column by column.

use std::collections::BTreeMap;

use hookline_schemas::facts::FOLD_VERSION;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::difference::Difference;
use super::provider_json::{Object, with_whole_characters};
use super::rows::{Delivery, JobFacts, JobKey};
use crate::provider_time::ProviderTime;

pub(super) fn differences(deliveries: &[Delivery], job_facts: &[JobFacts]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut claims = BTreeMap::<JobKey, Vec<EventClaims>>::new();
    for row in deliveries {
        match EventClaims::read(row) {
            Ok(event) => {
                found.extend(event.wrong_columns(row));
                let job = (row.source.clone(), event.resource.clone(), event.job_id.clone());
                claims.entry(job).or_default().push(event);
            }
            Err(reason) => found.push(Difference::Unreadable { position: row.position(), reason: reason.into() }),
        }
    }
    let mut expected: BTreeMap<_, _> =
        claims.into_iter().filter_map(|(job, events)| Some((job.clone(), facts(job, &events)?))).collect();
    for actual in job_facts {
        match expected.remove(&actual.key()) {
            Some(expected) => found.extend(columns(JOB_FACTS, &name(&actual.key()), &expected, actual)),
            None => found.push(Difference::ExtraRow { table: JOB_FACTS, row: name(&actual.key()) }),
        }
    }
    found.extend(expected.into_keys().map(|job| Difference::MissingRow { table: JOB_FACTS, row: name(&job) }));
    found
}

const JOB_FACTS: &str = "job_facts";

/// Names a job in a difference: `source/resource/job`.
pub(super) fn name((source, resource, job_id): &JobKey) -> String {
    format!("{source}/{resource}/{job_id}")
}

/// Finds the columns in which two rows differ.
pub(super) fn columns<T: Serialize>(table: &'static str, row: &str, expected: &T, actual: &T) -> Vec<Difference> {
    let (Ok(Value::Object(expected)), Ok(Value::Object(actual))) =
        (serde_json::to_value(expected), serde_json::to_value(actual))
    else {
        return Vec::new();
    };
    let differ = expected.into_iter().zip(actual).filter(|((_, expected), (_, actual))| expected != actual);
    differ
        .map(|((column, expected), (_, actual))| Difference::Column {
            table,
            row: row.to_owned(),
            column,
            expected: expected.to_string(),
            actual: actual.to_string(),
        })
        .collect()
}

/// What the body of a delivery claims of its job.
struct EventClaims {
    resource: String,
    action: String,
    job_id: String,
    created_at: i64,
    occurred_at: i64,
    received_at: i64,
    payload: Object,
}

impl EventClaims {
    fn read(row: &Delivery) -> Result<Self, &'static str> {
        let text = with_whole_characters(&row.body);
        let body = Object::read(&text).ok_or("not a JSON object")?;
        let event_type = body.text("type").ok_or("no type")?;
        let (resource, action) = event_type.split_once('.').ok_or("a type without a dot")?;
        if !matches!(resource, "video" | "image" | "audio") || !matches!(action, "started" | "completed" | "errored") {
            return Err("an unknown type");
        }
        let (resource, action) = (resource.to_owned(), action.to_owned());
        let payload = body.object("payload").or_else(|| body.object("object")).ok_or("no payload")?;
        let job_id = payload.text("id").ok_or("no id")?;
        let created_at = payload.text("created_at").ok_or("no created_at")?;
        let created_at = OffsetDateTime::parse(&created_at, &Rfc3339).map_err(|_| "a created_at that is no time")?;
        let created_at = i64::try_from(created_at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX);
        let signed_at: i64 = row.signed_at_text.parse().map_err(|_| "a signed time that is no number")?;
        // The event happened within the second that was first signed, at the latest time in it that both clocks allow.
        let second = row.first_signed_at.map_or(signed_at, i64::from);
        let latest_clock = row.received_at.0.max(created_at).max(second * 1000);
        let occurred_at = if latest_clock > second * 1000 + 999 { second * 1000 + 999 } else { latest_clock };
        Ok(Self { resource, action, job_id, created_at, occurred_at, received_at: row.received_at.0, payload })
    }

    /// Finds the columns of `deliveries` that do not follow from the body and the headers.
    fn wrong_columns(&self, row: &Delivery) -> Vec<Difference> {
        let mut expected = row.clone();
        expected.resource = self.resource.clone();
        expected.action = self.action.clone();
        expected.job_id = self.job_id.clone();
        expected.created_at = ProviderTime(self.created_at);
        expected.occurred_at = ProviderTime(self.occurred_at);
        expected.signed_at = row.signed_at_text.parse().unwrap_or(u32::MAX);
        columns("deliveries", &row.position(), &expected, row)
    }

    fn integer(&self, field: &str) -> Option<i64> {
        let value = self.payload.value(field)?;
        let exact = |float: f64| (float.fract() == 0.0 && float.abs() <= 2_f64.powi(53)).then_some(float as i64);
        value.as_i64().or_else(|| value.as_f64().and_then(exact))
    }

    /// The provider sends −1 where the value is not set.
    fn pixels(&self, field: &str) -> Option<i64> {
        self.integer(field).filter(|pixels| *pixels != -1)
    }

    fn number(&self, field: &str) -> Option<f64> {
        self.payload.value(field)?.as_f64()
    }

    fn text(&self, field: &str) -> String {
        self.payload.text(field).unwrap_or_default()
    }

    fn error(&self) -> (String, String) {
        let error = self.payload.object("error");
        let part = |part: &str| error.as_ref().and_then(|error| error.text(part)).unwrap_or_default();
        (part("code").replace('\0', "\u{fffd}"), part("message"))
    }

    fn is(&self, action: &str) -> bool {
        self.action == action
    }
}

fn facts((source, resource, job_id): JobKey, events: &[EventClaims]) -> Option<JobFacts> {
    let first = |action: &str| events.iter().filter(|event| event.is(action)).map(|event| event.occurred_at).min();
    let credits = |action: &'static str| {
        events.iter().filter(move |event| event.is(action)).filter_map(|event| event.integer("credits_charged"))
    };
    let greatest = |field: &dyn Fn(&EventClaims) -> Option<f64>| events.iter().filter_map(field).max_by(f64::total_cmp);
    let largest = |field: &dyn Fn(&EventClaims) -> Option<i64>| events.iter().filter_map(field).max();

    let created_at = events.iter().map(|event| event.created_at).min()?;
    let (started_at, completed_at, errored_at) = (first("started"), first("completed"), first("errored"));
    let (outcome, finished_at) = match (completed_at, errored_at) {
        (Some(at), _) => ("completed", Some(at)),
        (None, Some(at)) => ("errored", Some(at)),
        (None, None) => ("open", None),
    };
    let run = finished_at.zip(started_at).map(|(finished, started)| finished - started);
    let queue = started_at.map(|started| started - created_at);
    let seconds = |milliseconds: Option<i64>| milliseconds.filter(|ms| *ms >= 0).map(|ms| ms as f64 / 1000.0);
    // Code and message come from one event: of all `errored`, the one whose pair, with a NUL between, sorts last.
    let errors = events.iter().filter(|event| event.is("errored")).map(EventClaims::error);
    let (error_code, error_message) =
        errors.max_by_key(|(code, message)| format!("{code}\0{message}")).unwrap_or_default();
    let credits_estimated = credits("started").max();
    let credits_charged = match outcome {
        "completed" => credits("completed").max(),
        "errored" => credits("errored").min(),
        _ => None,
    };
    let refunded = credits_estimated.zip(credits_charged).map(|(estimated, charged)| estimated - charged);
    Some(JobFacts {
        source,
        resource,
        job_id,
        job_type: events.iter().map(|event| event.text("type")).max().unwrap_or_default(),
        created_hour: u32::try_from(created_at.div_euclid(3_600_000) * 3600).unwrap_or(u32::MAX),
        created_at: ProviderTime(created_at),
        started_at: started_at.map(ProviderTime),
        completed_at: completed_at.map(ProviderTime),
        errored_at: errored_at.map(ProviderTime),
        finished_at: finished_at.map(ProviderTime),
        outcome: outcome.to_owned(),
        error_code,
        error_message,
        total_seconds: seconds(finished_at.map(|finished| finished - created_at)),
        run_seconds: seconds(run),
        queue_seconds: seconds(queue.filter(|_| run.is_none_or(|run| run >= 0))),
        width: largest(&|event| event.pixels("width")),
        height: largest(&|event| event.pixels("height")),
        image_count: largest(&|event| event.integer("image_count")),
        fps: greatest(&|event| event.number("fps").filter(|_| !event.is("started"))),
        media_seconds: greatest(&|event| Some(event.number("end_seconds")? - event.number("start_seconds")?)),
        credits_estimated,
        credits_charged,
        credits_refunded: refunded.filter(|_| outcome == "errored"),
        first_received_at: ProviderTime(events.iter().map(|event| event.received_at).min()?),
        last_received_at: ProviderTime(events.iter().map(|event| event.received_at).max()?),
        fold_version: FOLD_VERSION,
    })
}

#[cfg(test)]
mod odd_json;
