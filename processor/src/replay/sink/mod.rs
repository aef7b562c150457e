//! Where a replay puts the records that it read.

pub mod archive;
pub mod kafka;

use std::collections::BTreeSet;

use hookline_schemas::topics::Offset;

use super::plan::PartitionRange;
use super::progress::{LeftOut, Repaired};
use super::read::Shared;
use super::source::Page;
use crate::batch::Batch;
use crate::batch::fold::Folded;

/// Writes the batches of a reader. It belongs to the reader's thread, which it may block.
pub trait Sink {
    /// Gets ready for the pages of a part.
    fn begin(&mut self, part: &PartitionRange) -> anyhow::Result<()>;

    /// Writes a page: the records of `part` from its `next` up to its `end`. Returns once all of it is in the tables, or says where
    /// it stopped.
    fn write(
        &mut self,
        part: &PartitionRange,
        page: &Page,
        batch: &Batch,
        folded: &Folded<'_>,
    ) -> anyhow::Result<PageWritten>;
}

/// What became of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageWritten {
    pub repaired: Repaired,
    pub left_out: LeftOut,
    /// The first record that the tables refuse in every form: what is behind it is not done.
    pub stopped: Option<Offset>,
}

/// The created hours of a batch that is written. Their roll-up is stale once it goes, however the write ended: of a batch that
/// failed, some rows may be in.
pub struct Touched<'s> {
    shared: &'s Shared,
    hours: BTreeSet<i64>,
}

impl<'s> Touched<'s> {
    pub fn new(shared: &'s Shared, folded: &Folded<'_>) -> Self {
        Self { shared, hours: folded.jobs.iter().map(|job| job.key.created_hour.0).collect() }
    }
}

impl Drop for Touched<'_> {
    fn drop(&mut self) {
        self.shared.progress().dirty_hours.append(&mut self.hours);
    }
}
