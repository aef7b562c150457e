//! The consumer's side of a batch: fills one while the writer writes another, commits what is written, and finishes or
//! cancels the batch in progress when partitions are revoked. Called only from the thread that polls, also inside `poll`.

mod lag;
pub mod lag_probe;
mod log_offsets;
pub mod offset_tracker;
pub mod rebalance;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use hookline_schemas::topics::{Offset, Topic, Topics};
use hookline_service::kafka_raw::commit_async;
use prometheus::IntCounter;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, TopicPartitionList};

use crate::batch::Batch;
use crate::batch::position::RecordPosition;
use crate::config::{BatchConfig, GroupConfig};
use crate::consumer::lag::Lag;
use crate::consumer::offset_tracker::{OffsetTracker, PartitionKey};
use crate::consumer::rebalance::RebalanceContext;
use crate::expired::{Gap, ReadOffsets};
use crate::fail_point::{FailPoint, hit};
use crate::log_ids::LogIds;
use crate::metrics::Metrics;
use crate::metrics::stages::Stage;
use crate::writer::channel::{WriterCommand, WriterEvent, WriterHandle};

/// A cancelled writer answers as soon as it next waits for something.
pub const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects records into the next batch while the writer inserts the previous one.
pub struct Batcher {
    topics: Topics,
    limits: BatchConfig,
    settle_timeout: Duration,
    writer: WriterHandle,
    filling: Batch,
    /// Those before records of the batch that is filled.
    gaps: Vec<Gap>,
    read_offsets: ReadOffsets,
    /// The memory of the batch that was written last, for the next one.
    empty: Batch,
    first_record_at: Option<Instant>,
    is_writing: bool,
    last_settle: u64,
    /// The writer's thread ended before its commands did: it panicked.
    is_writer_gone: bool,
    /// Nothing is submitted any more, and what was cancelled stays cancelled.
    is_finished: bool,
    is_paused: bool,
    offsets: OffsetTracker,
    assigned: BTreeSet<PartitionKey>,
    stopped: BTreeSet<PartitionKey>,
    log_ids: LogIds,
    /// Why only a new consumer can go on.
    broken: Option<(&'static str, String)>,
    lag: Lag,
    metrics: Metrics,
    consumed: BTreeMap<Topic, IntCounter>,
}

impl Batcher {
    fn new(
        topics: Topics,
        batch: &BatchConfig,
        group: &GroupConfig,
        metrics: Metrics,
        writer: WriterHandle,
        log_ids: LogIds,
    ) -> Self {
        Self {
            lag: Lag::new(topics.clone(), metrics.partitions.clone(), Duration::from_millis(group.watchdog_ms)),
            consumed: Topic::ALL.into_iter().map(|topic| (topic, metrics.consumed_of(topic))).collect(),
            topics,
            limits: batch.clone(),
            settle_timeout: Duration::from_millis(group.settle_timeout_ms),
            writer,
            filling: Batch::default(),
            gaps: Vec::new(),
            read_offsets: ReadOffsets::default(),
            empty: Batch::default(),
            first_record_at: None,
            is_writing: false,
            last_settle: 0,
            is_writer_gone: false,
            is_finished: false,
            is_paused: false,
            offsets: OffsetTracker::default(),
            assigned: BTreeSet::new(),
            stopped: BTreeSet::new(),
            log_ids,
            broken: None,
            metrics,
        }
    }

    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let Some(topic) = Topic::named(message.topic(), &self.topics) else { return };
        let position = RecordPosition::of(message, topic);
        self.gaps.extend(self.read_offsets.advance(topic, position.partition, position.offset));
        self.filling.push_message(position, message);
        if let Some(consumed) = self.consumed.get(&topic) {
            consumed.inc();
        }
        self.first_record_at.get_or_insert_with(Instant::now);
    }

    /// Counts the time that it took to move records into the batch.
    pub fn was_reading(&self, time: Duration) {
        self.metrics.stages.add(Stage::Read, time);
    }

    pub fn is_full(&self) -> bool {
        self.filling.is_full(&self.limits)
    }

    fn is_due(&self) -> bool {
        let age = Duration::from_millis(self.limits.max_age_ms);
        self.is_full() || self.first_record_at.is_some_and(|first| first.elapsed() >= age)
    }

