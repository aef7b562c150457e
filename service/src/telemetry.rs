//! Logs: for people on a terminal, JSON otherwise; on standard error, so that standard output stays for results.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The variable that sets what is logged, such as `info` or `hookline_ingest=debug`.
pub const LOG_VARIABLE: &str = "HOOKLINE_LOG";

/// Installs the subscriber, once for a process.
pub fn init() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        subscriber.with_target(false).init();
    } else {
        subscriber.json().flatten_event(true).init();
    }
}
