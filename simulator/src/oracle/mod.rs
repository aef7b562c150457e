//! Compares the tables with the ledger: takes attempts and rows, and returns the differences.
//!
//! It takes the ledger and the bodies in `deliveries` as the truth, and derives everything else anew, in its own way: a mistake
//! that it shared with the processor would never show.

pub mod difference;
mod fold;
mod provider_json;
mod receipts;
mod rollup;
pub mod rows;
mod scope;
pub mod tables;
mod times;

pub use self::difference::Difference;
use self::rows::{DeadLetter, Delivery, FactQuantiles, JobFacts, JobStats, Redrive};
use crate::ledger::Attempt;

/// The ledger, and everything that the tables held at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every attempt of everybody who sent webhooks to this pipeline.
    pub attempts: Vec<Attempt>,
    pub deliveries: Vec<Delivery>,
    pub dead_letters: Vec<DeadLetter>,
    pub redrives: Vec<Redrive>,
    /// The rows of the view `job_facts`.
    pub job_facts: Vec<JobFacts>,
    /// Rows of jobs that are in no ledger, which the roll-up counts together with others that are.
    pub other_job_facts: Vec<JobFacts>,
    /// The quantiles of `job_facts`, grouped as `job_stats_by_minute` is.
    pub quantiles: Vec<FactQuantiles>,
    /// The rows of the view `job_stats_by_minute`.
    pub job_stats: Vec<JobStats>,
    /// The quantiles of `job_facts`, grouped as `job_stats_by_hour` is.
    pub hourly_quantiles: Vec<FactQuantiles>,
    /// The rows of the view `job_stats_by_hour`.
    pub hourly_job_stats: Vec<JobStats>,
}

impl Snapshot {
    /// Finds every row and every column that does not follow from the ledger and the bodies.
    pub fn differences(&self) -> Vec<Difference> {
        let mut found = receipts::differences(&self.attempts, &self.deliveries, &self.dead_letters, &self.redrives);
        found.extend(fold::differences(&self.deliveries, &self.job_facts));
        found.extend(times::differences(&self.attempts, &self.dead_letters, &self.redrives, &self.job_facts));
        let minutes = (&self.quantiles, &self.job_stats);
        let hours = (&self.hourly_quantiles, &self.hourly_job_stats);
        for (resolution, (quantiles, job_stats)) in [(rollup::BY_MINUTE, minutes), (rollup::BY_HOUR, hours)] {
            let job_facts = (&*self.job_facts, &*self.other_job_facts);
            found.extend(rollup::differences(resolution, job_facts, quantiles, job_stats));
        }
        found
    }
}

#[cfg(test)]
mod tests;
