//! A map that remembers the latest keys and forgets older ones, so that its memory is bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Remembers at least the last half of `capacity` keys and never more than `capacity`: two generations, of which the
/// older is dropped whole.
#[derive(Clone, Debug)]
pub struct BoundedMap<K, V, S = RandomState> {
    young: HashMap<K, V, S>,
    old: HashMap<K, V, S>,
    generation: usize,
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> BoundedMap<K, V, S> {
    /// Remembers nothing yet.
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), generation: (capacity / 2).max(1) }
    }

    /// What is known of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Remembers `value`; returns how many older keys were forgotten for it.
    pub fn insert(&mut self, key: K, value: V) -> usize {
        self.old.remove(&key);
        let mut forgotten = 0;
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            forgotten = self.old.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
        forgotten
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay_and_memory_is_bounded() {
        let mut recent: BoundedMap<i32, i32> = BoundedMap::new(10);
        for key in 0..1000 {
            recent.insert(key, key);
            assert!(recent.len() <= 10);
            for late in (key - 4).max(0)..=key {
                assert_eq!(recent.get(&late), Some(&late));
            }
        }
        assert_eq!(recent.get(&980), None);
    }

    #[test]
    fn a_key_is_there_once() {
        let mut recent: BoundedMap<char, i32> = BoundedMap::new(2);
        assert_eq!(recent.insert('a', 1), 0);
        assert_eq!(recent.insert('b', 2), 0);
        assert_eq!(recent.insert('a', 3), 0, "b grows old, a is young again");
        assert_eq!((recent.len(), recent.get(&'a'), recent.get(&'b')), (2, Some(&3), Some(&2)));
        assert_eq!(recent.insert('c', 4), 1, "b is forgotten");
        assert_eq!(recent.remove(&'a'), Some(3));
        assert_eq!((recent.len(), recent.is_empty()), (1, false));
    }
}
