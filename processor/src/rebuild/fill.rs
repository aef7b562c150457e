//! Reads records and folds them into one of the two tables. Deliveries and dead letters are not written: they hold what was signed, which
//! no fold changes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::kafka::KafkaContext;
use hookline_service::shutdown::CancellationToken;
use tokio::runtime::Handle;

use crate::batch::Batch;
use crate::batch::fold::{Folded, fold};
use crate::clickhouse::columns::{self, CountedBy, Table};
use crate::clickhouse::inserter::ClickHouse;
use crate::clickhouse::partitions;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::{LogIds, LogWatch};
use crate::metrics::Metrics;
use crate::replay::give_way::GiveWay;
use crate::replay::pace::Pace;
use crate::replay::plan::PartitionRange;
use crate::replay::source::archive::ArchiveSource;
use crate::replay::source::kafka::KafkaSource;
use crate::replay::source::{Reading, Source, SourceKind};
use crate::state_file::StateFile;
use crate::writer::insert::TableInserter;

/// What all fills of a process have in common.
pub struct Filler<'r> {
    pub config: &'r ProcessorConfig,
    pub topics: &'r Topics,
    pub log_ids: &'r LogIds,
    pub clickhouse: &'r ClickHouse,
    pub metrics: &'r Metrics,
    pub runtime: &'r Handle,
    pub pace: &'r Pace,
    pub give_way: &'r GiveWay,
    pub parallel: u16,
    /// Created hours before it stay out: their jobs may have expired.
    pub kept_since: CreatedHour,
    pub stop: &'r CancellationToken,
    pub file: &'r StateFile,
}

impl Filler<'_> {
    /// Reads ranges from `next` to `end` into `table`. Calls `filled` with the part of a range that was read, from its `start` to its
    /// `next`, and its jobs, once these are in the table.
    pub fn fill(
        &self,
        table: Table,
        ranges: &[PartitionRange],
        filled: &(dyn Fn(&PartitionRange, &Folded<'_>) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<()> {
        // What is read into the live table is missing there until it is in: nothing is more urgent.
        let gives_way = table != Table::Jobs;
        self.read(ranges, gives_way, &|range, batch, inserter| {
            let cancel = &CancellationToken::new();
            let folded = fold(batch);
            let kept = folded.jobs.iter().filter(|job| job.key.created_hour >= self.kept_since);
            let blocks = partitions::blocks(kept, |job| job.key.created_hour.0);
            let inserted = inserter.insert(table, blocks, |rows| columns::jobs(rows, CountedBy::Nobody), cancel);
            for refused in until_stopped(self.runtime, self.stop, inserted)?? {
                // The live processor was refused it, too, and made a dead letter of it.
                tracing::warn!(
                    code = refused.code,
                    error = refused.text,
                    "ClickHouse refuses the facts of a job, which stay out"
                );
            }
            filled(range, &folded)?;
            let wait = self.pace.take(batch.len(), Instant::now());
            until_stopped(self.runtime, self.stop, async { tokio::time::sleep(wait).await })
        })
    }

    /// Reads ranges and hands on their records with the jobs that these tell of.
    pub fn fold(&self, ranges: &[PartitionRange], take: &(dyn Fn(&Batch, &Folded<'_>) + Sync)) -> anyhow::Result<()> {
        self.read(ranges, false, &|_, batch, _| {
            take(batch, &fold(batch));
            Ok(())
        })
    }

    /// Reads ranges, several at once, and hands on each batch with the range that it brings to an end.
    fn read(
        &self,
        ranges: &[PartitionRange],
        gives_way: bool,
        take: &(dyn Fn(&PartitionRange, &Batch, &TableInserter) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<()> {
        let queue: VecDeque<_> = ranges.iter().filter(|range| range.next < range.end).cloned().collect();
        let readers = usize::from(self.parallel).min(queue.len());
        let queue = Mutex::new(queue);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        // A reader that fails stops the others, which is no signal.
        let stop = self.stop.child_token();
        let run = || {
            let stop_others = stop.clone().drop_guard();
            let asking = settings::replay(self.config)?.create_with_context(KafkaContext::new("topic ids"))?;
            let log_watch = LogWatch::new(asking, self.topics.clone(), self.log_ids.clone(), Duration::MAX);
            let consumer = settings::replay(self.config)?.create_with_context(KafkaContext::new("reader"))?;
            let reading = Reading { limits: &self.config.batch, topics: self.topics, stop: &stop, state: self.file };
            let mut kafka = KafkaSource::new(consumer, reading);
            let mut archive = ArchiveSource::new(self.clickhouse.clone(), reading, self.runtime.clone());
            let inserter =
                TableInserter::new(self.clickhouse.clone(), self.metrics.clone(), Readiness::waiting_for(&[]));
            while let Some(range) = next() {
                let source: &mut dyn Source = match range.source {
                    SourceKind::Kafka => &mut kafka,
                    SourceKind::Deliveries => &mut archive,
                };
                let wait = || {
                    if gives_way {
                        self.runtime.block_on(self.give_way.wait(&stop));
                    }
                };
                pages(source, &range, &stop, &wait, &mut |range, batch| {
                    // Of the archive, each row says which log it is of.
                    if range.source == SourceKind::Kafka {
                        let topics: Vec<_> = Topic::named(&range.topic, self.topics).into_iter().collect();
                        until_stopped(self.runtime, self.stop, log_watch.verify(&topics, &stop))???;
                    }
                    take(range, batch, &inserter)
                })?;
            }
            stop_others.disarm();
            anyhow::Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..readers).map(|_| scope.spawn(run)).collect();
            let ended: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader's thread panicked"))?)
                .collect();
            ended.into_iter().collect()
        })
    }
}

/// Reads a range from `next` to `end`, and waits before each page. Hands on each page with the part of the range that it is, from its `start` to its `next`.
fn pages(
    source: &mut dyn Source,
    range: &PartitionRange,
    stop: &CancellationToken,
    wait: &dyn Fn(),
    take: &mut dyn FnMut(&PartitionRange, &Batch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    source.begin(range)?;
    let mut batch = Batch::default();
    let mut next = range.next;
    while next < range.end {
        batch.clear();
        wait();
        let page = source.read_page(range, &mut batch)?;
        if stop.is_cancelled() {
            return Err(Stopped.into());
        }
        if page.expired > 0 {
            bail!(
                "{} records of {}/{} expired before they were read: run the same command again to read them from deliveries",
                page.expired,
                range.topic,
                range.partition.0
            );
        }
        take(&PartitionRange { start: next, next: page.next, ..range.clone() }, &batch)?;
        next = page.next;
    }
    Ok(())
}

/// A signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal: run the same command again to continue")]
pub struct Stopped;

pub fn until_stopped<T>(
    runtime: &Handle,
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Stopped.into()),
            done = work => Ok(done),
        }
    })
}
