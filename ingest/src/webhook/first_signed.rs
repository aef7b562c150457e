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
    /// As long as nothing is remembered, requests neither hash what names their event nor take the lock.
    any: AtomicBool,
    metrics: MapMetrics,
}

/// What attempts of the same event have in common. Their signatures differ, and so may their bodies: the provider signs
/// the download URLs anew whenever it renders one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventIdentity<'a> {
    /// The provider has no event id: the type of an event and its job are what it advises to deduplicate by.
    Job { event_type: &'a str, job_id: &'a str },
    /// A body that names no job.
    Body(&'a [u8]),
}

/// An authentic event that is not stored yet. Dropped like that, which is what every refusal does, it leaves its signed
/// time behind for the next attempt.
#[derive(Debug)]
pub struct PendingEvent<'a> {
    times: &'a FirstSignedTimes,
    source: &'a str,
    event: EventIdentity<'a>,
    signed_at: SignedAt,
    stored: bool,
}

impl FirstSignedTimes {
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { times: Mutex::new(BoundedMap::new(capacity)), any: AtomicBool::new(false), metrics }
    }

    pub fn pending<'a>(&'a self, source: &'a str, event: EventIdentity<'a>, signed_at: SignedAt) -> PendingEvent<'a> {
        PendingEvent { times: self, source, event, signed_at, stored: false }
    }

    pub fn get(&self, source: &str, event: EventIdentity<'_>) -> Option<SignedAt> {
        self.any.load(Ordering::Relaxed).then(|| self.lock().get(&event.key(source)).copied()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<[u8; 32], SignedAt>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventIdentity<'_> {
    /// Hashes the parts. Neither a source nor a job id has a zero byte, so no two lists of parts are the same bytes.
    fn key(self, source: &str) -> [u8; 32] {
        let hash = Sha256::new().chain_update(source);
        match self {
            Self::Job { event_type, job_id } => {
                hash.chain_update([0, 1]).chain_update(job_id).chain_update([0]).chain_update(event_type)
            }
            Self::Body(body) => hash.chain_update([0, 2]).chain_update(body),
        }
        .finalize()
        .into()
    }
}

impl PendingEvent<'_> {
    /// When the earliest refused attempt was signed, if that was before this one.
    pub fn first_signed_at(&self) -> Option<SignedAt> {
        self.times.get(self.source, self.event).filter(|first| *first < self.signed_at)
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
        let key = self.event.key(self.source);
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

    const A: EventIdentity<'_> = EventIdentity::Job { event_type: "video.started", job_id: "a" };

    #[test]
    fn the_first_time_is_kept_until_the_event_is_stored() {
        let times = FirstSignedTimes::new(10, MapMetrics::unregistered());
        let pending = |at| times.pending("prod", A, SignedAt(at));
        assert_eq!(times.get("prod", A), None);
        for at in [9, 7, 8] {
            drop(pending(at));
        }
        assert_eq!(times.get("prod", A), Some(SignedAt(7)));
        assert_eq!(times.get("other", A), None, "each source has its own events");
        let last = pending(10);
        assert_eq!(last.first_signed_at(), Some(SignedAt(7)));
        last.mark_stored();
        assert_eq!(times.get("prod", A), None);
        assert_eq!(times.metrics.entries.get(), 0);
    }

    #[test]
    fn events_are_told_apart_by_type_and_job_or_else_by_body() {
        let times = FirstSignedTimes::new(10, MapMetrics::unregistered());
        drop(times.pending("prod", A, SignedAt(7)));
        for other in [
            EventIdentity::Job { event_type: "video.completed", job_id: "a" },
            EventIdentity::Job { event_type: "video.started", job_id: "b" },
            EventIdentity::Body(b"a\0video.started"),
        ] {
            assert_eq!(times.get("prod", other), None, "{other:?}");
        }
        drop(times.pending("prod", EventIdentity::Body(b"a"), SignedAt(8)));
        assert_eq!(times.get("prod", EventIdentity::Body(b"a")), Some(SignedAt(8)));
        assert_eq!(times.get("prod", EventIdentity::Body(b"b")), None);
    }
}
