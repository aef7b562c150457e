//! Reads the partitions of the plan, one after the other, and writes their records as the live group would.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::KafkaContext;
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, TopicPartitionList};
use serde::Serialize;
use tokio::runtime::Handle;

use super::inspect::Inspector;
use super::pace::Pace;
use super::plan::{PartitionRange, offsets};
use super::progress::{Progress, Repaired, StateFile};
use crate::batch::Batch;
use crate::batch::fold::fold;
use crate::batch::position::RecordPosition;
use crate::clickhouse::columns::Table;
use crate::config::BatchConfig;
use crate::expired::expired;
use crate::retry::Cancelled;
use crate::writer::{NotWritten, Writer};

pub const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the brokers may take to say where a log begins.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the readers of a replay share.
pub struct Shared {
    pub queue: Mutex<VecDeque<PartitionRange>>,
    pub progress: Mutex<Progress>,
    /// The first record of each partition whose row the table refuses: what is behind it was not replayed.
    pub stopped: Mutex<Vec<Position>>,
    pub state: StateFile,
    pub pace: Pace,
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

/// Runs on a thread of its own.
pub struct Reader<'s> {
    /// A consumer outside of any group, which commits nothing.
    pub consumer: BaseConsumer<KafkaContext>,
    pub writer: Writer,
    pub inspector: Inspector,
    pub shared: &'s Shared,
    /// Records with a dead letter that the table does not tell of.
    pub published: &'s HashSet<String>,
    pub runtime: Handle,
}

/// The created hours of a batch that is written. Their roll-up is stale once it goes, however the write ended: of a batch that
/// failed, some rows may be in.
struct Touched<'s> {
    shared: &'s Shared,
    hours: BTreeSet<i64>,
}

impl Drop for Touched<'_> {
    fn drop(&mut self) {
        self.shared.progress().dirty_hours.append(&mut self.hours);
    }
}

