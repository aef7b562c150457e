//! Reads a batch's bodies and folds what they say to one partial row for each job. Pure: the same records give the same
//! rows, in the order of the tables' keys.

use std::cmp::Ordering;

use hookline_schemas::envelope::{self, Unprocessable};
use hookline_schemas::facts::Facts;
use hookline_schemas::ids::{EventType, JobId, Resource};
use hookline_schemas::time::{CreatedAt, CreatedHour, OccurredAt, occurred_at};

use crate::batch::{Batch, Row};

/// A delivery whose body is in order.
#[derive(Debug)]
pub struct Delivery<'b> {
    /// Where it lies and how it came in.
    pub row: &'b Row,
    /// What happened.
    pub event_type: EventType,
    /// To which job.
    pub job_id: JobId<'b>,
    /// When that was created, as this event says.
    pub created_at: CreatedAt,
    /// When it happened.
    pub occurred_at: OccurredAt,
}

impl Delivery<'_> {
    /// Whether it is behind that row of `jobs`.
    pub fn is_about(&self, key: &JobKey<'_>, batch: &Batch) -> bool {
        self.job_id == key.job_id
            && self.event_type.resource == key.resource
            && self.created_at.hour() == key.created_hour
            && batch.stamps(self.row).source == key.source
    }
}

/// What the batch says of one job: a row of `jobs`.
#[derive(Debug)]
pub struct JobRow<'b> {
    /// Which job.
    pub key: JobKey<'b>,
    /// What is said of it.
    pub facts: Facts<'b>,
}

/// The key of `jobs`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the key")]
pub struct JobKey<'b> {
    pub source: &'b str,
    pub resource: Resource,
    pub created_hour: CreatedHour,
    pub job_id: JobId<'b>,
}

/// A batch, read.
#[derive(Debug, Default)]
pub struct Folded<'b> {
    /// In the order of the key of `jobs`.
    pub jobs: Vec<JobRow<'b>>,
    /// In the order of the key of `deliveries`.
    pub deliveries: Vec<Delivery<'b>>,
    /// What cannot be processed.
    pub refused: Vec<(&'b Row, Unprocessable)>,
    /// Values of a wrong type that count as absent.
    pub wrong_types: u64,
}

/// Reads and folds.
pub fn fold(batch: &Batch) -> Folded<'_> {
    let mut folded = Folded { deliveries: Vec::with_capacity(batch.rows.len()), ..Folded::default() };
    let mut said = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        let stamps = batch.stamps(row);
        let event = match envelope::decode(batch.body(row)) {
            Ok(event) => event,
            Err(refusal) => {
                folded.refused.push((row, refusal));
                continue;
            }
        };
        folded.wrong_types += u64::from(event.wrong_types);
        let key = JobKey {
            source: stamps.source,
            resource: event.event_type.resource,
            created_hour: event.created_at.hour(),
            job_id: event.job_id.clone(),
        };
        said.push(JobRow { key, facts: Facts::of(&event, &stamps) });
        folded.deliveries.push(Delivery {
            row,
            event_type: event.event_type,
            created_at: event.created_at,
            occurred_at: occurred_at(stamps.received_at, stamps.first_known_signed_at(), event.created_at),
            job_id: event.job_id,
        });
    }
    folded.jobs = join(said);
    // A partition's records are in order already, so this merges runs.
    folded.deliveries.sort_by(|a, b| a.row.place.key_order().cmp(&b.row.place.key_order()));
    folded
}

/// Sorts by key and joins what is said of the same job.
fn join(mut said: Vec<JobRow<'_>>) -> Vec<JobRow<'_>> {
    said.sort_by(|a, b| a.key.compare(&b.key));
    let mut jobs: Vec<JobRow<'_>> = Vec::with_capacity(said.len());
    for row in said {
        match jobs.last_mut() {
            Some(last) if last.key == row.key => last.facts.join(row.facts),
            _ => jobs.push(row),
        }
    }
    jobs
}

impl JobKey<'_> {
    /// The order of the table's key: by bytes, so by the names of resources.
    pub fn compare(&self, other: &Self) -> Ordering {
        let parts = |key: &Self| (key.resource.as_str(), key.created_hour);
        self.source
            .cmp(other.source)
            .then_with(|| parts(self).cmp(&parts(other)))
            .then_with(|| self.job_id.cmp(&other.job_id))
    }
}
