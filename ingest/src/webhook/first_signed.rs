//! Remembers when an event was first signed while its attempts are refused with 503. The attempt that is stored in the
//! end carries that time, which is the nearest to when the event happened: an outage does not make a short job look
//! long.
//!
//! The map is bounded and lost at a restart. An event that it no longer knows is stored with the time of its own
//! attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hookline_schemas::time::SignedAt;
use hookline_service::bounded_map::BoundedMap;
use sha2::{Digest as _, Sha256};

use crate::metrics::MapMetrics;

#[derive(Debug)]
pub struct FirstSignedTimes {
    times: Mutex<BoundedMap<[u8; 32], SignedAt>>,
    /// As long as nothing is remembered, requests neither hash their bodies nor take the lock.
    any: AtomicBool,
    metrics: MapMetrics,
}

/// An authentic event that is not stored yet. Dropped like that, which is what every refusal does, it leaves its signed
/// time behind for the next attempt.
#[derive(Debug)]
pub struct PendingEvent<'a> {
    times: &'a FirstSignedTimes,
    source: &'a str,
    body: &'a [u8],
    signed_at: SignedAt,
    stored: bool,
}

impl FirstSignedTimes {
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { times: Mutex::new(BoundedMap::new(capacity)), any: AtomicBool::new(false), metrics }
    }

    pub fn pending<'a>(&'a self, source: &'a str, body: &'a [u8], signed_at: SignedAt) -> PendingEvent<'a> {
        PendingEvent { times: self, source, body, signed_at, stored: false }
    }

    pub fn get(&self, source: &str, body: &[u8]) -> Option<SignedAt> {
        self.any.load(Ordering::Relaxed).then(|| self.lock().get(&key(source, body)).copied()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<[u8; 32], SignedAt>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Attempts of the same event have the same body; their signatures differ.
fn key(source: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(source).chain_update([0]).chain_update(body).finalize().into()
}

impl PendingEvent<'_> {
    /// When the earliest refused attempt was signed, if that was before this one.
    pub fn first_signed_at(&self) -> Option<SignedAt> {
        self.times.get(self.source, self.body).filter(|first| *first < self.signed_at)
    }

    pub fn mark_stored(mut self) {
        self.stored = true;
    }
}

impl Drop for PendingEvent<'_> {
    fn drop(&mut self) {
        let FirstSignedTimes { any, metrics, .. } = self.times;
        if self.stored && !any.load(Ordering::Relaxed) {
            return;
        }
        let key = key(self.source, self.body);
        let mut times = self.times.lock();
        let evicted = if self.stored {
            times.remove(&key);
            0
        } else {
            let earliest = times.get(&key).map_or(self.signed_at, |known| self.signed_at.min(*known));
            times.insert(key, earliest)
        };
        any.store(!times.is_empty(), Ordering::Relaxed);
        metrics.observe(times.len(), evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_kept_until_the_event_is_stored() {
        let times = FirstSignedTimes::new(10, MapMetrics::unregistered());
        let pending = |at| times.pending("prod", b"a", SignedAt(at));
        assert_eq!(times.get("prod", b"a"), None);
        for at in [9, 7, 8] {
            drop(pending(at));
        }
        assert_eq!((times.get("prod", b"a"), times.get("prod", b"b")), (Some(SignedAt(7)), None));
        assert_eq!(times.get("other", b"a"), None, "each source has its own events");
        let last = pending(10);
        assert_eq!(last.first_signed_at(), Some(SignedAt(7)));
        last.mark_stored();
        assert_eq!(times.get("prod", b"a"), None);
        assert_eq!(times.metrics.entries.get(), 0);
    }
}
