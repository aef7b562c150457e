//! Narrows a snapshot to what the ledger can know: others may have sent webhooks to the same pipeline.

use std::collections::BTreeSet;

use super::Snapshot;
use super::difference::Receipt;
use super::rollup::{BY_HOUR, BY_MINUTE};
use crate::ledger::Attempt;

impl Snapshot {
    /// Keeps the rows of the ledger's jobs and of its webhooks that name no job, and the rows of the roll-up that count one of
    /// these jobs.
    #[must_use]
    pub fn narrowed_to_ledger(mut self) -> Self {
        let jobs: BTreeSet<(String, String)> = self
            .attempts
            .iter()
            .filter(|attempt| !attempt.job_id.is_empty())
            .map(|attempt| (attempt.source.clone(), attempt.job_id.clone()))
            .collect();
        let receipts: BTreeSet<Receipt> = self.attempts.iter().map(Attempt::receipt).collect();
        let is_known = |source: &str, job_id: &str| jobs.contains(&(source.to_owned(), job_id.to_owned()));

        self.deliveries.retain(|row| is_known(&row.source, &row.job_id) || receipts.contains(&row.receipt()));
        self.dead_letters.retain(|row| is_known(&row.source, &row.job_id) || receipts.contains(&row.receipt()));
        self.redrives.retain(|row| receipts.contains(&row.receipt()));
        let (known, others) = self.job_facts.into_iter().partition(|row| is_known(&row.source, &row.job_id));
        (self.job_facts, self.other_job_facts) = (known, others);
        for (resolution, quantiles, job_stats) in [
            (BY_MINUTE, &mut self.quantiles, &mut self.job_stats),
            (BY_HOUR, &mut self.hourly_quantiles, &mut self.hourly_job_stats),
        ] {
            let groups = resolution.groups_of(&self.job_facts);
            quantiles.retain(|row| groups.contains(&row.key()));
            job_stats.retain(|row| groups.contains(&row.key()));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::Difference;
    use super::super::rows::Delivery;
    use super::super::tests::right;
    use super::*;

    #[test]
    fn what_others_sent_is_judged_only_when_asked() {
        let mut mine = right();
        let is_mine = |job_id: &str| job_id.bytes().map(u32::from).sum::<u32>().is_multiple_of(2);
        mine.attempts.retain(|attempt| is_mine(&attempt.job_id));
        let strangers = mine.job_facts.iter().filter(|row| !is_mine(&row.job_id)).count();
        assert!(
            strangers > 100 && mine.differences().len() > strangers,
            "without narrowing, all of them are differences"
        );
        let narrowed = mine.clone().narrowed_to_ledger();
        assert_eq!(narrowed.differences(), []);
        assert!(!narrowed.job_facts.is_empty() && !narrowed.job_stats.is_empty() && !narrowed.dead_letters.is_empty());
        assert!(!narrowed.other_job_facts.is_empty(), "groups are shared with others");

        // What is wrong with the ledger's own jobs is found all the same.
        let found = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = mine.clone();
            change(&mut snapshot);
            snapshot.narrowed_to_ledger().differences()
        };
        let place = mine.deliveries.iter().position(|row| is_mine(&row.job_id)).unwrap();
        let lost = found(&|snapshot| drop(snapshot.deliveries.remove(place)));
        assert!(matches!(lost.first(), Some(Difference::Lost { .. } | Difference::MissingRow { .. })), "{lost:?}");
        let forged = found(&|snapshot| {
            let row = Delivery { signature: "0".repeat(64), offset: -1, ..snapshot.deliveries[place].clone() };
            snapshot.deliveries.push(row);
        });
        assert!(matches!(forged.first(), Some(Difference::Invented { .. })), "{forged:?}");
        let job = mine.job_facts.iter().position(|row| is_mine(&row.job_id) && row.finished_at.is_some()).unwrap();
        let key = BY_MINUTE.key_of(&mine.job_facts[job]).unwrap();
        let stale = found(&|snapshot| {
            let row = snapshot.job_stats.iter_mut().find(|row| row.key() == key).unwrap();
            row.completed += 1;
        });
        assert!(matches!(&*stale, [Difference::Column { column, .. }] if column == "completed"), "{stale:?}");
    }
}
