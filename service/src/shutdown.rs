//! The end of a daemon: SIGTERM and SIGINT cancel one token that every part of it watches.

use std::io;
use std::process::exit;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
pub use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// A daemon ends within this time of a signal, whatever it waits for: Kubernetes kills after 30 s, and compose is told to.
pub const LONGEST: Duration = Duration::from_secs(25);

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

/// Ends the process with exit code 1 where it still runs `timeout` after `shutdown` was cancelled, whatever it waits for. The
/// message says what that means for the work that is left. Must be called on a tokio runtime.
pub fn exit_after(shutdown: CancellationToken, timeout: Duration, message: &'static str) {
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(timeout).await;
        tracing::error!(timeout_ms = timeout.as_millis(), "{message}");
        telemetry::flush();
        exit(1);
    });
}
