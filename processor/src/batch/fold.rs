//! Decodes a batch's bodies and folds their facts to one partial row for each job. Pure: the same records give the same
//! rows, in the order of the tables' keys.

use hookline_schemas::envelope::{self, DecodeError};
use hookline_schemas::facts::Facts;
use hookline_schemas::ids::{EventType, JobId, Resource};
use hookline_schemas::time::{CreatedAt, CreatedHour, OccurredAt, occurred_at};

use crate::batch::{Batch, BatchRecord};

#[derive(Debug)]
pub struct Delivery<'b> {
    pub row: &'b BatchRecord,
    pub event_type: EventType,
    pub job_id: JobId<'b>,
    /// When the job was created, as this event says.
    pub created_at: CreatedAt,
    pub occurred_at: OccurredAt,
}

impl Delivery<'_> {
    /// Whether the delivery's facts are in that row of `jobs`.
    pub fn is_about(&self, key: &JobKey<'_>, batch: &Batch) -> bool {
        self.job_id == key.job_id
            && self.event_type.resource == key.resource
            && self.created_at.hour() == key.created_hour
            && batch.source(self.row) == key.source
    }
}

/// The facts of one job that a batch has.
#[derive(Debug)]
pub struct JobRow<'b> {
    pub key: JobKey<'b>,
    pub facts: Facts<'b>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey<'b> {
    pub source: &'b str,
    pub resource: Resource,
    pub created_hour: CreatedHour,
    pub job_id: JobId<'b>,
}

#[derive(Debug, Default)]
pub struct Folded<'b> {
    /// Sorted by the key of `jobs`.
    pub jobs: Vec<JobRow<'b>>,
    /// Sorted by the key of `deliveries`.
    pub deliveries: Vec<Delivery<'b>>,
    pub unreadable: Vec<(&'b BatchRecord, DecodeError)>,
    /// Optional fields of a wrong type, which count as absent, or with a broken text, which was repaired.
    pub invalid_fields: u64,
}

/// What each record says, not yet joined by job.
#[derive(Debug)]
pub struct Decoded<'b> {
    facts: Vec<JobRow<'b>>,
    folded: Folded<'b>,
}

pub fn fold(batch: &Batch) -> Folded<'_> {
    decode(batch).fold()
}

pub fn decode(batch: &Batch) -> Decoded<'_> {
    let mut folded = Folded { deliveries: Vec::with_capacity(batch.rows.len()), ..Folded::default() };
    let mut facts = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        let metadata = batch.metadata(row);
        let event = match envelope::decode(batch.body(row)) {
            Ok(event) => event,
            Err(error) => {
                folded.unreadable.push((row, error));
                continue;
            }
        };
        folded.invalid_fields += u64::from(event.invalid_fields);
        let key = JobKey {
            source: metadata.source,
            resource: event.event_type.resource,
            created_hour: event.created_at.hour(),
            job_id: event.job_id.clone(),
        };
        facts.push(JobRow { key, facts: Facts::of(&event, &metadata) });
        folded.deliveries.push(Delivery {
            row,
            event_type: event.event_type,
            created_at: event.created_at,
            occurred_at: occurred_at(metadata.received_at, metadata.first_known_signed_at(), event.created_at),
            job_id: event.job_id,
        });
    }
    Decoded { facts, folded }
}

impl<'b> Decoded<'b> {
    pub fn fold(self) -> Folded<'b> {
        let Self { facts, mut folded } = self;
        folded.jobs = join(facts);
        // A partition's records are in order already, so this merges runs.
        folded.deliveries.sort_by_key(|delivery| delivery.row.position.key_order());
        folded
    }
}

/// Joins the facts of the same job, and sorts by key.
fn join(rows: Vec<JobRow<'_>>) -> Vec<JobRow<'_>> {
    let mut sources: Vec<&str> = rows.iter().map(|row| row.key.source).collect();
    sources.dedup();
    sources.sort_unstable();
    sources.dedup();
    // Sorts small keys instead of whole rows: adjacent numbers decide most comparisons.
    let mut order: Vec<_> = rows.iter().enumerate().map(|(index, row)| (row.key.prefix(&sources), index)).collect();
    let mut rows: Vec<Option<JobRow<'_>>> = rows.into_iter().map(Some).collect();
    let job_id = |index: usize| rows.get(index).and_then(|row| Some(&row.as_ref()?.key.job_id));
    order.sort_unstable_by(|(a, a_index), (b, b_index)| a.cmp(b).then_with(|| job_id(*a_index).cmp(&job_id(*b_index))));
    let mut jobs: Vec<JobRow<'_>> = Vec::with_capacity(rows.len() / 2);
    for row in order.into_iter().filter_map(|(_, index)| rows.get_mut(index)?.take()) {
        match jobs.last_mut() {
            Some(last) if last.key == row.key => last.facts.join(row.facts),
            _ => jobs.push(row),
        }
    }
    jobs
}

/// The beginning of a [`JobKey`] as numbers, in the order of the table's key: source, resource by name and created hour in one,
/// then the first sixteen bytes of the job's id.
type Prefix = (u64, [u64; 2]);

impl JobKey<'_> {
    fn prefix(&self, sources: &[&str]) -> Prefix {
        let source = sources.partition_point(|source| *source < self.source) as u64;
        let resource = match self.resource {
            Resource::Audio => 0,
            Resource::Image => 1,
            Resource::Video => 2,
        };
        let mut id = [0; 16];
        for (to, byte) in id.iter_mut().zip(self.job_id.as_str().bytes()) {
            *to = byte;
        }
        let id = u128::from_be_bytes(id);
        (source << 40 | resource << 32 | self.created_hour.0 as u64, [(id >> 64) as u64, id as u64])
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prefixes_sort_as_the_table_does(
            keys in prop::collection::vec(
                (
                    prop::sample::select(vec!["a", "ab", "prod-1", "prod-2"]),
                    prop::sample::select(Resource::ALL.to_vec()),
                    946_684_800_i64..4_102_444_800,
                    prop_oneof!["[!-~]{1,3}", "cm2fphlo3000dmfh[ab]{0,3}"],
                ),
                2,
            ),
        ) {
            let mut sources: Vec<_> = keys.iter().map(|key| key.0).collect();
            sources.sort_unstable();
            sources.dedup();
            let prefixes: Vec<_> = keys
                .iter()
                .map(|(source, resource, hour, id)| {
                    let job_id = JobId::new(id).unwrap();
                    JobKey { source, resource: *resource, created_hour: CreatedHour(*hour), job_id }.prefix(&sources)
                })
                .collect();
            let whole = |index: usize| {
                let (source, resource, hour, id) = &keys[index];
                (*source, resource.as_str(), *hour, id.as_bytes())
            };
            let by_prefix = prefixes[0].cmp(&prefixes[1]);
            prop_assert!(by_prefix == Ordering::Equal || by_prefix == whole(0).cmp(&whole(1)));
        }
    }
}