    /// Submits the batch if it is full or old enough and the writer is free.
    pub fn submit_batch_if_due(&mut self) {
        if self.is_due() && !self.is_writing {
            self.submit_batch();
        }
    }

    fn submit_batch(&mut self) {
        self.first_record_at = None;
        if self.filling.is_empty() {
            return;
        }
        let mut batch = std::mem::replace(&mut self.filling, std::mem::take(&mut self.empty));
        self.offsets.submit(&mut batch.positions);
        self.lag.submit(&batch.positions);
        self.is_writing = true;
        if !self.gaps.is_empty() {
            let gaps = std::mem::take(&mut self.gaps);
            self.send(WriterCommand::Gaps(gaps));
        }
        self.send(WriterCommand::Write(batch));
        hit(FailPoint::AfterConsume);
    }

    /// Handles pending writer events. Blocks up to `wait` for the first one; returns whether there was any.
    pub fn handle_writer_events(&mut self, consumer: &BaseConsumer<RebalanceContext>, wait: Duration) -> bool {
        let mut next = self.writer.events.recv_timeout(wait).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        });
        let any = next.is_ok();
        while let Ok(event) = next {
            let extended = self.on_writer_event(consumer, event);
            self.commit(consumer, extended, CommitMode::Async);
            next = self.writer.events.try_recv();
        }
        self.is_writer_gone |= matches!(next, Err(TryRecvError::Disconnected));
        any
    }

    /// Whether the writer's thread has ended, so that nothing can be written.
    pub fn is_writer_gone(&self) -> bool {
        self.is_writer_gone
    }

    pub fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// Why only a new consumer can go on, if that is so.
    pub fn broken(&self) -> Option<(&'static str, String)> {
        self.broken.clone()
    }

    pub fn is_stuck(&self) -> bool {
        self.lag.is_stuck()
    }

    /// Returns the commits that the event extends.
    fn on_writer_event(
        &mut self,
        consumer: &BaseConsumer<RebalanceContext>,
        event: WriterEvent,
    ) -> Vec<(PartitionKey, Offset)> {
        match event {
            WriterEvent::Written(mut batch) => {
                batch.clear();
                self.empty = batch;
                self.is_writing = false;
            }
            WriterEvent::Released(ranges) => return self.offsets.release(&ranges),
            WriterEvent::Stopped(key) => {
                if self.assigned.contains(&key) {
                    self.stopped.insert(key);
                    self.metrics.partitions.set_stopped(key, true);
                    self.pause_stopped(consumer);
                }
            }
            WriterEvent::Resumed(key) => {
                if self.stopped.remove(&key) {
                    self.metrics.partitions.set_stopped(key, false);
                    // While the writer is waited for, everything is paused, and resumed together.
                    if !self.is_paused {
                        self.resume(consumer);
                    }
                }
            }
            WriterEvent::LogLost(error) => self.broken = Some((error.cause(), error.to_string())),
            // The answer to a command that was cancelled.
            WriterEvent::Settled(_) => {}
        }
        Vec::new()
    }

    /// Returns whether the offsets are committed, or at least sent where `mode` is asynchronous.
    fn commit(
        &self,
        consumer: &BaseConsumer<RebalanceContext>,
        offsets: impl IntoIterator<Item = (PartitionKey, Offset)>,
        mode: CommitMode,
    ) -> bool {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in offsets.into_iter().filter(|(key, _)| self.assigned.contains(key)) {
            let (topic_name, log_id) = (topic.name(&self.topics), self.log_ids.of(topic));
            log_offsets::add(&mut list, topic_name, partition, next, log_id);
        }
        if list.count() == 0 {
            return true;
        }
        hit(FailPoint::BeforeCommit);
        let commit = || match mode {
            CommitMode::Sync => {
                let committed = consumer.commit(&list, CommitMode::Sync);
                self.metrics.committed(committed.is_ok());
                committed
            }
            // The context's callback counts it.
            CommitMode::Async => commit_async(consumer, &list),
        };
        match self.metrics.stages.time(Stage::Commit, commit) {
            Ok(()) => {
                hit(FailPoint::AfterCommit);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "offsets were not committed: their records are read again after a rebalance");
                false
            }
        }
    }

    /// Waits for the batch in progress and the roll-up, and commits them. What is not done at the deadline is cancelled and
    /// stays uncommitted. Returns whether everything that was submitted is committed.
    fn flush_and_commit(&mut self, consumer: &BaseConsumer<RebalanceContext>, mut deadline: Instant) -> bool {
        let mut is_cancelled = false;
        self.last_settle += 1;
        self.send(WriterCommand::Settle(self.last_settle));
        loop {
            match self.writer.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(WriterEvent::Settled(number)) if number == self.last_settle => break,
                Ok(event) => drop(self.on_writer_event(consumer, event)),
                Err(RecvTimeoutError::Timeout) if !is_cancelled => {
                    tracing::warn!(
                        "the batch in progress was not written within group.settle_timeout_ms; it is cancelled and read again"
                    );
                    is_cancelled = true;
                    self.writer.cancel_current.cancel();
                    deadline = Instant::now() + CANCEL_TIMEOUT;
                }
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!(
                        "the writer does not answer after it was cancelled: its batch is read and written again"
                    );
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_writer_gone = true;
                    break;
                }
            }
        }
        if !self.is_finished {
            self.writer.cancel_current.renew();
        }
        let is_committed = self.commit(consumer, self.offsets.released(), CommitMode::Sync);
        is_committed && !is_cancelled && !self.is_writer_gone
    }

    /// Writes and commits what was consumed, as far as `group.settle_timeout_ms` allows, and logs what has to be read again.
    pub fn finish(&mut self, consumer: &BaseConsumer<RebalanceContext>) {
        self.is_finished = true;
        let deadline = Instant::now() + self.settle_timeout;
        if !self.is_writing {
            self.submit_batch();
        }
        let mut is_flushed = self.flush_and_commit(consumer, deadline);
        if is_flushed && !self.filling.is_empty() {
            self.submit_batch();
            is_flushed = self.flush_and_commit(consumer, deadline);
        }
        // Nothing that is left may be written or committed while the consumer closes.
        self.writer.cancel_current.cancel();
        let (written, waiting) = (self.offsets.unreleased(), self.filling.len());
        if is_flushed && written == 0 && waiting == 0 {
            tracing::info!("everything that was read is written and committed");
        } else {
            tracing::warn!(
                uncommitted = written + waiting as u64,
                "not everything that was read is written and committed: the next start reads it again, and nothing is lost"
            );
        }
    }

    /// Cancels the writer for good; nothing is committed any more.
    pub fn abandon(&mut self) {
        self.is_finished = true;
        self.writer.cancel_current.cancel();
    }

    /// Drops what belongs to the partitions that are revoked.
    fn clear_assignment(&mut self) {
        self.filling.clear();
        self.gaps.clear();
        self.read_offsets.clear();
        self.first_record_at = None;
        self.is_writing = false;
        self.lag.forget_progress();
        self.assigned.clear();
        // Whoever has it next says again that it is stopped, if it still is.
        self.stopped.clear();
        self.metrics.partitions.revoke();
        self.offsets.clear();
        self.is_paused = false;
        self.send(WriterCommand::Revoked);
    }

    /// Stops fetching while the writer waits; polling goes on, or the member would leave the group.
    pub fn pause(&mut self, consumer: &BaseConsumer<RebalanceContext>) {
        self.is_paused = true;
        if let Err(error) = consumer.assignment().and_then(|partitions| consumer.pause(&partitions)) {
            tracing::warn!(%error, "fetching could not be paused: more than one batch is read ahead");
        }
    }

    /// Fetches again, except from partitions that a refused dead letter stopped.
    pub fn resume(&mut self, consumer: &BaseConsumer<RebalanceContext>) {
        match consumer.assignment().and_then(|partitions| consumer.resume(&partitions)) {
            Ok(()) => self.is_paused = false,
            Err(error) => {
                tracing::warn!(%error, "fetching could not be resumed: the partitions stay paused until the next rebalance");
            }
        }
        self.pause_stopped(consumer);
    }

    fn pause_stopped(&self, consumer: &BaseConsumer<RebalanceContext>) {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in &self.stopped {
            partitions.add_partition(topic.name(&self.topics), partition.0);
        }
        if let Err(error) = consumer.pause(&partitions) {
            tracing::warn!(%error, "a stopped partition could not be paused: it is read on, and not committed");
        }
    }

    fn send(&mut self, command: WriterCommand) {
        self.is_writer_gone |= self.writer.commands.send(command).is_err();
    }
}
