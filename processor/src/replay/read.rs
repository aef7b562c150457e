//! Reads the parts of the plan, one after the other, and writes their records.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use hookline_schemas::topics::{Offset, Partition, Topics};
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::runtime::Handle;

use super::give_way::GiveWay;
use super::pace::Pace;
use super::plan::{PartitionRange, offsets};
use super::progress::{LeftOut, Progress};
use super::sink::Sink;
use super::source::{Page, Reading, Source, SourceKind};
use super::verify::Verifier;
use crate::batch::Batch;
use crate::batch::fold::fold;
use crate::config::BatchConfig;
use crate::retry::Cancelled;
use crate::state_file::StateFile;
use crate::writer::NotWritten;

/// What the readers of a replay share.
pub struct Shared {
    pub queue: Mutex<VecDeque<PartitionRange>>,
    pub progress: Mutex<Progress>,
    /// The first record of each partition whose row the table refuses: what is behind it was not replayed.
    pub stopped: Mutex<Vec<Position>>,
    pub state: StateFile,
    pub pace: Pace,
    pub give_way: GiveWay,
    /// Checks every signature, where that is asked for.
    pub verifier: Option<Verifier>,
    pub bar: ProgressBar,
    pub limits: BatchConfig,
    pub topics: Topics,
    /// Nothing more is read: a signal came, or a reader failed. A batch that is being written is finished.
    pub stop: CancellationToken,
    /// What is being written or asked for is dropped, because it takes too long after `stop`.
    pub cancel: CancellationToken,
}

/// The position of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    pub topic: String,
    pub partition: Partition,
    pub offset: Offset,
}

/// Where the parts of one source are read from, and where their records go.
pub struct Lane<'s> {
    pub source: Box<dyn Source + Send + 's>,
    pub sink: Box<dyn Sink + Send + 's>,
}

/// Runs on a thread of its own.
pub struct Reader<'s> {
    /// Of the sources that the plan names.
    pub kafka: Option<Lane<'s>>,
    pub archive: Option<Lane<'s>>,
    pub shared: &'s Shared,
    pub runtime: Handle,
}

impl Shared {
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn reading(&self) -> Reading<'_> {
        Reading { limits: &self.limits, topics: &self.topics, stop: &self.stop, state: &self.state }
    }

    pub fn stopped(&self) -> MutexGuard<'_, Vec<Position>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not done yet of a range.
    fn left_of(&self, part: &PartitionRange) -> PartitionRange {
        self.progress().parts.iter().find(|known| part.is_part_of(known)).unwrap_or(part).clone()
    }

    /// Gives the next range, unless the replay is stopped.
    fn next_part(&self) -> Option<PartitionRange> {
        if self.stop.is_cancelled() {
            return None;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Adds the partition to an error; that the replay is stopped is none.
fn not_cancelled(read: anyhow::Result<()>, part: &PartitionRange) -> anyhow::Result<()> {
    match read {
        Err(error) if !error.is::<Cancelled>() => Err(error.context(format!("{}/{}", part.topic, part.partition.0))),
        _ => Ok(()),
    }
}

impl Reader<'_> {
    /// Reads until nothing is left or the replay is stopped.
    pub fn run(mut self) -> anyhow::Result<()> {
        // Rows of other partitions may be the witness beside which a row here can be judged.
        let mut without_witness = Vec::new();
        while let Some(part) = self.shared.next_part() {
            let read = self.read(&part);
            if matches!(&read, Err(error) if error.is::<NotWritten>()) {
                without_witness.push(part);
            } else {
                not_cancelled(read, &part)?;
            }
        }
        for part in without_witness {
            not_cancelled(self.read(&self.shared.left_of(&part)), &part)?;
        }
        Ok(())
    }

    fn read(&mut self, part: &PartitionRange) -> anyhow::Result<()> {
        let (shared, runtime) = (self.shared, self.runtime.clone());
        let lane = match part.source {
            SourceKind::Kafka => &mut self.kafka,
            SourceKind::Deliveries => &mut self.archive,
        };
        let lane = lane.as_mut().with_context(|| format!("the plan does not read from {}", part.source))?;
        lane.sink.begin(part)?;
        lane.source.begin(part)?;
        let mut batch = Batch::default();
        let mut written = part.next;
        while written < part.end {
            runtime.block_on(shared.give_way.wait(&shared.stop));
            let page = lane.source.read_page(part, &mut batch)?;
            if shared.stop.is_cancelled() && page.next < part.end && !batch.is_full(&shared.limits) {
                break;
            }
            let left_out =
                shared.verifier.as_ref().map_or_else(LeftOut::default, |verifier| verifier.retain_valid(&mut batch));
            let page_range = PartitionRange { next: written, end: page.next, ..part.clone() };
            if !write(lane.sink.as_mut(), shared, &page_range, &page, (&batch, left_out), &runtime)? {
                break;
            }
            written = page.next;
            batch.clear();
            if shared.stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes the records of `part` from `next` up to `end`, but for those that are left out, and saves what that repaired. Returns false where the table refuses a
/// record in every form: the part is done up to that record.
fn write(
    sink: &mut dyn Sink,
    shared: &Shared,
    part: &PartitionRange,
    page: &Page,
    (batch, mut left_out): (&Batch, LeftOut),
    runtime: &Handle,
) -> anyhow::Result<bool> {
    let written = sink.write(part, page, batch, &fold(batch))?;
    left_out.add(written.left_out);
    if let Some(offset) = written.stopped {
        shared.stopped().push(Position { topic: part.topic.clone(), partition: part.partition, offset });
    }
    let mut progress = shared.progress();
    progress.advance(part, written.stopped.unwrap_or(part.end), written.repaired, left_out);
    shared.state.save(&*progress)?;
    drop(progress);
    shared.bar.inc(offsets(part.next, part.end));
    let wait = shared.pace.take(batch.len(), Instant::now());
    let cancelled = shared.stop.cancelled();
    let _ = runtime.block_on(async { tokio::time::timeout(wait, cancelled).await });
    Ok(written.stopped.is_none())
}
