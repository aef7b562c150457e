//! The writer's own thread: does one piece of work after the other and reports.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::batch::Batch;
use crate::batch::fold::fold;
use crate::consumer::{CallOff, Done, Work};
use crate::fail_point::{Fault, pass};
use crate::retry::CalledOff;
use crate::writer::rollup::Refresher;
use crate::writer::{Writer, Written};

/// What works.
pub struct Worker {
    /// Fills the tables.
    pub writer: Writer,
    /// Follows with the roll-up.
    pub refresher: Refresher,
    /// How often.
    pub refresh_every: Duration,
    /// The word to let go.
    pub call_off: CallOff,
    /// Where it reports.
    pub done: Sender<Done>,
    /// For what waits.
    pub runtime: Handle,
}

/// Written, but the roll-up does not know it yet.
struct Pending {
    written: Written,
    since: Instant,
}

impl Worker {
    /// Works until nobody is left to ask for it.
    pub fn run(mut self, work: &Receiver<Work>) {
        let mut pending: Option<Pending> = None;
        loop {
            let idle = pending.as_ref().map_or(self.refresh_every, |pending| self.left(pending));
            match work.recv_timeout(idle) {
                Ok(Work::Write(batch)) => self.write(batch, &mut pending),
                Ok(Work::Settle(number)) => {
                    self.conclude(pending.take());
                    self.report(Done::Settled(number));
                }
                Ok(Work::Assigned) => self.learn_what_others_counted(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if pending.as_ref().is_some_and(|pending| self.left(pending).is_zero()) {
                self.conclude(pending.take());
            }
        }
    }

    fn left(&self, pending: &Pending) -> Duration {
        self.refresh_every.saturating_sub(pending.since.elapsed())
    }

    fn learn_what_others_counted(&mut self) {
        let call_off = self.call_off.current();
        if let Some(business) = &mut self.writer.business {
            // Called off = the partitions go again before anything of them was written.
            let _ = self.runtime.block_on(business.reload(self.writer.sink.client(), &call_off));
        }
    }

    fn write(&mut self, mut batch: Batch, pending: &mut Option<Pending>) {
        let stopped = self.writer.stopped.len();
        let call_off = self.call_off.current();
        match self.runtime.block_on(self.writer.write(&batch, &fold(&batch), &call_off)) {
            Ok(written) => {
                let nothing = || Pending { written: Written::default(), since: Instant::now() };
                pending.get_or_insert_with(nothing).written.append(written);
            }
            Err(CalledOff) => batch.positions.clear(),
        }
        if self.writer.stopped.len() > stopped {
            for (topic, partition) in self.writer.stopped.keys() {
                self.report(Done::Stopped(*topic, *partition));
            }
        }
        self.report(Done::Written(batch));
    }

    /// Refreshes what became dirty, and lets what was written be committed. Called off, it is read again by whoever has its
    /// partitions then, and the roll-up with it.
    fn conclude(&self, pending: Option<Pending>) {
        let Some(Pending { written: Written { positions, dirty }, .. }) = pending else { return };
        let call_off = self.call_off.current();
        if self.runtime.block_on(self.refresher.refresh(&dirty, &call_off, |_| {})).is_ok() {
            pass(Fault::AfterRefresh);
            self.report(Done::Commit(positions));
        }
    }

    fn report(&self, done: Done) {
        // Nobody listens any more only where the consumer is being thrown away.
        let _ = self.done.send(done);
    }
}
