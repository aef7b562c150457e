//! The writer's own thread: does one piece of work after the other and reports.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::batch::Batch;
use crate::batch::fold::fold;
use crate::consumer::{CancelCurrent, WriterCommand, WriterEvent};
use crate::fail_point::{FailPoint, hit};
use crate::retry::Cancelled;
use crate::writer::rollup::Refresher;
use crate::writer::{Writer, Written};

/// What works.
pub struct WriterThread {
    /// Fills the tables.
    pub writer: Writer,
    /// Follows with the roll-up.
    pub refresher: Refresher,
    /// How often.
    pub refresh_every: Duration,
    /// The word to let go.
    pub cancel_current: CancelCurrent,
    /// Where it reports.
    pub done: Sender<WriterEvent>,
    /// For what waits.
    pub runtime: Handle,
}

/// Written, but the roll-up does not know it yet.
struct Pending {
    written: Written,
    since: Instant,
}

impl WriterThread {
    /// Works until nobody is left to ask for it.
    pub fn run(mut self, work: &Receiver<WriterCommand>) {
        let mut pending: Option<Pending> = None;
        loop {
            let idle = pending.as_ref().map_or(self.refresh_every, |pending| self.left(pending));
            match work.recv_timeout(idle) {
                Ok(WriterCommand::Write(batch)) => self.write(batch, &mut pending),
                Ok(WriterCommand::Settle(number)) => {
                    self.refresh_and_release_offsets(pending.take());
                    self.report(WriterEvent::Settled(number));
                }
                Ok(WriterCommand::Assigned) => self.reload_counted_jobs(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if pending.as_ref().is_some_and(|pending| self.left(pending).is_zero()) {
                self.refresh_and_release_offsets(pending.take());
            }
        }
    }

    fn left(&self, pending: &Pending) -> Duration {
        self.refresh_every.saturating_sub(pending.since.elapsed())
    }

    fn reload_counted_jobs(&mut self) {
        let cancel_current = self.cancel_current.current();
        if let Some(job_metrics) = &mut self.writer.job_metrics {
            // Called off = the partitions go again before anything of them was written.
            let _ = self.runtime.block_on(job_metrics.reload(self.writer.clickhouse.client(), &cancel_current));
        }
    }

    fn write(&mut self, mut batch: Batch, pending: &mut Option<Pending>) {
        let stopped = self.writer.stopped.len();
        let cancel_current = self.cancel_current.current();
        match self.runtime.block_on(self.writer.write(&batch, &fold(&batch), &cancel_current)) {
            Ok(written) => {
                let nothing = || Pending { written: Written::default(), since: Instant::now() };
                pending.get_or_insert_with(nothing).written.append(written);
            }
            Err(Cancelled) => batch.positions.clear(),
        }
        if self.writer.stopped.len() > stopped {
            for (topic, partition) in self.writer.stopped.keys() {
                self.report(WriterEvent::Stopped(*topic, *partition));
            }
        }
        self.report(WriterEvent::Written(batch));
    }

    /// Refreshes what became dirty, and lets what was written be committed. Called off, it is read again by whoever has its
    /// partitions then, and the roll-up with it.
    fn refresh_and_release_offsets(&self, pending: Option<Pending>) {
        let Some(Pending { written: Written { positions, dirty }, .. }) = pending else { return };
        let cancel_current = self.cancel_current.current();
        if self.runtime.block_on(self.refresher.refresh(&dirty, &cancel_current, |_| {})).is_ok() {
            hit(FailPoint::AfterRefresh);
            self.report(WriterEvent::Commit(positions));
        }
    }

    fn report(&self, done: WriterEvent) {
        // Nobody listens any more only where the consumer is being thrown away.
        let _ = self.done.send(done);
    }
}
