//! Places where a test kills the process: `HOOKLINE_FAULT=after_jobs:3` sends SIGKILL to the process itself when it passes
//! that place for the third time. Builds without debug assertions have none of this.
//!
//! | place | the process has just |
//! |---|---|
//! | `after_consume` | handed a batch to the writer |
//! | `after_jobs` | inserted a batch's rows of `jobs` |
//! | `after_deliveries` | inserted a batch's rows of `deliveries` and `dead_letters` |
//! | `after_refresh` | refreshed the roll-up |
//! | `before_commit` | received offsets that may be committed |
//! | `after_commit` | committed them |

/// A place in the way of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above")]
pub enum Fault {
    AfterConsume,
    AfterJobs,
    AfterDeliveries,
    AfterRefresh,
    BeforeCommit,
    AfterCommit,
}

/// Passes a place.
#[cfg(not(debug_assertions))]
pub fn pass(_: Fault) {}

/// Passes a place, perhaps never to leave it.
#[cfg(debug_assertions)]
pub fn pass(fault: Fault) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static PLAN: OnceLock<Option<(String, AtomicI64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("HOOKLINE_FAULT").ok()?;
        let (place, times) = plan.split_once(':').unwrap_or((&plan, "1"));
        Some((place.to_owned(), AtomicI64::new(times.parse().ok()?)))
    });
    let Some((place, left)) = plan else { return };
    if *place == fault.as_str() && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let own = nix::unistd::Pid::this();
        // A signal to oneself that nobody can catch.
        let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
impl Fault {
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
