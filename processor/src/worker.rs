//! The writer's own thread: does one piece of work after the other and reports.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use hookline_service::shutdown::CancellationToken;
use tokio::runtime::Handle;

use crate::group::{Done, Work};
use crate::writer::{Writer, Written};

/// What works.
pub struct Worker {
    writer: Writer,
    refresh_every: Duration,
    /// Written, but the roll-up does not know it yet.
    pending: Written,
    pending_since: Option<Instant>,
    done: Sender<Done>,
    runtime: Handle,
}

impl Worker {
    /// Reports to `done`.
    pub fn new(writer: Writer, refresh_every: Duration, done: Sender<Done>, runtime: Handle) -> Self {
        Self { writer, refresh_every, pending: Written::default(), pending_since: None, done, runtime }
    }

    /// Works until nobody is left to ask for it.
    pub fn run(mut self, work: &Receiver<Work>) {
        loop {
            let idle = self
                .pending_since
                .map_or(self.refresh_every, |since| self.refresh_every.saturating_sub(since.elapsed()));
            match work.recv_timeout(idle) {
                Ok(Work::Write(batch, give_up)) => self.write(batch, &give_up),
                Ok(Work::Settle(number, give_up)) => {
                    self.conclude(&give_up);
                    self.report(Done::Settled(number));
                }
                Ok(Work::Assigned) => {}
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.pending_since.is_some_and(|since| since.elapsed() >= self.refresh_every) {
                self.conclude(&CancellationToken::new());
            }
        }
    }

    fn write(&mut self, mut batch: crate::batch::Batch, give_up: &CancellationToken) {
        let stopped = self.writer.stopped.len();
        match self.runtime.block_on(self.writer.write(&batch, give_up)) {
            Ok(mut written) => {
                self.pending.positions.append(&mut written.positions);
                self.pending.dirty.append(&mut written.dirty);
                self.pending_since.get_or_insert_with(Instant::now);
            }
            Err(crate::patience::CalledOff) => batch.positions.clear(),
        }
        if self.writer.stopped.len() > stopped {
            for (topic, partition) in self.writer.stopped.keys() {
                self.report(Done::Stopped(*topic, *partition));
            }
        }
        self.report(Done::Written(batch));
    }

    /// Lets what was written be committed.
    fn conclude(&mut self, _give_up: &CancellationToken) {
        self.pending_since = None;
        let Written { positions, .. } = std::mem::take(&mut self.pending);
        if !positions.is_empty() {
            self.report(Done::Commit(positions));
        }
    }

    fn report(&self, done: Done) {
        // Nobody listens any more only where the consumer is being thrown away.
        let _ = self.done.send(done);
    }
}
