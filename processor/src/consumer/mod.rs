//! The consumer's side of a batch: fills one while the writer writes another, hands over, commits what is written, and on
//! a revocation settles what is under way. Called from the consumer's own thread only, also from inside `poll`.

mod lag;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hookline_schemas::topics::{Offset, Partition, Topics};
use hookline_service::shutdown::CancellationToken;
use prometheus::IntCounter;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientContext, Message, Statistics, TopicPartitionList};

use crate::batch::position::{Place, Topic};
use crate::batch::{Batch, Positions};
use crate::config::{BatchConfig, GroupConfig};
use crate::consumer::lag::Lag;
use crate::fail_point::{Fault, pass};
use crate::metrics::Metrics;

/// Called off, the writer answers as soon as it next waits for something.
const CALL_OFF_TIMEOUT: Duration = Duration::from_secs(5);

/// For the writer to do.
#[derive(Debug)]
pub enum Work {
    /// Partitions were assigned: what others counted is to be known.
    Assigned,
    /// Write a batch.
    Write(Batch),
    /// Refresh what is dirty now, so that everything written can be committed; the answer carries the number.
    Settle(u64),
}

/// The word to let go of whatever work is under way, for when partitions have to be given back.
#[derive(Clone, Debug, Default)]
pub struct CallOff(Arc<Mutex<CancellationToken>>);

impl CallOff {
    /// What calls off the work that begins now.
    pub fn current(&self) -> CancellationToken {
        self.lock().clone()
    }

    fn call_off(&self) {
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
pub enum Done {
    /// A batch is in; here is its memory back.
    Written(Batch),
    /// These may be committed.
    Commit(Positions),
    /// Nothing written is left uncommitted, unless it was called off.
    Settled(u64),
    /// This partition cannot go on.
    Stopped(Topic, Partition),
}

/// The way to the writer and back.
#[derive(Debug)]
pub struct Writing {
    /// What it is to do.
    pub work: SyncSender<Work>,
    /// What it has done.
    pub done: Receiver<Done>,
    /// How to make it let go.
    pub call_off: CallOff,
}

/// What stands between polling and writing.
pub struct Pump {
    topics: Topics,
    limits: BatchConfig,
    settle_timeout: Duration,
    to: Writing,
    filling: Batch,
    spare: Batch,
    began: Option<Instant>,
    writing: bool,
    settles: u64,
    assigned: BTreeSet<(Topic, Partition)>,
    stopped: BTreeSet<(Topic, Partition)>,
    written: Positions,
    lag: Lag,
    metrics: Metrics,
    consumed: BTreeMap<Topic, IntCounter>,
}

/// The context of the consumer.
pub struct Group(Mutex<Pump>);

impl Group {
    /// Between a consumer yet to be made and a writer that works already.
    pub fn new(topics: Topics, batch: &BatchConfig, group: &GroupConfig, metrics: Metrics, to: Writing) -> Self {
        Self(Mutex::new(Pump {
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
            written: Positions::new(),
            metrics,
        }))
    }

    /// Not to be held while polling: the rebalance callback needs it.
    pub fn pump(&self) -> MutexGuard<'_, Pump> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn stats(&self, statistics: Statistics) {
        let mut pump = self.pump();
        let Pump { lag, assigned, written, writing, .. } = &mut *pump;
        lag.observe(&statistics, assigned, written, *writing);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut pump = self.pump();
            tracing::info!(partitions = partitions.count(), "partitions revoked");
            pump.metrics.rebalances.with_label_values(&["revoke"]).inc();
            pump.settle(consumer);
            pump.forget();
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut pump = self.pump();
            tracing::info!(partitions = partitions.count(), "partitions assigned");
            pump.metrics.rebalances.with_label_values(&["assign"]).inc();
            let topics = pump.topics.clone();
            pump.assigned = partitions
                .elements()
                .iter()
                .filter_map(|element| Some((Topic::named(element.topic(), &topics)?, Partition(element.partition()))))
                .collect();
            pump.send(Work::Assigned);
        }
    }
}

