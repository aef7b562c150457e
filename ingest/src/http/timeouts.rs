//! The time limits of a connection: 15 s for a head, 30 s between two requests, less at shutdown. A body has a limit of
//! its own, see [`crate::http::body`].
//!
//! The phase of a connection is one atomic number. Its watchdog looks at that number only when a limit could be
//! exceeded at the earliest, so a connection has one timer, and a request arms none: hyper's `header_read_timeout` arms
//! one for each head.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Instant;

/// The time limits of a connection, by phase. A request has none here: its body and the broker's confirmation have
/// theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    pub head: Duration,
    pub idle: Duration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No byte of the next request has arrived.
    Idle,
    /// The first bytes of a head have arrived, or nothing has yet since the connection was opened.
    Head,
    /// From the end of a head to the response, but for the time as [`Phase::Body`].
    Busy,
    /// The rest of a body is awaited that did not come together with its head.
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutCheck {
    /// No limit can be exceeded before this time has passed.
    CheckAgainAfter(Duration),
    /// The limit of this phase is exceeded: the connection has to be closed.
    Exceeded(Phase),
}

impl ConnectionTimeouts {
    pub const SERVING: Self = Self { head: Duration::from_secs(15), idle: Duration::from_secs(30) };
    /// At shutdown, so that a connection on which nothing was ever sent does not delay the end of the process.
    pub const SHUTDOWN: Self = Self { head: Duration::from_secs(5), idle: Duration::from_secs(1) };

    /// Checks a connection that has been in `phase` for `elapsed`.
    pub fn check(self, phase: Phase, elapsed: Duration) -> TimeoutCheck {
        let limit = match phase {
            Phase::Idle => self.idle,
            Phase::Head => self.head,
            Phase::Busy | Phase::Body => return TimeoutCheck::CheckAgainAfter(self.head.min(self.idle)),
        };
        match limit.checked_sub(elapsed) {
            // A head whose first bytes arrive right after this check is late `head` from now at the earliest.
            Some(left) if !left.is_zero() => TimeoutCheck::CheckAgainAfter(left.min(self.head)),
            Some(_) | None => TimeoutCheck::Exceeded(phase),
        }
    }
}

/// The phase of a connection and the time since when, shared by those who change it and the watchdog.
#[derive(Clone)]
pub struct ConnectionPhase {
    opened: Instant,
    /// The lowest two bits are the phase, the others the microseconds from `opened` to its beginning.
    state: Arc<AtomicU64>,
}

impl Default for ConnectionPhase {
    fn default() -> Self {
        Self { opened: Instant::now(), state: Arc::new(AtomicU64::new(Phase::Head as u64)) }
    }
}

impl ConnectionPhase {
    pub fn enter(&self, phase: Phase) {
        self.state.store(self.microseconds() << 2 | phase as u64, Ordering::Relaxed);
    }

    /// The current phase, and how long it has lasted.
    pub fn current(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Body,
        };
        (phase, Duration::from_micros(self.microseconds().saturating_sub(state >> 2)))
    }

    /// How long the connection has waited for its client; none while the client waits for it.
    pub fn waits_for_client(&self) -> Option<Duration> {
        match self.current() {
            (Phase::Idle | Phase::Head | Phase::Body, elapsed) => Some(elapsed),
            (Phase::Busy, _) => None,
        }
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX >> 2)
    }
}

/// A stream that enters the phase [`Phase::Head`] when the first bytes of a head arrive, which hyper does not report.
pub struct PhaseTrackingIo<T> {
    pub io: T,
    pub phase: ConnectionPhase,
}

impl<T: Read + Unpin> Read for PhaseTrackingIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() && self.phase.current().0 == Phase::Idle {
            self.phase.enter(Phase::Head);
        }
        read
    }
}

impl<T: Write + Unpin> Write for PhaseTrackingIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn heads_and_idleness_run_out() {
        let serving = |phase: Phase, seconds: u32| ConnectionTimeouts::SERVING.check(phase, seconds * SECOND);
        let shutdown = |phase: Phase, seconds: u32| ConnectionTimeouts::SHUTDOWN.check(phase, seconds * SECOND);
        assert_eq!(serving(Phase::Head, 14), TimeoutCheck::CheckAgainAfter(SECOND));
        assert_eq!(serving(Phase::Head, 15), TimeoutCheck::Exceeded(Phase::Head));
        assert_eq!(serving(Phase::Idle, 0), TimeoutCheck::CheckAgainAfter(15 * SECOND), "a head may begin at once");
        assert_eq!(serving(Phase::Idle, 29), TimeoutCheck::CheckAgainAfter(SECOND));
        assert_eq!(serving(Phase::Idle, 30), TimeoutCheck::Exceeded(Phase::Idle));
        assert_eq!(serving(Phase::Busy, 60), TimeoutCheck::CheckAgainAfter(15 * SECOND));
        assert_eq!(shutdown(Phase::Idle, 1), TimeoutCheck::Exceeded(Phase::Idle));
        assert_eq!(shutdown(Phase::Head, 4), TimeoutCheck::CheckAgainAfter(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_knows_its_phase_and_since_when() {
        let connection = ConnectionPhase::default();
        assert_eq!(connection.current(), (Phase::Head, Duration::ZERO));
        tokio::time::advance(SECOND).await;
        assert_eq!(connection.current(), (Phase::Head, SECOND));
        for phase in [Phase::Busy, Phase::Body, Phase::Head, Phase::Idle] {
            connection.enter(phase);
            tokio::time::advance(SECOND / 2).await;
            assert_eq!(connection.current(), (phase, SECOND / 2));
            assert_eq!(connection.waits_for_client(), (phase != Phase::Busy).then_some(SECOND / 2));
        }
    }
}
