//! How many webhooks are handled at once, and how many bytes their bodies may have.
//!
//! Webhooks that their timestamp puts outside the tolerance have a capacity of their own. An authentic one becomes a dead
//! letter, while strangers who repeat an old timestamp cannot use up what the others need.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Limits;
use crate::http::body::BodyReader;
use crate::http::peer::TrustedProxies;
use crate::http::response::Unavailable;

pub struct Capacity {
    pub bodies: BodyReader,
    /// One permit for each request between its body and its response.
    in_flight: Semaphore,
    most_in_flight: usize,
    /// What is answered without a permit.
    full: Unavailable,
}

impl Capacity {
    pub fn new(limits: Limits, proxies: &TrustedProxies) -> Self {
        let Limits { body_bytes, queued_bytes, in_flight, .. } = limits;
        let bodies = BodyReader::new(body_bytes, queued_bytes, Unavailable::QueuedBytes, proxies.clone());
        Self { bodies, in_flight: Semaphore::new(in_flight), most_in_flight: in_flight, full: Unavailable::InFlight }
    }

    pub fn of_stale(limits: Limits, proxies: &TrustedProxies) -> Self {
        let (in_flight, full) = (limits.stale_in_flight(), Unavailable::StaleShare);
        let bodies = BodyReader::new(limits.body_bytes, limits.stale_queued_bytes(), full, proxies.clone());
        Self { bodies, in_flight: Semaphore::new(in_flight), most_in_flight: in_flight, full }
    }

    pub fn admit(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        self.in_flight.try_acquire().map_err(|_| self.full)
    }

    pub fn in_flight(&self) -> usize {
        self.most_in_flight - self.in_flight.available_permits()
    }
}
