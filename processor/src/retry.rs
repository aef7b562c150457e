//! How long to wait before trying again: longer each time, up to a limit, and never all at once.

use std::time::Duration;

use hookline_service::shutdown::CancellationToken;
use rand::RngExt as _;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The work was called off while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalledOff;

/// Waits between attempts.
#[derive(Debug)]
pub struct Patience<'t> {
    next: Duration,
    give_up: &'t CancellationToken,
}

impl<'t> Patience<'t> {
    /// Until `give_up`.
    pub fn until(give_up: &'t CancellationToken) -> Self {
        Self { next: FIRST, give_up }
    }

    /// Waits between half and all of the current time, which then doubles.
    pub async fn wait(&mut self) -> Result<(), CalledOff> {
        let share = rand::rng().random_range(0.5..1.0);
        let time = self.next.mul_f64(share);
        self.next = (self.next * 2).min(LONGEST);
        self.or_give_up(tokio::time::sleep(time)).await
    }

    /// Does something that may take long.
    pub async fn or_give_up<T>(&self, work: impl Future<Output = T>) -> Result<T, CalledOff> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.give_up.cancelled() => Err(CalledOff),
        }
    }
}
