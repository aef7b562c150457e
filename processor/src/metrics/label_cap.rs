//! A label whose values come from webhooks, bounded: each value is a series that Prometheus has to keep.

use std::collections::HashSet;

/// The first values of a label, up to a number; a value that comes after them, or is very long, becomes `other`.
#[derive(Clone, Debug)]
pub struct CappedLabel {
    known: HashSet<Box<str>>,
    max: usize,
}

impl CappedLabel {
    const MAX_BYTES: usize = 64;
    const OTHER: &str = "other";

    pub fn new(max: usize) -> Self {
        Self { known: HashSet::new(), max }
    }

    /// The value, or `other` in its place.
    pub fn label<'v>(&mut self, value: &'v str) -> &'v str {
        if self.known.contains(value) {
            return value;
        }
        if self.known.len() >= self.max || value.len() > Self::MAX_BYTES {
            return Self::OTHER;
        }
        self.known.insert(value.into());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_capped() {
        let mut capped = CappedLabel::new(2);
        assert_eq!(["a", "b", "c", "a"].map(|value| capped.label(value)), ["a", "b", "other", "a"]);
        assert_eq!(CappedLabel::new(9).label(&"x".repeat(65)), "other");
    }
}
