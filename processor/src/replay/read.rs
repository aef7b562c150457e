//! Reads parts of the plan, one after the other, and writes them as the live group would.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio::runtime::Handle;

use super::inspect::Inspector;
use super::pace::Pace;
use super::plan::PartitionRange;
use super::progress::{File, Progress, Repaired};
use crate::batch::Batch;
use crate::batch::fold::{Folded, fold};
use crate::batch::position::RecordPosition;
use crate::clickhouse::columns::Table;
use crate::config::BatchConfig;
use crate::writer::Writer;

const POLL: Duration = Duration::from_millis(100);

/// What the readers of a replay share.
pub struct Shared {
    /// Parts that nobody reads yet.
    pub queue: Mutex<VecDeque<PartitionRange>>,
    /// How far everything is.
    pub progress: Mutex<Progress>,
    /// Where that is kept.
    pub file: File,
    /// How fast it may go.
    pub pace: Pace,
    /// What a person sees of it.
    pub bar: ProgressBar,
    /// When a batch is full.
    pub limits: BatchConfig,
    /// Names of topics.
    pub topics: Topics,
    /// The word to stop.
    pub shutdown: CancellationToken,
}

/// One reader, on a thread of its own.
pub struct Reader<'s> {
    /// Without a group: it commits nothing.
    pub consumer: BaseConsumer,
    /// The tables.
    pub writer: Writer,
    /// Asks what they lack.
    pub inspector: Inspector,
    /// The others.
    pub shared: &'s Shared,
    /// For what waits.
    pub runtime: Handle,
}

impl Shared {
    /// How far everything is.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_part(&self) -> Option<PartitionRange> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Reader<'_> {
    /// Reads until nothing is left, or the word to stop.
    pub fn run(mut self) -> anyhow::Result<()> {
        while let Some(part) = self.shared.next_part() {
            self.read(&part).with_context(|| format!("{}/{}", part.topic, part.partition))?;
            if self.shared.shutdown.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, part: &PartitionRange) -> anyhow::Result<()> {
        let topic = Topic::named(&part.topic, &self.shared.topics).context("not a topic of this prefix")?;
        self.writer.post.spare(self.runtime.block_on(self.inspector.dead_origins(part))?);
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&part.topic, part.partition, Offset::Offset(part.next))?;
        self.consumer.assign(&from)?;
        let mut batch = Batch::default();
        let (mut written, mut next) = (part.next, part.next);
        while next < part.end && !self.shared.shutdown.is_cancelled() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.offset() < part.end => {
                    let position = RecordPosition::of(&message, topic);
                    batch.push_message(position, &message);
                    next = position.offset.0 + 1;
                }
                // The plan ends before the log does; what was left of it is not there any more.
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => next = part.end,
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => bail!("the consumer is of no more use: {code}"),
                Some(Err(error)) => tracing::warn!(%error, "Kafka"),
                None => {}
            }
            let full = batch.len() >= self.limits().max_rows || batch.bytes() >= self.limits().max_bytes;
            if full || next >= part.end {
                self.write(part, topic, &batch, written, next)?;
                written = next;
                batch.clear();
            }
        }
        Ok(())
    }

    fn limits(&self) -> &BatchConfig {
        &self.shared.limits
    }

    /// Writes the records of `first..end` and notes what that changed.
    fn write(
        &mut self,
        part: &PartitionRange,
        topic: Topic,
        batch: &Batch,
        first: i64,
        end: i64,
    ) -> anyhow::Result<()> {
        let folded = fold(batch);
        let table = match topic {
            Topic::Resource(_) => Table::Deliveries,
            Topic::DeadLetter => Table::DeadLetters,
        };
        let runtime = self.runtime.clone();
        let (jobs, absent) = runtime.block_on(async {
            let present = self.inspector.present(table, part, first, end).await?;
            let jobs = self.inspector.missing_facts(&folded).await?;
            let written = self.writer.write(batch, &folded, &self.shared.shutdown).await;
            written.map_err(|_| anyhow::anyhow!("stopped; the same command goes on from here"))?;
            let absent = if present < batch.len() as u64 {
                self.inspector.present(table, part, first, end).await?.saturating_sub(present)
            } else {
                0
            };
            anyhow::Ok((jobs, absent))
        })?;
        let sent = self.writer.post.take_sent();
        let mut repaired = Repaired { jobs, expired: (end - first) as u64 - batch.len() as u64, ..Repaired::default() };
        match table {
            Table::DeadLetters => repaired.dead_letters = absent,
            Table::Jobs | Table::Deliveries => (repaired.deliveries, repaired.dead_letters) = (absent, sent),
        }
        let mut progress = self.shared.progress();
        progress.advance(part, end, repaired, hours(&folded).into_iter());
        self.shared.file.keep(&progress)?;
        drop(progress);
        self.shared.bar.inc((end - first) as u64);
        let wait = self.shared.pace.take(batch.len(), Instant::now());
        let rested = self.shared.shutdown.cancelled();
        let _ = runtime.block_on(async { tokio::time::timeout(wait, rested).await });
        Ok(())
    }
}

fn hours(folded: &Folded<'_>) -> HashSet<CreatedHour> {
    folded.jobs.iter().map(|job| job.key.created_hour).collect()
}
