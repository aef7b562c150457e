//! A rate limit that all readers of a replay share, so that live work is not starved.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Pace {
    per_record: Duration,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// Allows `rate` records a second; 0 means no limit.
    pub fn new(rate: u32) -> Self {
        let per_record = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        Self { per_record, free_at: Mutex::new(Instant::now()) }
    }

    /// Reserves the time of these records, and returns how long to wait before the next.
    pub fn take(&self, records: usize, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + self.per_record * u32::try_from(records).unwrap_or(u32::MAX);
        free_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_the_rate() {
        let pace = Pace::new(1_000);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(pace.take(500, now), Duration::from_millis(500));
        assert_eq!(pace.take(500, now), Duration::from_secs(1), "the second waits for the first");
        assert_eq!(pace.take(100, now + Duration::from_secs(5)), Duration::from_millis(100), "no credit for idling");
        assert_eq!(Pace::new(0).take(1_000_000, now), Duration::ZERO);
    }
}