impl Pump {
    /// Takes a message into the batch.
    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let Some(topic) = Topic::named(message.topic(), &self.topics) else { return };
        let place = Place::of(message, topic);
        self.filling.push_message(place, message);
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
    pub fn hand_over_if_due(&mut self) {
        if self.is_due() && !self.writing {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.began = None;
        if self.filling.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare));
        self.writing = true;
        self.send(Work::Write(batch));
        pass(Fault::AfterConsume);
    }

    /// Does what the writer's reports ask for; waits at most so long for the first. False = nothing was reported.
    pub fn attend(&mut self, consumer: &BaseConsumer<Group>, wait: Duration) -> bool {
        let mut report =
            if wait.is_zero() { self.to.done.try_recv().ok() } else { self.to.done.recv_timeout(wait).ok() };
        let any = report.is_some();
        while let Some(done) = report {
            self.on_done(consumer, done, CommitMode::Async);
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

    fn on_done(&mut self, consumer: &BaseConsumer<Group>, done: Done, mode: CommitMode) {
        match done {
            Done::Written(mut batch) => {
                self.written.append(&mut batch.positions);
                batch.clear();
                self.spare = batch;
                self.writing = false;
            }
            Done::Commit(positions) => self.commit(consumer, &positions, mode),
            Done::Stopped(topic, partition) => {
                self.stopped.insert((topic, partition));
                self.pause_stopped(consumer);
            }
            // The answer to a question that was given up.
            Done::Settled(_) => {}
        }
    }

    fn commit(&self, consumer: &BaseConsumer<Group>, positions: &Positions, mode: CommitMode) {
        pass(Fault::BeforeCommit);
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
            Ok(()) => pass(Fault::AfterCommit),
            Err(error) => tracing::warn!(%error, "offsets could not be committed; they will be read again"),
        }
    }

    /// Finishes what is under way within the deadline, and commits it.
    pub fn settle(&mut self, consumer: &BaseConsumer<Group>) {
        let mut deadline = Instant::now() + self.settle_timeout;
        let mut called_off = false;
        self.settles += 1;
        self.send(Work::Settle(self.settles));
        loop {
            match self.to.done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Done::Settled(number)) if number == self.settles => break,
                Ok(done) => self.on_done(consumer, done, CommitMode::Sync),
                Err(RecvTimeoutError::Timeout) if !called_off => {
                    tracing::warn!("not settled in time: the rest will be read again");
                    called_off = true;
                    self.to.call_off.call_off();
                    deadline = Instant::now() + CALL_OFF_TIMEOUT;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tracing::warn!("the writer does not let go: what it writes will be written again");
                    break;
                }
            }
        }
        self.to.call_off.renew();
    }

    /// Writes what was consumed, too, and settles: the end.
    pub fn finish(&mut self, consumer: &BaseConsumer<Group>) {
        if !self.writing {
            self.hand_over();
        }
        self.settle(consumer);
        if !self.filling.is_empty() {
            self.hand_over();
            self.settle(consumer);
        }
    }

    /// Lets the writer go; nothing is committed any more.
    pub fn abandon(&self) {
        self.to.call_off.call_off();
    }

    /// Drops what belongs to partitions that go.
    fn forget(&mut self) {
        self.filling.clear();
        self.began = None;
        self.writing = false;
        self.lag.remove(&self.assigned);
        self.assigned.clear();
        self.stopped.clear();
        self.written.clear();
    }

    /// Stops fetching while the writer waits; the group's membership lives on polling.
    pub fn pause(&self, consumer: &BaseConsumer<Group>) {
        if let Err(error) = consumer.assignment().and_then(|partitions| consumer.pause(&partitions)) {
            tracing::warn!(%error, "cannot pause");
        }
    }

    /// Fetches again, except from stopped partitions.
    pub fn resume(&self, consumer: &BaseConsumer<Group>) {
        if let Err(error) = consumer.assignment().and_then(|partitions| consumer.resume(&partitions)) {
            tracing::warn!(%error, "cannot resume");
        }
        self.pause_stopped(consumer);
    }

    fn pause_stopped(&self, consumer: &BaseConsumer<Group>) {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in &self.stopped {
            partitions.add_partition(topic.name(&self.topics), partition.0);
        }
        if let Err(error) = consumer.pause(&partitions) {
            tracing::warn!(%error, "cannot pause a stopped partition");
        }
    }

    fn send(&self, work: Work) {
        if self.to.work.send(work).is_err() {
            tracing::error!("the writer has ended");
        }
    }
}
