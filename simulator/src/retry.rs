//! When to try again, and as of when to sign: the provider doubles the wait after each attempt and gives up after a day.
//! Cap and jitter are published nowhere; ours are a minute and a fifth.

use std::time::Duration;

use hookline_schemas::provider::TOLERANCE_SECONDS;
use rand::{Rng, RngExt as _};

use crate::provider_time::ProviderTime;

/// How an unacknowledged delivery is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// How long after the first attempt there may be another.
    pub give_up_after: Duration,
}

impl Retry {
    /// How long to wait after `attempt` (the first is 1), 1 s, 2 s, 4 s and so on with up to a fifth more; nothing if
    /// the delivery is given up.
    pub fn wait(&self, attempt: u32, since_first: Duration, rng: &mut impl Rng) -> Option<Duration> {
        let doubled = Duration::from_secs(1_u64 << attempt.saturating_sub(1).min(32)).min(self.longest);
        let wait = doubled.mul_f64(rng.random_range(1.0..1.2));
        (since_first + wait <= self.give_up_after).then_some(wait)
    }
}

/// The second to sign as of: that of the first attempt and what has passed since, as though the request had been under
/// way all the time; but never in the future, and never so old that it would be refused.
pub fn signing_second(first_signed_at: ProviderTime, since_first: Duration, now: ProviderTime) -> i64 {
    const MARGIN_SECONDS: i64 = 10;
    let oldest = now.second() - i64::from(TOLERANCE_SECONDS) + MARGIN_SECONDS;
    first_signed_at.after(since_first).second().max(oldest).min(now.second())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    const RETRY: Retry = Retry { longest: Duration::from_secs(60), give_up_after: Duration::from_secs(24 * 3600) };

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (7, 60.0), (1_000, 60.0)] {
            let wait = RETRY.wait(attempt, Duration::ZERO, &mut rng).unwrap().as_secs_f64();
            assert!((seconds..seconds * 1.2).contains(&wait), "attempt {attempt}: {wait}");
        }
    }

    #[test]
    fn a_day_is_enough() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        assert!(RETRY.wait(9, Duration::from_secs(24 * 3600 - 100), &mut rng).is_some());
        assert_eq!(RETRY.wait(9, Duration::from_secs(24 * 3600 - 30), &mut rng), None);
    }

    #[test]
    fn what_is_signed_is_neither_stale_nor_ahead() {
        let now = ProviderTime(1_786_699_613_589);
        let second = |ago: u64, passed: u64| {
            now.second() - signing_second(now.before(Duration::from_secs(ago)), Duration::from_secs(passed), now)
        };
        assert_eq!(second(0, 0), 0);
        assert_eq!(second(200, 0), 200);
        assert_eq!(second(200, 30), 170);
        assert_eq!(second(1_000, 30), 290);
        assert_eq!(second(10, 30), 0);
    }
}
