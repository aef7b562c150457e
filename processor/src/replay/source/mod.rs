//! Where a replay reads records from: the topics, or the archive, which is the table `deliveries`.
//!
//! Both are planned as ranges of offsets in a log, so that all else is the same for the two: the selection, the progress, the
//! rate and the report. Which of them a part is read from stands in the part.

pub mod archive;
pub mod archive_plan;
pub mod kafka;
pub mod kafka_plan;

use hookline_schemas::topics::{Offset, Topics};
use hookline_service::shutdown::CancellationToken;
use serde::{Deserialize, Serialize};

use super::plan::PartitionRange;
use crate::batch::Batch;
use crate::config::BatchConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SourceKind {
    /// The topics, as far back as Kafka keeps them
    Kafka,
    /// The archive: the signed bytes in the table deliveries, whichever cluster or topic they came from
    Deliveries,
}

/// What a source needs of whoever reads from it.
#[derive(Clone, Copy)]
pub struct Reading<'s> {
    /// When a page is full.
    pub limits: &'s BatchConfig,
    pub topics: &'s Topics,
    pub stop: &'s CancellationToken,
    /// What to remove where the offsets mean other records now.
    pub state: &'s (dyn std::fmt::Display + Sync),
}

/// Reads parts of a plan, one after the other. It belongs to one reader's thread, which it may block.
pub trait Source {
    /// Goes to the `next` of a part.
    fn begin(&mut self, part: &PartitionRange) -> anyhow::Result<()>;

    /// Adds records of the part that was begun to an empty batch, until that is full, the part is at its end, or the replay is
    /// stopped. The next page begins where this one ends.
    fn read_page(&mut self, part: &PartitionRange, batch: &mut Batch) -> anyhow::Result<Page>;
}

/// What a batch has of a part, beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The offset after the last one that was read.
    pub next: Offset,
    /// Offsets before it that retention removed before they were read.
    pub expired: u64,
    /// What the archive says of its records besides the signed bytes, in the order of their offsets.
    pub archived: Vec<ArchivedColumns>,
    /// Records of the archive that cannot be what ingest verified: a column of theirs has no value that it could have.
    pub damaged: u64,
}

impl Page {
    pub fn up_to(next: Offset) -> Self {
        Self { next, expired: 0, archived: Vec::new(), damaged: 0 }
    }
}

/// The columns of a row of `deliveries` that were parsed from its body. Where they are not those of today's decoder, the row has to
/// be written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedColumns {
    pub offset: Offset,
    /// `None` where the record has several rows and they differ.
    pub digest: Option<u64>,
}
