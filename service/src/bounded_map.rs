//! A map whose memory is bounded: it keeps the latest keys and drops the oldest.
//!
//! It is ours, not the crate `lru`, because the processor keeps millions of jobs in it: an entry takes about 35 bytes here,
//! and two pointers more in a linked list. In return keys are dropped by the half, not one by one, and reading a key does
//! not keep it longer.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Keeps at least the last half of `capacity` keys and never more than `capacity`: when the current generation is full, it
/// becomes the previous one, and the one before is dropped whole.
#[derive(Clone, Debug)]
pub struct BoundedMap<K, V, S = RandomState> {
    current: HashMap<K, V, S>,
    previous: HashMap<K, V, S>,
    generation: usize,
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> BoundedMap<K, V, S> {
    /// An empty map that never has more than `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self { current: HashMap::default(), previous: HashMap::default(), generation: (capacity / 2).max(1) }
    }

    /// The value of `key`, if it is still there.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.current.get(key).or_else(|| self.previous.get(key))
    }

    /// Inserts `value` and returns how many older keys were dropped for it.
    pub fn insert(&mut self, key: K, value: V) -> usize {
        self.previous.remove(&key);
        let mut dropped = 0;
        if self.current.len() >= self.generation && !self.current.contains_key(&key) {
            dropped = self.previous.len();
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(key, value);
        dropped
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.current.remove(key).or_else(|| self.previous.remove(key))
    }

    /// The number of keys in both generations.
    pub fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty() && self.previous.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay_and_memory_is_bounded() {
        let mut map: BoundedMap<i32, i32> = BoundedMap::new(10);
        for key in 0..1000 {
            map.insert(key, key);
            assert!(map.len() <= 10);
            for late in (key - 4).max(0)..=key {
                assert_eq!(map.get(&late), Some(&late));
            }
        }
        assert_eq!(map.get(&980), None);
    }

    #[test]
    fn a_key_is_there_once() {
        let mut map: BoundedMap<char, i32> = BoundedMap::new(2);
        assert_eq!(map.insert('a', 1), 0);
        assert_eq!(map.insert('b', 2), 0);
        assert_eq!(map.insert('a', 3), 0, "b is in the previous generation, a in the current one");
        assert_eq!((map.len(), map.get(&'a'), map.get(&'b')), (2, Some(&3), Some(&2)));
        assert_eq!(map.insert('c', 4), 1, "b is dropped");
        assert_eq!(map.remove(&'a'), Some(3));
        assert_eq!((map.len(), map.is_empty()), (1, false));
    }
}
