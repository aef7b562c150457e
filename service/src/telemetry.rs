//! Logs go to standard error, so that standard output is free for results: as text on a terminal, as JSON otherwise.
//!
//! A thread of its own writes them. A standard error that is closed, full or slow loses lines, which are counted, and harms
//! nothing else: no thread that logs waits, fails or panics.

mod line_queue;

use std::fmt::Display;
use std::io::{IsTerminal as _, stderr};
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;

use self::line_queue::LineQueue;
use crate::cli::Printable;

/// The environment variable that sets what is logged, such as `info` or `hookline_ingest=debug`.
pub const LOG_VARIABLE: &str = "HOOKLINE_LOG";

/// The end of a process waits this long for lines that are not written yet.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static LINES_LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Lines of the log that standard error did not take: it was closed, full or too slow";
    #[expect(clippy::expect_used, reason = "the name is a constant and valid")]
    IntCounter::new("hookline_log_lines_lost_total", help).expect("a valid name")
});

static STDERR: LazyLock<LineQueue> = LazyLock::new(|| LineQueue::to(stderr(), LINES_LOST.clone()));

/// Installs the subscriber, and a hook that logs panics. Panics when called twice in a process.
pub fn init() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| &*STDERR);
    if stderr().is_terminal() {
        subscriber.with_target(false).init();
    } else {
        subscriber.json().flatten_event(true).init();
    }
    // The default hook writes to standard error itself, and waits there while that is full.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// The counter of the lines that were lost, for the metrics of a daemon.
pub fn lines_lost() -> IntCounter {
    LINES_LOST.clone()
}

/// Writes a line to standard error that belongs to no log, such as the error that ends a command; control characters are
/// escaped.
pub fn print_line(line: impl Display) {
    STDERR.push(format!("{}\n", Printable(line)).into_bytes());
}

/// Waits until all lines are written, but not longer than a second. The last thing that a process does.
pub fn flush() {
    STDERR.flush(FLUSH_TIMEOUT);
}
