//! Stores each stale delivery once for each source, however often it is replayed: remembers the signatures of those that
//! were stored. Sources that share a secret may get the same delivery.
//!
//! The map is bounded and lost at a restart; a delivery that it no longer knows is stored as a dead letter once more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hookline_schemas::ids::Source;
use hookline_schemas::signature::HexSignature;
use hookline_service::bounded_map::BoundedMap;

use crate::metrics::MapMetrics;

#[derive(Debug)]
pub struct StaleDeduplicator {
    /// The value says whether every in-sync replica has the dead letter; until then it is being stored.
    signatures: Mutex<BoundedMap<StaleDelivery, bool>>,
    metrics: MapMetrics,
}

type StaleDelivery = (Source, HexSignature);

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
    delivery: StaleDelivery,
    stored: bool,
}

impl StaleDeduplicator {
    pub fn new(capacity: usize, metrics: MapMetrics) -> Self {
        Self { signatures: Mutex::new(BoundedMap::new(capacity)), metrics }
    }

    pub fn claim(&self, source: Source, signature: HexSignature) -> StaleClaim<'_> {
        let delivery = (source, signature);
        let mut signatures = self.lock();
        match signatures.get(&delivery) {
            Some(true) => StaleClaim::AlreadyStored,
            Some(false) => StaleClaim::BeingStored,
            None => {
                let evicted = signatures.insert(delivery.clone(), false);
                self.metrics.observe(signatures.len(), evicted);
                StaleClaim::Granted(PendingStale { deduplicator: self, delivery, stored: false })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BoundedMap<StaleDelivery, bool>> {
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
            signatures.insert(self.delivery.clone(), true)
        } else {
            signatures.remove(&self.delivery);
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
        let claim_of =
            |source| deduplicator.claim(Source::new(source).unwrap(), HexSignature::parse(&[b'a'; 64]).unwrap());
        let claim = || claim_of("prod");
        let StaleClaim::Granted(failing) = claim() else { panic!("nothing is stored yet") };
        assert!(matches!(claim(), StaleClaim::BeingStored));
        drop(failing);
        let StaleClaim::Granted(successful) = claim() else { panic!("the first attempt has failed") };
        successful.mark_stored();
        assert!(matches!(claim(), StaleClaim::AlreadyStored));
        assert_eq!(deduplicator.metrics.entries.get(), 1);
        assert!(matches!(claim_of("test"), StaleClaim::Granted(_)), "each source has its own deliveries");
    }
}
