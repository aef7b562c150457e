//! The consumer's side of a batch: fills one while the writer writes another, hands over, commits what is written, and on
//! a revocation settles what is under way. Called from the consumer's own thread only, also from inside `poll`.

mod lag;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::shutdown::CancellationToken;
use prometheus::IntCounter;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientContext, Message, Statistics, TopicPartitionList};

use crate::batch::position::RecordPosition;
use crate::batch::{Batch, PartitionOffsets};
use crate::config::{BatchConfig, GroupConfig};
use crate::consumer::lag::Lag;
use crate::fail_point::{FailPoint, hit};
use crate::metrics::Metrics;

/// Called off, the writer answers as soon as it next waits for something.
const CALL_OFF_TIMEOUT: Duration = Duration::from_secs(5);

/// For the writer to do.
#[derive(Debug)]
pub enum WriterCommand {
    /// Partitions were assigned: what others counted is to be known.
    Assigned,
    /// Write a batch.
    Write(Batch),
    /// Refresh what is dirty now, so that everything written can be committed; the answer carries the number.
    Settle(u64),
}

/// The word to let go of whatever work is under way, for when partitions have to be given back.
#[derive(Clone, Debug, Default)]
pub struct CancelCurrent(Arc<Mutex<CancellationToken>>);

impl CancelCurrent {
    /// What calls off the work that begins now.
    pub fn current(&self) -> CancellationToken {
        self.lock().clone()
    }

    fn cancel_current(&self) {
        self.lock().cancel();
    }

    /// What begins from now on is wanted again.
    fn renew(&self) {
        let mut token = self.lock();
        if token.is_cancelled() {
            *token = CancellationToken::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer has done.
#[derive(Debug)]
pub enum WriterEvent {
    /// A batch is in; here is its memory back.
    Written(Batch),
    /// These may be committed.
    Commit(PartitionOffsets),
    /// Nothing written is left uncommitted, unless it was called off.
    Settled(u64),
    /// This partition cannot go on.
    Stopped(Topic, Partition),
}

/// The way to the writer and back.
#[derive(Debug)]
pub struct WriterHandle {
    /// What it is to do.
    pub work: SyncSender<WriterCommand>,
    /// What it has done.
    pub done: Receiver<WriterEvent>,
    /// How to make it let go.
    pub cancel_current: CancelCurrent,
}

/// What stands between polling and writing.
pub struct Batcher {
    topics: Topics,
    limits: BatchConfig,
    settle_timeout: Duration,
    to: WriterHandle,
    filling: Batch,
    spare: Batch,
    began: Option<Instant>,
    writing: bool,
    settles: u64,
    assigned: BTreeSet<(Topic, Partition)>,
    stopped: BTreeSet<(Topic, Partition)>,
    written: PartitionOffsets,
    lag: Lag,
    metrics: Metrics,
    consumed: BTreeMap<Topic, IntCounter>,
}

/// The context of the consumer.
pub struct RebalanceContext(Mutex<Batcher>);

impl RebalanceContext {
    /// Between a consumer yet to be made and a writer that works already.
    pub fn new(topics: Topics, batch: &BatchConfig, group: &GroupConfig, metrics: Metrics, to: WriterHandle) -> Self {
        Self(Mutex::new(Batcher {
            lag: Lag::new(topics.clone(), metrics.clone(), Duration::from_millis(group.watchdog_ms)),
            consumed: Topic::ALL.into_iter().map(|topic| (topic, metrics.consumed_of(topic))).collect(),
            topics,
            limits: batch.clone(),
            settle_timeout: Duration::from_millis(group.settle_timeout_ms),
            to,
            filling: Batch::default(),
            spare: Batch::default(),
            began: None,
            writing: false,
            settles: 0,
            assigned: BTreeSet::new(),
            stopped: BTreeSet::new(),
            written: PartitionOffsets::new(),
            metrics,
        }))
    }

    /// Not to be held while polling: the rebalance callback needs it.
    pub fn batcher(&self) -> MutexGuard<'_, Batcher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for RebalanceContext {
    fn stats(&self, statistics: Statistics) {
        let mut batcher = self.batcher();
        let Batcher { lag, assigned, written, writing, .. } = &mut *batcher;
        lag.observe(&statistics, assigned, written, *writing);
    }
}

impl ConsumerContext for RebalanceContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut batcher = self.batcher();
            tracing::info!(partitions = partitions.count(), "partitions revoked");
            batcher.metrics.rebalances.with_label_values(&["revoke"]).inc();
            batcher.flush_and_commit(consumer);
            batcher.clear_assignment();
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut batcher = self.batcher();
            tracing::info!(partitions = partitions.count(), "partitions assigned");
            batcher.metrics.rebalances.with_label_values(&["assign"]).inc();
            let topics = batcher.topics.clone();
            batcher.assigned = partitions
                .elements()
                .iter()
                .filter_map(|element| Some((Topic::named(element.topic(), &topics)?, Partition(element.partition()))))
                .collect();
            batcher.send(WriterCommand::Assigned);
        }
    }
}

