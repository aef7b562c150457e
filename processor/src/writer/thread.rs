//! The writer's own thread: takes one command at a time from the consumer, so that polling never waits for ClickHouse.

use std::collections::HashSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use hookline_service::shutdown::CancellationToken;
use tokio::runtime::Handle;

use crate::batch::Batch;
use crate::batch::fold::decode;
use crate::expired::detector::Detector;
use crate::fail_point::{FailPoint, hit};
use crate::metrics::stages::{Stage, Stages};
use crate::writer::channel::{WriterCommand, WriterEvent, WriterInbox};
use crate::writer::held::Held;
use crate::writer::rollup::Refresher;
use crate::writer::{NotWritten, Writer, Written};

/// How long a refused dead letter is left alone before it is inserted again.
const STOPPED_RETRY_INTERVAL: Duration = Duration::from_secs(10);

pub struct WriterThread {
    pub writer: Writer,
    pub refresher: Refresher,
    pub detector: Detector,
    pub refresh_every: Duration,
    /// Batches that wait for a witness.
    pub held: Held,
    /// The consumer waits for the memory of a batch that is held.
    pub owes_batch: bool,
    pub inbox: WriterInbox,
    pub runtime: Handle,
    pub shutdown: CancellationToken,
    pub logs_seen_at: Instant,
    /// When refused dead letters were last tried.
    pub stopped_tried: Instant,
    pub stages: Stages,
}

/// How often the ids of the topics are asked for where no batch asks. An old position in a new topic may be its very end, and
/// then nothing is read.
const LOOK_AT_LOGS_EVERY: Duration = Duration::from_secs(30);

/// What is in the tables and not yet in the roll-up.
struct Pending {
    written: Written,
    since: Instant,
}

