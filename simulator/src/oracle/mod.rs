//! Holds the tables against the ledger. Pure: takes attempts and rows, returns the differences.
//!
//! It believes the ledger and the bytes in `deliveries`, and derives everything else anew, in its own way: a mistake
//! that it shared with the fold would never show.

pub mod difference;
mod fold;
mod receipts;
mod rollup;
pub mod rows;
pub mod tables;
mod times;

pub use self::difference::Difference;
use self::rows::{DeadLetter, Delivery, FactQuantiles, JobFacts, JobStats};
use crate::ledger::Attempt;

/// What is held against each other.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every attempt of everybody who sent.
    pub attempts: Vec<Attempt>,
    /// The table `deliveries`.
    pub deliveries: Vec<Delivery>,
    /// The table `dead_letters`.
    pub dead_letters: Vec<DeadLetter>,
    /// The view `job_facts`.
    pub job_facts: Vec<JobFacts>,
    /// Quantiles of its groups.
    pub quantiles: Vec<FactQuantiles>,
    /// The view `job_stats_by_minute`.
    pub job_stats: Vec<JobStats>,
}

impl Snapshot {
    /// Everything that is not as it should be.
    pub fn differences(&self) -> Vec<Difference> {
        let mut found = receipts::differences(&self.attempts, &self.deliveries, &self.dead_letters);
        found.extend(fold::differences(&self.deliveries, &self.job_facts));
        found.extend(times::differences(&self.attempts, &self.dead_letters, &self.job_facts));
        found.extend(rollup::differences(&self.job_facts, &self.quantiles, &self.job_stats));
        found
    }
}

#[cfg(test)]
mod tests;