impl Batcher {
    /// Takes a message into the batch.
    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let Some(topic) = Topic::named(message.topic(), &self.topics) else { return };
        let position = RecordPosition::of(message, topic);
        self.filling.push_message(position, message);
        if let Some(consumed) = self.consumed.get(&topic) {
            consumed.inc();
        }
        self.began.get_or_insert_with(Instant::now);
    }

    /// No room for more.
    pub fn is_full(&self) -> bool {
        self.filling.len() >= self.limits.max_rows || self.filling.bytes() >= self.limits.max_bytes
    }

    /// Full, or waiting long enough.
    fn is_due(&self) -> bool {
        let age = Duration::from_millis(self.limits.max_age_ms);
        self.is_full() || self.began.is_some_and(|began| began.elapsed() >= age)
    }

    /// Hands the batch over if it is due and the writer is free.
    pub fn submit_batch_if_due(&mut self) {
        if self.is_due() && !self.writing {
            self.submit_batch();
        }
    }

    fn submit_batch(&mut self) {
        self.began = None;
        if self.filling.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare));
        self.writing = true;
        self.send(WriterCommand::Write(batch));
        hit(FailPoint::AfterConsume);
    }

    /// Does what the writer's reports ask for; waits at most so long for the first. False = nothing was reported.
    pub fn handle_writer_events(&mut self, consumer: &BaseConsumer<RebalanceContext>, wait: Duration) -> bool {
        let mut report =
            if wait.is_zero() { self.to.done.try_recv().ok() } else { self.to.done.recv_timeout(wait).ok() };
        let any = report.is_some();
        while let Some(done) = report {
            self.on_writer_event(consumer, done, CommitMode::Async);
            report = self.to.done.try_recv().ok();
        }
        any
    }

    /// Whether a batch is being written.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Whether a partition has lag and makes no progress though nothing holds it up.
    pub fn is_stuck(&self) -> bool {
        self.lag.is_stuck()
    }

    fn on_writer_event(&mut self, consumer: &BaseConsumer<RebalanceContext>, done: WriterEvent, mode: CommitMode) {
        match done {
            WriterEvent::Written(mut batch) => {
                self.written.append(&mut batch.positions);
                batch.clear();
                self.spare = batch;
                self.writing = false;
            }
            WriterEvent::Commit(positions) => self.commit(consumer, &positions, mode),
            WriterEvent::Stopped(topic, partition) => {
                self.stopped.insert((topic, partition));
                self.pause_stopped(consumer);
            }
            // The answer to a question that was given up.
            WriterEvent::Settled(_) => {}
        }
    }

    fn commit(&self, consumer: &BaseConsumer<RebalanceContext>, positions: &PartitionOffsets, mode: CommitMode) {
        hit(FailPoint::BeforeCommit);
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), progress) in positions.iter().filter(|(key, _)| self.assigned.contains(key)) {
            let Offset(next) = progress.next;
            // Only an offset out of Kafka's own range is refused, and these came from it.
            let _ = offsets.add_partition_offset(topic.name(&self.topics), partition.0, rdkafka::Offset::Offset(next));
        }
        if offsets.count() == 0 {
            return;
        }
        match consumer.commit(&offsets, mode) {
            Ok(()) => hit(FailPoint::AfterCommit),
            Err(error) => tracing::warn!(%error, "offsets could not be committed; they will be read again"),
        }
    }

    /// Finishes what is under way within the deadline, and commits it.
    pub fn flush_and_commit(&mut self, consumer: &BaseConsumer<RebalanceContext>) {
        let mut deadline = Instant::now() + self.settle_timeout;
        let mut called_off = false;
        self.settles += 1;
        self.send(WriterCommand::Settle(self.settles));
        loop {
            match self.to.done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(WriterEvent::Settled(number)) if number == self.settles => break,
                Ok(done) => self.on_writer_event(consumer, done, CommitMode::Sync),
                Err(RecvTimeoutError::Timeout) if !called_off => {
                    tracing::warn!("not settled in time: the rest will be read again");
                    called_off = true;
                    self.to.cancel_current.cancel_current();
                    deadline = Instant::now() + CALL_OFF_TIMEOUT;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tracing::warn!("the writer does not let go: what it writes will be written again");
                    break;
                }
            }
        }
        self.to.cancel_current.renew();
    }

    /// Writes what was consumed, too, and settles: the end.
    pub fn finish(&mut self, consumer: &BaseConsumer<RebalanceContext>) {
        if !self.writing {
            self.submit_batch();
        }
        self.flush_and_commit(consumer);
        if !self.filling.is_empty() {
            self.submit_batch();
            self.flush_and_commit(consumer);
        }
    }

    /// Lets the writer go; nothing is committed any more.
    pub fn abandon(&self) {
        self.to.cancel_current.cancel_current();
    }

    /// Drops what belongs to partitions that go.
    fn clear_assignment(&mut self) {
        self.filling.clear();
        self.began = None;
        self.writing = false;
        self.lag.remove(&self.assigned);
        self.assigned.clear();
        self.stopped.clear();
        self.written.clear();
    }

    /// Stops fetching while the writer waits; the group's membership lives on polling.
    pub fn pause(&self, consumer: &BaseConsumer<RebalanceContext>) {
        if let Err(error) = consumer.assignment().and_then(|partitions| consumer.pause(&partitions)) {
            tracing::warn!(%error, "cannot pause");
        }
    }

    /// Fetches again, except from stopped partitions.
    pub fn resume(&self, consumer: &BaseConsumer<RebalanceContext>) {
        if let Err(error) = consumer.assignment().and_then(|partitions| consumer.resume(&partitions)) {
            tracing::warn!(%error, "cannot resume");
        }
        self.pause_stopped(consumer);
    }

    fn pause_stopped(&self, consumer: &BaseConsumer<RebalanceContext>) {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in &self.stopped {
            partitions.add_partition(topic.name(&self.topics), partition.0);
        }
        if let Err(error) = consumer.pause(&partitions) {
            tracing::warn!(%error, "cannot pause a stopped partition");
        }
    }

    fn send(&self, work: WriterCommand) {
        if self.to.work.send(work).is_err() {
            tracing::error!("the writer has ended");
        }
    }
}
