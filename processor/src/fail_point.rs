//! Points where a test kills the process: with `HOOKLINE_FAIL_POINT=after_jobs:3` the process sends itself SIGKILL when it
//! hits that point for the third time; with `after_jobs:3:panic` the thread that hits it panics, with `after_jobs:3:terminate` the
//! process sends itself SIGTERM and goes on, and with `after_jobs:3:stop` it stands still until a SIGCONT. Builds without debug assertions leave all of this out.
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
//! | `after_shadow` | made the table that a rebuild fills |
//! | `after_filled_batch` | inserted a batch into one of a rebuild's tables, and saved how far it is |
//! | `after_fill` | filled the shadow |
//! | `after_verify` | verified it |
//! | `before_exchange` | got ready to exchange the tables |
//! | `after_exchange` | exchanged them |
//! | `after_inserts` | waited for the inserts that had begun before |
//! | `after_catch_up` | given the live table what the other one got last |
//! | `after_rebuild_refresh` | refreshed the roll-up after an exchange |
//! | `after_drop` | dropped the table that is not live |

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
    AfterShadow,
    AfterFilledBatch,
    AfterFill,
    AfterVerify,
    BeforeExchange,
    AfterExchange,
    AfterInserts,
    AfterCatchUp,
    AfterRebuildRefresh,
    AfterDrop,
}

#[cfg(not(debug_assertions))]
pub fn hit(_: FailPoint) {}

/// Does not return where the test wants the process killed.
#[cfg(debug_assertions)]
pub fn hit(point: FailPoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    use nix::sys::signal::Signal;

    static PLAN: OnceLock<Option<(String, AtomicI64, String)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("HOOKLINE_FAIL_POINT").ok()?;
        let mut parts = plan.split(':').map(str::to_owned);
        let (point, times, then) = (parts.next()?, parts.next(), parts.next());
        Some((point, AtomicI64::new(times.unwrap_or_else(|| "1".into()).parse().ok()?), then.unwrap_or_default()))
    });
    let Some((wanted, left, then)) = plan else { return };
    if wanted != <&str>::from(point) || left.fetch_sub(1, Ordering::Relaxed) != 1 {
        return;
    }
    assert!(then != "panic", "the fail point {wanted} was hit");
    let signal = match &**then {
        "terminate" => Signal::SIGTERM,
        "stop" => Signal::SIGSTOP,
        _ => Signal::SIGKILL,
    };
    // A signal to oneself cannot fail, and no handler can catch SIGKILL. It is for this thread: another one would stop the process a
    // moment later, and this one go on until then.
    let _ = nix::sys::signal::raise(signal);
    if signal == Signal::SIGKILL {
        loop {
            std::thread::park();
        }
    }
}
