//! What outlives a request: first signed times of refused events, and signatures of stale ones. Both bounded, both lost
//! on a restart.

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::SignedAt;
use sha2::{Digest as _, Sha256};

use crate::metrics::MapMetrics;
use crate::sources::SourceKeys;
use hookline_service::bounded_map::BoundedMap;

/// The first signed times of authentic events that were refused with 503, by source and body.
#[derive(Debug)]
pub struct FirstTimes {
    map: Mutex<BoundedMap<[u8; 32], SignedAt>>,
    any: AtomicBool,
    metrics: MapMetrics,
}

/// The signatures of stale deliveries; the value says whether its dead letter is durable.
#[derive(Debug)]
pub struct StaleWindow {
    map: Mutex<BoundedMap<HexSignature, bool>>,
    metrics: MapMetrics,
}

/// A stale delivery that is being stored; forgotten again unless that succeeds.
#[derive(Debug)]
pub struct Claim<'w> {
    window: &'w StaleWindow,
    signature: HexSignature,
    durable: bool,
}

impl FirstTimes {
    /// Remembers up to `capacity` events.
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { map: Mutex::new(BoundedMap::new(capacity)), any: AtomicBool::new(false), metrics }
    }

    fn key(source: &SourceKeys, body: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(source.name.as_str()).chain_update([0]).chain_update(body).finalize().into()
    }

    /// When an event was first signed, as far as it was refused since.
    pub fn get(&self, source: &SourceKeys, body: &[u8]) -> Option<SignedAt> {
        // As long as nothing was refused, bodies are not hashed.
        self.any.load(Ordering::Relaxed).then(|| self.lock().get(&Self::key(source, body)).copied()).flatten()
    }

    /// An authentic event was refused for now.
    pub fn remember(&self, source: &SourceKeys, body: &[u8], signed_at: SignedAt) {
        let key = Self::key(source, body);
        let mut map = self.lock();
        let earliest = map.get(&key).map_or(signed_at, |known| signed_at.min(*known));
        let forgotten = map.insert(key, earliest);
        self.any.store(true, Ordering::Relaxed);
        self.metrics.observe(&map, forgotten);
    }

    /// The event is stored.
    pub fn forget(&self, source: &SourceKeys, body: &[u8]) {
        if self.any.load(Ordering::Relaxed) {
            let mut map = self.lock();
            map.remove(&Self::key(source, body));
            self.any.store(!map.is_empty(), Ordering::Relaxed);
            self.metrics.observe(&map, 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<[u8; 32], SignedAt>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StaleWindow {
    /// Remembers up to `capacity` signatures.
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { map: Mutex::new(BoundedMap::new(capacity)), metrics }
    }

    /// The right to store a stale delivery, or whether somebody has done so already (true) or is about to (false).
    pub fn claim(&self, signature: HexSignature) -> Result<Claim<'_>, bool> {
        let mut map = self.lock();
        if let Some(durable) = map.get(&signature) {
            return Err(*durable);
        }
        let forgotten = map.insert(signature, false);
        self.metrics.observe(&map, forgotten);
        Ok(Claim { window: self, signature, durable: false })
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<HexSignature, bool>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// The dead letter is durable.
    pub fn keep(&mut self) {
        self.durable = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut map = self.window.lock();
        if self.durable {
            map.insert(self.signature, true);
        } else {
            map.remove(&self.signature);
        }
        self.window.metrics.observe(&map, 0);
    }
}

impl MapMetrics {
    fn observe<K: Eq + Hash, V>(&self, map: &BoundedMap<K, V>, forgotten: usize) {
        self.remembered.set(i64::try_from(map.len()).unwrap_or(i64::MAX));
        self.forgotten.inc_by(forgotten as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus::{IntCounter, IntGauge};

    use super::*;
    use crate::sources::Sources;

    fn metrics() -> MapMetrics {
        MapMetrics { remembered: IntGauge::new("r", "r").unwrap(), forgotten: IntCounter::new("f", "f").unwrap() }
    }

    #[test]
    fn the_first_time_is_kept_until_the_event_is_stored() {
        let sources = Sources::read(&BTreeMap::new(), |_| Some("prod".into())).unwrap();
        let (source, first) = (sources.get("prod").unwrap(), FirstTimes::new(10, metrics()));
        assert_eq!(first.get(source, b"a"), None);
        for at in [9, 7, 8] {
            first.remember(source, b"a", SignedAt(at));
        }
        assert_eq!((first.get(source, b"a"), first.get(source, b"b")), (Some(SignedAt(7)), None));
        first.forget(source, b"a");
        assert_eq!(first.get(source, b"a"), None);
        assert_eq!(first.metrics.remembered.get(), 0);
    }

    #[test]
    fn a_stale_signature_is_stored_once() {
        let (window, signature) = (StaleWindow::new(10, metrics()), HexSignature::parse(&[b'a'; 64]).unwrap());
        let claim = window.claim(signature).unwrap();
        assert!(!window.claim(signature).unwrap_err(), "somebody is about to");
        drop(claim);
        window.claim(signature).unwrap().keep();
        assert!(window.claim(signature).unwrap_err(), "somebody has");
    }
}
