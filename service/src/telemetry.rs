//! Logs go to standard error, so that standard output is free for results: as text on a terminal, as JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The environment variable that sets what is logged, such as `info` or `hookline_ingest=debug`.
pub const LOG_VARIABLE: &str = "HOOKLINE_LOG";

/// Installs the subscriber. Panics when called twice in a process.
pub fn init() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        subscriber.with_target(false).init();
    } else {
        subscriber.json().flatten_event(true).init();
    }
}