impl Shared {
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stopped(&self) -> MutexGuard<'_, Vec<Position>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not done yet of a range.
    fn left_of(&self, part: &PartitionRange) -> PartitionRange {
        let same = |known: &&PartitionRange| known.topic == part.topic && known.partition == part.partition;
        self.progress().parts.iter().find(same).unwrap_or(part).clone()
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
        let topic = Topic::named(&part.topic, &self.shared.topics)
            .context("this is no topic of the configured prefix, kafka.topic_prefix")?;
        let mut already_published = self.runtime.block_on(self.inspector.published_origins(part))?;
        already_published.extend(self.published.iter().cloned());
        self.begin_at(part, part.next)?;
        let mut is_end_confirmed = false;
        let mut batch = Batch::default();
        let (mut written, mut next) = (part.next, part.next);
        // Offsets that were not read, before records of the batch.
        let mut gaps: Vec<(Offset, Offset)> = Vec::new();
        while next < part.end && !self.shared.stop.is_cancelled() {
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) if message.offset() < next.0 => bail!(
                    "the log begins anew at {}, though the records before {} had been there: the brokers truncated it, and the \
                     plan means other records now; remove {} to begin again",
                    message.offset(),
                    next.0,
                    self.shared.state
                ),
                Some(Ok(message)) if message.offset() < part.end.0 => {
                    is_end_confirmed = false;
                    let position = RecordPosition::of(&message, topic);
                    if next < position.offset {
                        gaps.push((next, position.offset));
                    }
                    batch.push_message(position, &message);
                    next = Offset(position.offset.0 + 1);
                }
                // A leader that is new may not know the end yet up to which records were acknowledged. So an end is believed only from a
                // fetch that began after the leader had named one that the plan does not pass.
                Some(Err(KafkaError::PartitionEOF(_))) if !is_end_confirmed => {
                    self.wait_for_end(part)?;
                    self.begin_at(part, next)?;
                    is_end_confirmed = true;
                }
                // Retention or compaction removed the last records of the plan, or control records end it.
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => {
                    gaps.push((next, part.end));
                    next = part.end;
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => bail!("the consumer cannot go on: {code}"),
                // librdkafka tries again, and the consumer's context has logged why.
                Some(Err(_)) | None => {}
            }
            if batch.is_full(&self.shared.limits) || next >= part.end {
                let part = PartitionRange { next: written, end: next, ..part.clone() };
                let expired = self.expired(&part, &gaps)?;
                if !self.write(&part, topic, &batch, expired, &already_published)? {
                    break;
                }
                gaps.clear();
                written = next;
                batch.clear();
            }
        }
        Ok(())
    }

    fn begin_at(&self, part: &PartitionRange, next: Offset) -> anyhow::Result<()> {
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&part.topic, part.partition.0, rdkafka::Offset::Offset(next.0))?;
        Ok(self.consumer.assign(&start)?)
    }

    /// Waits until the leader knows the records up to the end of the plan.
    fn wait_for_end(&self, part: &PartitionRange) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let (_, end) = self.watermarks(part)?;
            if end >= part.end {
                return Ok(());
            }
            if began.elapsed() > TIMEOUT || self.shared.stop.is_cancelled() {
                bail!(
                    "the log ends at {}, before the end of the plan, {}: its leader does not know the records between, or the brokers \
                     truncated it; run the same command again to continue, or remove {} to begin again",
                    end.0,
                    part.end.0,
                    self.shared.state
                );
            }
            std::thread::sleep(POLL_TIMEOUT);
        }
    }

    /// The offsets at which the log begins and ends.
    fn watermarks(&self, part: &PartitionRange) -> anyhow::Result<(Offset, Offset)> {
        let watermarks = self.consumer.fetch_watermarks(&part.topic, part.partition.0, TIMEOUT);
        let (start, end) = watermarks.map_err(|error| anyhow::anyhow!(self.consumer.context().explain(&error)))?;
        Ok((Offset(start), Offset(end)))
    }

    /// Counts the offsets of the gaps that lie before the log's start: the others are control records, or were compacted.
    fn expired(&self, part: &PartitionRange, gaps: &[(Offset, Offset)]) -> anyhow::Result<u64> {
        if gaps.is_empty() {
            return Ok(0);
        }
        let (start, _) = self.watermarks(part)?;
        let expired = gaps.iter().filter_map(|(from, to)| expired(*from, *to, start));
        Ok(expired.map(|range| offsets(Offset(range.start), Offset(range.end))).sum())
    }

    /// Writes the records of `part` from `next` up to `end`, and saves what that repaired. Returns false where the table refuses
    /// a dead letter in every form: the part is done up to that record.
    fn write(
        &mut self,
        part: &PartitionRange,
        topic: Topic,
        batch: &Batch,
        expired: u64,
        already_published: &HashSet<String>,
    ) -> anyhow::Result<bool> {
        let folded = fold(batch);
        let table = match topic {
            Topic::Resource(_) => Table::Deliveries,
            Topic::DeadLetter => Table::DeadLetters,
        };
        let runtime = self.runtime.clone();
        let read = offsets(part.next, part.end);
        let mut repaired = Repaired { expired, ..Repaired::default() };
        let written = runtime.block_on(async {
            let present = self.inspector.present(table, part).await?;
            let missing = self.inspector.missing_facts(&folded).await?;
            (repaired.jobs, repaired.jobs_changed) = (missing.absent, missing.changed);
            let cancel = &self.shared.cancel;
            let hours = folded.jobs.iter().map(|job| job.key.created_hour.0).collect();
            let _touched = Touched { shared: self.shared, hours };
            // Also where nothing was read: the records of the plan may have gone together with their topic.
            let written = match self.writer.verify_logs(&[topic], cancel).await {
                Ok(()) => self.writer.write(batch, &folded, already_published, cancel).await,
                Err(error) => Err(error),
            };
            let written = written.map_err(|error| match error {
                NotWritten::Cancelled(cancelled) => anyhow::Error::from(cancelled),
                NotWritten::Log(error) => error.into(),
                no_witness @ NotWritten::NoWitness { .. } => no_witness.into(),
            })?;
            if present < batch.len() as u64 {
                let inserted = self.inspector.present(table, part).await?.saturating_sub(present);
                match table {
                    Table::DeadLetters => repaired.dead_letters = inserted,
                    Table::Jobs | Table::Deliveries => repaired.deliveries = inserted,
                }
            }
            anyhow::Ok(written)
        })?;
        repaired.dead_letters += written.dead_letters_published;
        let stopped = written.stopped.into_values().flatten().min();
        if let Some(offset) = stopped {
            // The records behind it are read again when the replay is continued.
            repaired.expired = 0;
            self.writer.forget_stopped_partitions();
            self.shared.stopped().push(Position { topic: part.topic.clone(), partition: part.partition, offset });
        }
        let mut progress = self.shared.progress();
        progress.advance(part, stopped.unwrap_or(part.end), repaired);
        self.shared.state.save(&progress)?;
        drop(progress);
        self.shared.bar.inc(read);
        let wait = self.shared.pace.take(batch.len(), Instant::now());
        let cancelled = self.shared.stop.cancelled();
        let _ = runtime.block_on(async { tokio::time::timeout(wait, cancelled).await });
        Ok(stopped.is_none())
    }
}
