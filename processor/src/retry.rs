//! How long to wait before trying again: longer each time, up to a limit, and never all at once.

use std::time::Duration;

use hookline_service::shutdown::CancellationToken;
use rand::RngExt as _;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The work was called off while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// Waits between attempts.
#[derive(Debug)]
pub struct Backoff<'t> {
    next: Duration,
    cancel: &'t CancellationToken,
}

impl<'t> Backoff<'t> {
    /// Until `cancel`.
    pub fn until(cancel: &'t CancellationToken) -> Self {
        Self { next: FIRST, cancel }
    }

    /// Waits between half and all of the current time, which then doubles.
    pub async fn wait(&mut self) -> Result<(), Cancelled> {
        let share = rand::rng().random_range(0.5..1.0);
        let time = self.next.mul_f64(share);
        self.next = (self.next * 2).min(LONGEST);
        self.or_cancelled(tokio::time::sleep(time)).await
    }

    /// Does something that may take long.
    pub async fn or_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Cancelled> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(Cancelled),
        }
    }
}
