//! How long a connection may take: 15 s for a head, 30 s idle, less while the service drains. A body has a limit of its
//! own, see [`crate::webhook`].
//!
//! The phase of a connection is one atomic number, so that requests cost no timer each: a watchdog looks at it when it
//! could be due at the earliest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Instant;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a head.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
}

impl Patience {
    /// In general.
    pub const SERVING: Self = Self { head: Duration::from_secs(15), idle: Duration::from_secs(30) };
    /// While the service drains: a connection on which nothing was ever sent must not hold it up.
    pub const DRAINING: Self = Self { head: Duration::from_secs(5), idle: Duration::from_secs(1) };
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests.
    Idle,
    /// A head has begun to arrive, or the connection is new.
    Head,
    /// A request is being worked on.
    Busy,
}

/// What the watchdog finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again after this long.
    Wait(Duration),
    /// Out of patience; what it was doing.
    Close(Phase),
}

impl Phase {
    /// Judges a connection that has been in this phase for `elapsed`.
    pub fn judge(self, elapsed: Duration, Patience { head, idle }: Patience) -> Verdict {
        let limit = match self {
            Self::Idle => idle,
            Self::Head => head,
            Self::Busy => return Verdict::Wait(head.min(idle)),
        };
        match limit.checked_sub(elapsed) {
            // A head that begins to arrive the next moment is due this much later at the earliest.
            Some(left) if !left.is_zero() => Verdict::Wait(left.min(head)),
            Some(_) | None => Verdict::Close(self),
        }
    }
}

/// The phase of a connection and since when, shared by whoever moves it on and its watchdog.
#[derive(Clone, Debug)]
pub struct Pulse {
    opened: Instant,
    /// Milliseconds since `opened`, shifted by two; the phase below.
    state: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { opened: Instant::now(), state: Arc::new(AtomicU64::new(Phase::Head as u64)) }
    }
}

impl Pulse {
    /// The connection enters `phase`.
    pub fn enter(&self, phase: Phase) {
        self.state.store(self.milliseconds() << 2 | phase as u64, Ordering::Relaxed);
    }

    /// What it is doing, and for how long.
    pub fn phase(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, Duration::from_millis(self.milliseconds().saturating_sub(state >> 2)))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

/// A stream that notices when a head begins to arrive.
#[derive(Debug)]
pub struct Felt<T> {
    /// The stream.
    pub io: T,
    /// Its connection's pulse.
    pub pulse: Pulse,
}

impl<T: Read + Unpin> Read for Felt<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() && self.pulse.phase().0 == Phase::Idle {
            self.pulse.enter(Phase::Head);
        }
        read
    }
}

impl<T: Write + Unpin> Write for Felt<T> {
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
        let serving = |phase: Phase, seconds: u32| phase.judge(seconds * SECOND, Patience::SERVING);
        assert_eq!(serving(Phase::Head, 14), Verdict::Wait(SECOND));
        assert_eq!(serving(Phase::Head, 15), Verdict::Close(Phase::Head));
        assert_eq!(serving(Phase::Idle, 0), Verdict::Wait(15 * SECOND), "a head may begin at once");
        assert_eq!(serving(Phase::Idle, 29), Verdict::Wait(SECOND));
        assert_eq!(serving(Phase::Idle, 30), Verdict::Close(Phase::Idle));
        assert_eq!(serving(Phase::Busy, 60), Verdict::Wait(15 * SECOND));
        assert_eq!(Phase::Idle.judge(SECOND, Patience::DRAINING), Verdict::Close(Phase::Idle));
        assert_eq!(Phase::Head.judge(4 * SECOND, Patience::DRAINING), Verdict::Wait(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pulse_tells_phase_and_time() {
        let pulse = Pulse::default();
        assert_eq!(pulse.phase(), (Phase::Head, Duration::ZERO));
        tokio::time::advance(SECOND).await;
        assert_eq!(pulse.phase(), (Phase::Head, SECOND));
        for phase in [Phase::Busy, Phase::Idle] {
            pulse.enter(phase);
            tokio::time::advance(SECOND / 2).await;
            assert_eq!(pulse.phase(), (phase, SECOND / 2));
        }
    }
}
