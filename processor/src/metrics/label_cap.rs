//! Labels of metrics are bounded, whatever webhooks say.

use std::collections::HashSet;

/// Values of a label, up to a number: what comes after them, or is very long, becomes `other`.
#[derive(Clone, Debug)]
pub struct CappedLabel {
    known: HashSet<Box<str>>,
    most: usize,
}

impl CappedLabel {
    const LONGEST: usize = 64;
    const OTHER: &str = "other";

    /// Knows none yet, and up to so many.
    pub fn new(most: usize) -> Self {
        Self { known: HashSet::new(), most }
    }

    /// The value, or what stands for it.
    pub fn label<'v>(&mut self, value: &'v str) -> &'v str {
        if self.known.contains(value) {
            return value;
        }
        if self.known.len() >= self.most || value.len() > Self::LONGEST {
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
