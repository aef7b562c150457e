//! Batches that wait for a witness (see [`crate::writer::insert`]), in the order in which they came. Later batches are written
//! meanwhile, for one of them may bring it. Nothing is committed past what waits: its offsets are not released (see
//! [`crate::consumer::offset_tracker`]).

use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::config::BatchConfig;

const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Held {
    limits: BatchConfig,
    batches: Vec<Batch>,
    delay: Duration,
    tried_at: Instant,
}

impl Held {
    pub fn new(limits: BatchConfig) -> Self {
        Self { limits, batches: Vec::new(), delay: MIN_DELAY, tried_at: Instant::now() }
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Keeps a batch that has to wait.
    pub fn push(&mut self, mut batch: Batch) {
        batch.shrink();
        if self.is_empty() {
            (self.delay, self.tried_at) = (MIN_DELAY, Instant::now());
        }
        self.batches.push(batch);
    }

    /// Whether the batches that wait take less memory than one batch may: then another may come.
    pub fn has_room(&self) -> bool {
        let records: usize = self.batches.iter().map(Batch::len).sum();
        let bytes: usize = self.batches.iter().map(Batch::bytes).sum();
        records < self.limits.max_rows && bytes < self.limits.max_bytes
    }

    /// How long until the batches that wait are due to be tried again.
    pub fn until_retry(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| self.delay.saturating_sub(self.tried_at.elapsed()))
    }

    /// Takes all that wait, to try them again; [`Held::keep`] brings back those that have to wait on.
    pub fn take(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Keeps what has to wait on, in the same order. The next try is the later, the longer none helps.
    pub fn keep(&mut self, batches: Vec<Batch>, is_progress: bool) {
        self.batches = batches;
        self.delay = if is_progress { MIN_DELAY } else { (self.delay * 2).min(MAX_DELAY) };
        self.tried_at = Instant::now();
    }

    /// Forgets everything: whoever has the partitions next reads again what was not committed.
    pub fn clear(&mut self) {
        self.batches = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::time::AppendedAt;
    use hookline_schemas::topics::{Offset, Partition, Topic};

    use super::*;
    use crate::batch::position::RecordPosition;

    fn batch(offset: i64) -> Batch {
        let mut batch = Batch::default();
        let (topic, partition) = (Topic::DeadLetter, Partition(0));
        let position = RecordPosition { topic, partition, offset: Offset(offset), appended_at: AppendedAt(0) };
        batch.push(position, b"k", b"b", std::iter::empty());
        batch
    }

    #[test]
    fn memory_is_bounded_by_the_limits_of_a_batch() {
        let mut held = Held::new(BatchConfig { max_rows: 2, ..BatchConfig::default() });
        assert!(held.has_room() && held.until_retry().is_none());
        held.push(batch(0));
        assert!(held.has_room() && held.until_retry().is_some());
        held.push(batch(1));
        assert!(!held.has_room());
        let mut waiting = held.take();
        waiting.truncate(1);
        held.keep(waiting, true);
        assert!(held.has_room() && !held.is_empty());
        held.clear();
        assert!(held.is_empty() && held.until_retry().is_none());
    }

    #[test]
    fn what_does_not_help_is_tried_less_often() {
        let mut held = Held::new(BatchConfig::default());
        held.push(batch(0));
        for _ in 0..5 {
            let waiting = held.take();
            held.keep(waiting, false);
        }
        assert_eq!(held.delay, MAX_DELAY);
        let waiting = held.take();
        held.keep(waiting, true);
        assert_eq!(held.delay, MIN_DELAY);
    }
}
