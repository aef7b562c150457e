//! Tries an operation again until it succeeds, fails for good, or is cancelled.
//!
//! The delay grows exponentially and is jittered, so that the members of a group do not all come back at the same moment. A
//! crate for back-off would need an adapter for cancellation that is as long as this file.

use std::time::Duration;

use hookline_service::shutdown::CancellationToken;
use rand::RngExt as _;

const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled before it was done")]
pub struct Cancelled;

/// Runs `operation` until it succeeds or fails with an error for which `retry` returns false; between two attempts it waits
/// for half to all of the current delay, which then doubles. Cancelling drops the attempt under way.
pub async fn until_cancelled<T, E>(
    cancel: &CancellationToken,
    mut operation: impl AsyncFnMut() -> Result<T, E>,
    mut retry: impl FnMut(&E) -> bool,
) -> Result<Result<T, E>, Cancelled> {
    let attempts = async {
        let mut delay = MIN_DELAY;
        loop {
            match operation().await {
                Err(error) if retry(&error) => {
                    tokio::time::sleep(delay.mul_f64(rand::rng().random_range(0.5..1.0))).await;
                    delay = (delay * 2).min(MAX_DELAY);
                }
                result => return result,
            }
        }
    };
    tokio::select! {
        biased;
        result = attempts => Ok(result),
        () = cancel.cancelled() => Err(Cancelled),
    }
}
