//! Stores each stale delivery once, however often it is replayed: remembers the signatures of those that were stored.
//!
//! The map is bounded and lost at a restart; a delivery that it no longer knows is stored as a dead letter once more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hookline_schemas::signature::HexSignature;
use hookline_service::bounded_map::BoundedMap;

use crate::metrics::MapMetrics;

#[derive(Debug)]
pub struct StaleDeduplicator {
    /// The value says whether every in-sync replica has the dead letter; until then it is being stored.
    signatures: Mutex<BoundedMap<HexSignature, bool>>,
    metrics: MapMetrics,
}

#[derive(Debug)]
#[must_use]
pub enum StaleClaim<'d> {
    /// The caller has to store the delivery.
    Granted(PendingStale<'d>),
    /// Another request is storing the same delivery at this moment.
    BeingStored,
    AlreadyStored,
}

/// A stale delivery that is being stored. Dropped without [`PendingStale::mark_stored`], it can be claimed again.
#[derive(Debug)]
pub struct PendingStale<'d> {
    deduplicator: &'d StaleDeduplicator,
    signature: HexSignature,
    stored: bool,
}

impl StaleDeduplicator {
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { signatures: Mutex::new(BoundedMap::new(capacity)), metrics }
    }

    pub fn claim(&self, signature: HexSignature) -> StaleClaim<'_> {
        let mut signatures = self.lock();
        match signatures.get(&signature) {
            Some(true) => StaleClaim::AlreadyStored,
            Some(false) => StaleClaim::BeingStored,
            None => {
                let evicted = signatures.insert(signature, false);
                self.metrics.observe(signatures.len(), evicted);
                StaleClaim::Granted(PendingStale { deduplicator: self, signature, stored: false })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<HexSignature, bool>> {
        self.signatures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingStale<'_> {
    pub fn mark_stored(mut self) {
        self.stored = true;
    }
}

impl Drop for PendingStale<'_> {
    fn drop(&mut self) {
        let mut signatures = self.deduplicator.lock();
        let evicted = if self.stored {
            signatures.insert(self.signature, true)
        } else {
            signatures.remove(&self.signature);
            0
        };
        self.deduplicator.metrics.observe(signatures.len(), evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_signature_is_stored_once() {
        let deduplicator = StaleDeduplicator::new(10, MapMetrics::unregistered());
        let claim = || deduplicator.claim(HexSignature::parse(&[b'a'; 64]).unwrap());
        let StaleClaim::Granted(failing) = claim() else { panic!("nothing is stored yet") };
        assert!(matches!(claim(), StaleClaim::BeingStored));
        drop(failing);
        let StaleClaim::Granted(successful) = claim() else { panic!("the first attempt has failed") };
        successful.mark_stored();
        assert!(matches!(claim(), StaleClaim::AlreadyStored));
        assert_eq!(deduplicator.metrics.entries.get(), 1);
    }
}