impl WriterThread {
    /// Works until the consumer's end is dropped.
    pub fn run(mut self) {
        let mut pending: Option<Pending> = None;
        loop {
            let until_refresh = pending.as_ref().map_or(self.refresh_every, |pending| self.until_refresh(pending));
            let wait = self.until_retry().map_or(until_refresh, |retry| retry.min(until_refresh));
            let wait = self.held.until_retry().map_or(wait, |retry| retry.min(wait));
            match self.stages.time(Stage::Wait, || self.inbox.commands.recv_timeout(wait)) {
                Ok(WriterCommand::Write(batch)) => self.write(batch, &mut pending),
                Ok(WriterCommand::Settle(number)) => {
                    self.refresh_and_release_offsets(pending.take());
                    self.report(WriterEvent::Settled(number));
                }
                Ok(WriterCommand::Assigned(partitions)) => {
                    self.reload_counted_jobs();
                    let cancel = self.inbox.cancel_current.token();
                    let check = self.detector.check_assignment(&partitions, &cancel);
                    // Cancelled means that nothing of these partitions is written or committed, as below.
                    let _ = self.stages.time(Stage::CheckOffsets, || self.runtime.block_on(check));
                }
                Ok(WriterCommand::Revoked) => {
                    self.writer.forget_assignment();
                    self.held.clear();
                    self.owes_batch = false;
                    pending = None;
                }
                Ok(WriterCommand::Gaps(gaps)) => {
                    let cancel = self.inbox.cancel_current.token();
                    let check = self.detector.check_gaps(&gaps, &cancel);
                    let _ = self.stages.time(Stage::CheckOffsets, || self.runtime.block_on(check));
                }
                Err(RecvTimeoutError::Timeout) => self.look_at_logs_if_due(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.until_retry().is_some_and(|retry| retry.is_zero()) {
                self.retry_stopped_partitions(&mut pending);
            }
            if self.held.until_retry().is_some_and(|retry| retry.is_zero()) {
                self.retry_held(&mut pending);
            }
            if pending.as_ref().is_some_and(|pending| self.until_refresh(pending).is_zero()) {
                self.refresh_and_release_offsets(pending.take());
            }
        }
    }

    fn until_refresh(&self, pending: &Pending) -> Duration {
        self.refresh_every.saturating_sub(pending.since.elapsed())
    }

    fn look_at_logs_if_due(&mut self) {
        if self.logs_seen_at.elapsed() >= LOOK_AT_LOGS_EVERY {
            if let Some(changed) = self.stages.time(Stage::VerifyLogs, || self.writer.log_made_anew()) {
                self.report(WriterEvent::LogLost(changed.into()));
            }
            self.logs_seen_at = Instant::now();
        }
    }

    /// The time until refused dead letters are tried again, if there are any.
    fn until_retry(&self) -> Option<Duration> {
        let left = STOPPED_RETRY_INTERVAL.saturating_sub(self.stopped_tried.elapsed());
        self.writer.has_stopped_partitions().then_some(left)
    }

    fn retry_stopped_partitions(&mut self, pending: &mut Option<Pending>) {
        let cancel = self.inbox.cancel_current.token();
        // Cancelled means that the partitions go, or that the daemon ends: the records stay uncommitted.
        if let Ok(healed) = self.runtime.block_on(self.writer.retry_stopped_partitions(&cancel)) {
            self.append(Written { ranges: healed.ranges, ..Written::default() }, pending);
            healed.resumed.into_iter().for_each(|key| self.report(WriterEvent::Resumed(key)));
        }
        self.stopped_tried = Instant::now();
    }

    fn append(&self, written: Written, pending: &mut Option<Pending>) {
        let nothing = || Pending { written: Written::default(), since: Instant::now() };
        pending.get_or_insert_with(nothing).written.append(written);
    }

    fn reload_counted_jobs(&mut self) {
        let cancel = self.inbox.cancel_current.token();
        let reload = self.writer.reload_counted_jobs(&cancel, &self.shutdown);
        self.stages.time(Stage::ReloadJobs, || self.runtime.block_on(reload));
    }

    fn write(&mut self, mut batch: Batch, pending: &mut Option<Pending>) {
        match self.write_once(&batch, pending) {
            Ok(()) => {
                self.report(WriterEvent::Written(batch));
                if !self.held.is_empty() {
                    // This batch may have brought the witness.
                    self.retry_held(pending);
                }
            }
            Err(NotWritten::NoWitness { .. }) => {
                self.held.push(batch);
                self.owes_batch = true;
                self.return_memory();
            }
            Err(NotWritten::Cancelled(_) | NotWritten::Log(_)) => {
                batch.positions.clear();
                self.report(WriterEvent::Written(batch));
            }
        }
    }

    fn write_once(&mut self, batch: &Batch, pending: &mut Option<Pending>) -> Result<(), NotWritten> {
        let cancel = self.inbox.cancel_current.token();
        // The consumer reads only what was not committed, so it does not know which dead letters there are already.
        let already_published = HashSet::new();
        let decoded = self.stages.time(Stage::Decode, || decode(batch));
        let folded = self.stages.time(Stage::Fold, || decoded.fold());
        let written = self.runtime.block_on(self.writer.write(batch, &folded, &already_published, &cancel));
        let written = written.inspect_err(|error| {
            if let NotWritten::Log(error) = error {
                self.report(WriterEvent::LogLost(error.clone()));
            }
        })?;
        for key in written.stopped.keys() {
            self.stopped_tried = Instant::now();
            self.report(WriterEvent::Stopped(*key));
        }
        self.append(written, pending);
        Ok(())
    }

    /// Tries the batches that wait for a witness again. One that is cancelled waits on: its offsets stay unreleased.
    fn retry_held(&mut self, pending: &mut Option<Pending>) {
        let mut waiting = self.held.take();
        let before = waiting.len();
        waiting.retain(|batch| self.write_once(batch, pending).is_err());
        let is_progress = waiting.len() < before;
        self.held.keep(waiting, is_progress);
        self.return_memory();
    }

    /// Lets the consumer hand over its next batch, with new memory in place of what is held, once there is room for it.
    fn return_memory(&mut self) {
        if self.owes_batch && self.held.has_room() {
            self.owes_batch = false;
            self.report(WriterEvent::Written(Batch::default()));
        }
    }

    /// Refreshes the hours that became dirty, and then lets what was written be committed. If it is cancelled, whoever has the
    /// partitions next reads the records again and refreshes the hours.
    fn refresh_and_release_offsets(&self, pending: Option<Pending>) {
        let Some(Pending { written: Written { ranges, dirty, .. }, .. }) = pending else { return };
        let cancel = self.inbox.cancel_current.token();
        let refresh = self.refresher.refresh(&dirty, &cancel, |_| {});
        if self.stages.time(Stage::Refresh, || self.runtime.block_on(refresh)).is_ok() {
            hit(FailPoint::AfterRefresh);
            self.report(WriterEvent::Released(ranges));
        }
    }

    fn report(&self, event: WriterEvent) {
        // The consumer's end is gone only where the consumer is being replaced.
        let _ = self.inbox.events.send(event);
    }
}
