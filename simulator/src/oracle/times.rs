//! Compares the times of jobs with the ledger: each must be the second in which its event was first signed. Signatures have no
//! more than seconds. A time of the year 1970 would show here.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Difference, Receipt};
use super::fold::name;
use super::rows::{DeadLetter, JobFacts, Redrive};
use crate::ledger::{Answer, Attempt};
use crate::provider_time::ProviderTime;

/// The signed times of an event's attempts, in Unix seconds.
#[derive(Default)]
struct Signed {
    /// Those of all attempts: an attempt that was answered 503 may have set the time without being stored.
    any: BTreeSet<i64>,
    /// The first one that was acknowledged; the time cannot be later.
    acknowledged: Option<i64>,
    created_at: i64,
}

pub(super) fn differences(
    attempts: &[Attempt],
    dead_letters: &[DeadLetter],
    redrives: &[Redrive],
    job_facts: &[JobFacts],
) -> Vec<Difference> {
    let rejected_by_table: BTreeSet<Receipt> =
        dead_letters.iter().filter(|row| !row.is_from_ingest()).map(DeadLetter::receipt).collect();
    let redriven: BTreeSet<Receipt> = redrives.iter().map(Redrive::receipt).collect();
    let mut events = BTreeMap::<(&str, &str, &str), Signed>::new();
    for attempt in attempts {
        let Ok(second) = attempt.signed_at_text.parse() else { continue };
        let signed = events.entry((&attempt.source, &attempt.job_id, &attempt.event_type)).or_default();
        signed.any.insert(second);
        signed.created_at = attempt.created_at.second();
        let arrived = attempt.answer == Answer::Status(200) || redriven.contains(&attempt.receipt());
        if arrived && !rejected_by_table.contains(&attempt.receipt()) {
            signed.acknowledged = Some(signed.acknowledged.map_or(second, |first| first.min(second)));
        }
    }
    let mut found = Vec::new();
    for row in job_facts {
        let mut created = BTreeSet::new();
        for (column, action, at) in [
            ("started_at", "started", row.started_at),
            ("completed_at", "completed", row.completed_at),
            ("errored_at", "errored", row.errored_at),
        ] {
            let event_type = format!("{}.{action}", row.resource);
            let Some(signed) = events.get(&(&*row.source, &*row.job_id, &*event_type)) else {
                if let Some(at) = at {
                    let (job, actual) = (name(&row.key()), Some(at.second()));
                    found.push(Difference::Time { job, column, allowed: Vec::new(), actual });
                }
                continue;
            };
            created.insert(signed.created_at);
            let latest = signed.acknowledged.unwrap_or(i64::MAX);
            let allowed: Vec<_> = signed.any.iter().copied().filter(|second| *second <= latest).collect();
            let agrees = match at {
                Some(at) => allowed.contains(&at.second()),
                None => signed.acknowledged.is_none(),
            };
            if !agrees {
                let actual = at.map(ProviderTime::second);
                found.push(Difference::Time { job: name(&row.key()), column, allowed, actual });
            }
        }
        if !created.contains(&row.created_at.second()) {
            let allowed = created.into_iter().collect();
            let actual = Some(row.created_at.second());
            found.push(Difference::Time { job: name(&row.key()), column: "created_at", allowed, actual });
        }
    }
    found
}
