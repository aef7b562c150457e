//! When a delivery is tried again, and which second is signed then. The provider doubles the wait after each attempt and gives up
//! after a day. Its cap and its jitter are published nowhere; ours are a minute and a fifth.

use std::time::Duration;

use hookline_schemas::provider::TOLERANCE_SECONDS;
use rand::{Rng, RngExt as _};

use crate::provider_time::ProviderTime;

/// How long an unacknowledged delivery is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// The longest time from the first attempt to the last.
    pub give_up_after: Duration,
}

impl Retry {
    /// The wait after `attempt`, which is counted from 1: 1 s, 2 s, 4 s and so on, and up to a fifth more at random. `None` where
    /// the next attempt would come after [`Retry::give_up_after`].
    pub fn wait(&self, attempt: u32, since_first: Duration, rng: &mut impl Rng) -> Option<Duration> {
        let doubled = Duration::from_secs(1_u64 << attempt.saturating_sub(1).min(32)).min(self.longest);
        let wait = doubled.mul_f64(rng.random_range(1.0..1.2));
        (since_first + wait <= self.give_up_after).then_some(wait)
    }
}

/// The Unix second to sign: that of the first attempt and the time that has passed since, so that a delay of the event stays the
/// same; but none that lies in the future, and none so old that the webhook would be refused as stale.
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
    fn no_attempt_comes_after_a_day() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        assert!(RETRY.wait(9, Duration::from_secs(24 * 3600 - 100), &mut rng).is_some());
        assert_eq!(RETRY.wait(9, Duration::from_secs(24 * 3600 - 30), &mut rng), None);
    }

    #[test]
    fn the_signed_second_is_neither_stale_nor_in_the_future() {
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
