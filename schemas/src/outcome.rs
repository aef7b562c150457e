//! What follows from the facts of a job and is never stored as one: outcome, durations, contradictions. The view
//! `job_facts` says the same in SQL.

use crate::facts::Facts;
use crate::time::OccurredAt;

/// How a job ended, as far as its events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// No terminal event was seen so far.
    Open,
    /// The job completed, whatever else was said.
    Completed,
    /// The job failed, and nothing says that it completed.
    Errored,
}

impl Outcome {
    /// Each outcome once, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Errored, Self::Open];

    /// The text in views and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What follows from the facts. Durations are in milliseconds; a missing or contradictory part gives `None`, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// How the job ended: completed beats errored.
    pub outcome: Outcome,
    /// When the event happened that the outcome follows from.
    pub finished_at: Option<OccurredAt>,
    /// Milliseconds from `created_at` to `finished_at`.
    pub total_ms: Option<i64>,
    /// Milliseconds from `started_at` to `finished_at`.
    pub run_ms: Option<i64>,
    /// Milliseconds from `created_at` to `started_at`.
    pub queue_ms: Option<i64>,
    /// Both `completed` and `errored` were seen.
    pub contradicts_outcome: bool,
    /// Some time lies before one that it must follow.
    pub contradicts_order: bool,
    /// The job errored and was charged all the same, which the provider rules out.
    pub contradicts_charged: bool,
}

impl Derived {
    /// Derives everything from the facts that are known so far.
    pub fn from(facts: &Facts<'_>) -> Self {
        let (outcome, finished_at) = match (facts.completed_at, facts.errored_at) {
            (Some(at), _) => (Outcome::Completed, Some(at)),
            (None, Some(at)) => (Outcome::Errored, Some(at)),
            (None, None) => (Outcome::Open, None),
        };
        let created = facts.created_at.0;
        let (started, finished) = (facts.started_at.map(|at| at.0), finished_at.map(|at| at.0));
        let run = started.zip(finished).map(|(started, finished)| finished - started);
        let queue = started.map(|started| started - created);
        let total = finished.map(|finished| finished - created);
        let negative = |duration: Option<i64>| duration.is_some_and(|milliseconds| milliseconds < 0);
        let known = |duration: Option<i64>| duration.filter(|milliseconds| *milliseconds >= 0);
        Self {
            outcome,
            finished_at,
            total_ms: known(total),
            run_ms: known(run),
            queue_ms: known(queue).filter(|_| !negative(run)),
            contradicts_outcome: facts.completed_at.is_some() && facts.errored_at.is_some(),
            contradicts_order: negative(run) || negative(queue) || negative(total),
            contradicts_charged: outcome == Outcome::Errored
                && facts.credits_errored.is_some_and(|credits| credits > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::CreatedAt;

    fn facts(started: Option<i64>, completed: Option<i64>, errored: Option<i64>) -> Facts<'static> {
        Facts {
            created_at: CreatedAt(1_000),
            started_at: started.map(OccurredAt),
            completed_at: completed.map(OccurredAt),
            errored_at: errored.map(OccurredAt),
            ..Facts::default()
        }
    }

    fn durations(facts: &Facts<'_>) -> (Option<i64>, Option<i64>, Option<i64>) {
        let derived = Derived::from(facts);
        (derived.total_ms, derived.run_ms, derived.queue_ms)
    }

    #[test]
    fn durations_need_both_ends() {
        assert_eq!(durations(&facts(Some(1_500), Some(4_000), None)), (Some(3_000), Some(2_500), Some(500)));
        assert_eq!(durations(&facts(None, Some(4_000), None)), (Some(3_000), None, None));
        assert_eq!(durations(&facts(Some(1_500), None, None)), (None, None, Some(500)));
    }

    #[test]
    fn completed_beats_errored() {
        let both = Derived::from(&facts(None, Some(4_000), Some(2_000)));
        assert_eq!((both.outcome, both.finished_at), (Outcome::Completed, Some(OccurredAt(4_000))));
        assert!(both.contradicts_outcome);
        assert_eq!(Derived::from(&facts(None, None, Some(2_000))).outcome, Outcome::Errored);
        assert_eq!(Derived::from(&facts(Some(1_500), None, None)).outcome, Outcome::Open);
    }

    #[test]
    fn a_contradiction_gives_no_number() {
        for (facts, expected) in [
            (facts(Some(5_000), Some(4_000), None), (Some(3_000), None, None)),
            (facts(Some(500), Some(4_000), None), (Some(3_000), Some(3_500), None)),
            (facts(None, Some(500), None), (None, None, None)),
        ] {
            assert_eq!(durations(&facts), expected);
            assert!(Derived::from(&facts).contradicts_order);
        }
        assert!(!Derived::from(&facts(Some(1_000), Some(1_000), None)).contradicts_order);
    }

    #[test]
    fn a_failed_job_is_not_charged() {
        let charged = Facts { credits_errored: Some(1), ..facts(None, None, Some(2_000)) };
        assert!(Derived::from(&charged).contradicts_charged);
        assert!(!Derived::from(&Facts { completed_at: Some(OccurredAt(2_000)), ..charged }).contradicts_charged);
    }
}
