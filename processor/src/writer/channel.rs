//! How the consumer and the writer's thread talk: commands one way, events the other, and a way to cancel.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookline_service::shutdown::CancellationToken;

use crate::batch::Batch;
use crate::consumer::offset_tracker::{PartitionKey, WrittenRanges};
use crate::expired::Gap;
use crate::log_ids::LogError;

/// The consumer has at most one batch and a few short commands under way, so sending never blocks.
const COMMANDS: usize = 16;

#[derive(Debug)]
pub enum WriterCommand {
    /// These partitions were assigned: reload what other members counted, and find what expired.
    Assigned(Vec<PartitionKey>),
    /// All partitions were revoked: forget what waits of them.
    Revoked,
    /// Offsets that were not read, before records of the next batch: find which of them expired.
    Gaps(Vec<Gap>),
    Write(Batch),
    /// Refresh the roll-up now, so that everything written can be committed. The number comes back in `Settled`.
    Settle(u64),
}

#[derive(Debug)]
pub enum WriterEvent {
    /// The batch is done; its memory comes back. Without positions, it was cancelled, or the writer keeps it until it can be
    /// written and other memory comes back.
    Written(Batch),
    /// The tables and the roll-up have the records of these ranges.
    Released(WrittenRanges),
    /// Nothing written is left uncommitted, unless it was cancelled.
    Settled(u64),
    /// A dead letter of this partition is refused in every form.
    Stopped(PartitionKey),
    /// The table takes what had stopped this partition.
    Resumed(PartitionKey),
    /// The log that records came from is not the one any more that this consumer began with, or cannot be known: only a new
    /// consumer can go on.
    LogLost(LogError),
}

/// Cancels the work in progress when partitions are revoked; the batch stays uncommitted and is read again.
#[derive(Clone, Debug, Default)]
pub struct CancelCurrent(Arc<Mutex<CancellationToken>>);

#[derive(Debug)]
pub struct WriterHandle {
    pub commands: SyncSender<WriterCommand>,
    pub events: Receiver<WriterEvent>,
    pub cancel_current: CancelCurrent,
}

#[derive(Debug)]
pub struct WriterInbox {
    pub commands: Receiver<WriterCommand>,
    pub events: Sender<WriterEvent>,
    pub cancel_current: CancelCurrent,
}

pub fn writer_channel() -> (WriterHandle, WriterInbox) {
    let (command_sender, commands) = sync_channel(COMMANDS);
    let (event_sender, events) = channel();
    let cancel_current = CancelCurrent::default();
    (
        WriterHandle { commands: command_sender, events, cancel_current: cancel_current.clone() },
        WriterInbox { commands, events: event_sender, cancel_current },
    )
}

impl CancelCurrent {
    /// Gives the token for work that begins now.
    pub fn token(&self) -> CancellationToken {
        self.lock().clone()
    }

    pub fn cancel(&self) {
        self.lock().cancel();
    }

    /// Lets work that begins from now on run again.
    pub fn renew(&self) {
        let mut token = self.lock();
        if token.is_cancelled() {
            *token = CancellationToken::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
