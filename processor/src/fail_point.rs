//! Points where a test kills the process: with `HOOKLINE_FAIL_POINT=after_jobs:3` the process sends itself SIGKILL when it
//! hits that point for the third time; with `after_jobs:3:panic` the thread that hits it panics. Builds without debug assertions leave all of this out.
//!
//! | point | the process has just |
//! |---|---|
//! | `after_consume` | handed a batch to the writer |
//! | `after_jobs` | inserted a batch's rows of `jobs` |
//! | `after_deliveries` | inserted a batch's rows of `deliveries` and `dead_letters` |
//! | `after_refresh` | refreshed the roll-up |
//! | `before_commit` | received offsets that may be committed |
//! | `after_commit` | sent the commit of these offsets |
//! | `redrive_begun` | noted in its plan that a redrive begins |
//! | `redrive_one_sent` | heard that the brokers have one redriven record; others are on their way |
//! | `redrive_all_sent` | heard that they have all redriven records of a page |
//! | `redrive_noted` | noted in the table what became of a page |
//! | `redrive_saved` | saved that a page is done |

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FailPoint {
    AfterConsume,
    AfterJobs,
    AfterDeliveries,
    AfterRefresh,
    BeforeCommit,
    AfterCommit,
    RedriveBegun,
    RedriveOneSent,
    RedriveAllSent,
    RedriveNoted,
    RedriveSaved,
}

#[cfg(not(debug_assertions))]
pub fn hit(_: FailPoint) {}

/// Does not return where the test wants the process killed.
#[cfg(debug_assertions)]
pub fn hit(point: FailPoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static PLAN: OnceLock<Option<(String, AtomicI64, bool)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("HOOKLINE_FAIL_POINT").ok()?;
        let (plan, panics) = plan.strip_suffix(":panic").map_or((&*plan, false), |plan| (plan, true));
        let (point, times) = plan.split_once(':').unwrap_or((plan, "1"));
        Some((point.to_owned(), AtomicI64::new(times.parse().ok()?), panics))
    });
    let Some((wanted, left, panics)) = plan else { return };
    if wanted == <&str>::from(point) && left.fetch_sub(1, Ordering::Relaxed) == 1 {
        assert!(!panics, "the fail point {wanted} was hit");
        let own = nix::unistd::Pid::this();
        // No handler can catch this signal, so it cannot fail.
        let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}
