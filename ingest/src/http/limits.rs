//! How much is taken on at once: requests in flight, and the bytes of their bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts up to a limit.
#[derive(Clone, Debug)]
pub struct Bound(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    now: AtomicUsize,
    limit: usize,
}

/// A share of a [`Bound`], given back when dropped.
#[derive(Debug)]
pub struct Share {
    of: Bound,
    amount: usize,
}

impl Bound {
    /// Nothing is taken.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counted { now: AtomicUsize::new(0), limit }))
    }

    /// Takes `amount`, unless that were more than the limit.
    pub fn take(&self, amount: usize) -> Option<Share> {
        let mut share = Share { of: self.clone(), amount: 0 };
        share.grow(amount).then_some(share)
    }

    /// What is taken now.
    pub fn taken(&self) -> usize {
        self.0.now.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes `amount` more, unless that were more than the limit.
    #[must_use]
    pub fn grow(&mut self, amount: usize) -> bool {
        let Counted { now, limit } = &*self.of.0;
        let within = now.fetch_add(amount, Ordering::Relaxed).saturating_add(amount) <= *limit;
        if within {
            self.amount += amount;
        } else {
            now.fetch_sub(amount, Ordering::Relaxed);
        }
        within
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.now.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let bound = Bound::new(10);
        let mut share = bound.take(6).unwrap();
        assert!(bound.take(5).is_none());
        assert!(share.grow(4));
        assert!(!share.grow(1));
        assert_eq!(bound.taken(), 10);
        drop(share);
        assert_eq!(bound.taken(), 0);
    }
}
