//! The end of a daemon: SIGTERM and SIGINT cancel one token that every part of it watches.

use std::io;
use std::process::exit;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
pub use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// A daemon ends within this time of a signal, whatever it waits for, unless it is configured otherwise: Kubernetes kills after 30 s, and compose is told to.
pub const LONGEST: Duration = Duration::from_secs(25);
/// The time that threads have at the end for calls that block, such as one that waits for a name server.
pub const BLOCKED_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds up what the end of a program may take: its own parts, one after the other, and the log after them.
pub const fn longest_shutdown(parts: &[Duration]) -> Duration {
    match parts {
        [] => telemetry::FLUSH_TIMEOUT,
        [part, rest @ ..] => part.saturating_add(longest_shutdown(rest)),
    }
}

/// Whether a program whose end has these parts keeps to [`LONGEST`].
pub const fn fits_shutdown(parts: &[Duration]) -> bool {
    longest_shutdown(parts).as_nanos() <= LONGEST.as_nanos()
}

/// From now on SIGHUP, which ends a process that does not handle it, changes nothing: for a daemon that has no file to read
/// again. Must be called on a tokio runtime.
pub fn ignore_hangup() -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: nothing is read again; a changed configuration needs a restart");
        }
    });
    Ok(())
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once, with exit code 1. Must be called on a
/// tokio runtime.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let cancel = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
        cancel.cancel();
        let name = next().await;
        tracing::error!(signal = name, "the second signal: the process ends without finishing its work");
        telemetry::flush();
        exit(1);
    });
    Ok(shutdown)
}

/// Ends the process with exit code 1 so that it is gone `timeout` after `shutdown` was cancelled, whatever it waits for; threads
/// that are blocked and the log have the last part of that time. The message says what that means for the work that is left.
/// Must be called on a tokio runtime.
pub fn exit_after(shutdown: CancellationToken, timeout: Duration, message: &'static str) {
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(timeout.saturating_sub(longest_shutdown(&[BLOCKED_TIMEOUT]))).await;
        tracing::error!(timeout_ms = timeout.as_millis(), "{message}");
        telemetry::flush();
        exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_end_and_the_log_are_added_up() {
        let seconds = Duration::from_secs;
        assert_eq!(longest_shutdown(&[]), telemetry::FLUSH_TIMEOUT);
        assert_eq!(longest_shutdown(&[seconds(15), seconds(4)]), seconds(19) + telemetry::FLUSH_TIMEOUT);
        assert_eq!(longest_shutdown(&[Duration::MAX, seconds(1)]), Duration::MAX);
        let most = LONGEST - telemetry::FLUSH_TIMEOUT;
        assert!(fits_shutdown(&[most - seconds(1), seconds(1)]));
        assert!(!fits_shutdown(&[most, Duration::from_nanos(1)]));
    }
}
