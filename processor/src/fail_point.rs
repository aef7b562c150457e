//! Places where a test kills the process: `HOOKLINE_FAULT=after_jobs:3` sends SIGKILL to the process itself when it passes
//! that position for the third time. Builds without debug assertions have none of this.
//!
//! | position | the process has just |
//! |---|---|
//! | `after_consume` | handed a batch to the writer |
//! | `after_jobs` | inserted a batch's rows of `jobs` |
//! | `after_deliveries` | inserted a batch's rows of `deliveries` and `dead_letters` |
//! | `after_refresh` | refreshed the roll-up |
//! | `before_commit` | received offsets that may be committed |
//! | `after_commit` | committed them |

/// A position in the way of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above")]
pub enum FailPoint {
    AfterConsume,
    AfterJobs,
    AfterDeliveries,
    AfterRefresh,
    BeforeCommit,
    AfterCommit,
}

/// Passes a position.
#[cfg(not(debug_assertions))]
pub fn hit(_: FailPoint) {}

/// Passes a position, perhaps never to leave it.
#[cfg(debug_assertions)]
pub fn hit(fault: FailPoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static PLAN: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("HOOKLINE_FAULT").ok()?;
        let (position, times) = plan.split_once(':').unwrap_or((&plan, "1"));
        Some((position.to_owned(), AtomicI64::new(times.parse().ok()?)))
    });
    let Some((position, left)) = plan else { return };
    if *position == fault.as_str() && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let own = nix::unistd::Pid::this();
        // A signal to oneself that nobody can catch.
        let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
impl FailPoint {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AfterConsume => "after_consume",
            Self::AfterJobs => "after_jobs",
            Self::AfterDeliveries => "after_deliveries",
            Self::AfterRefresh => "after_refresh",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
        }
    }
}
