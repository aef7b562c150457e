//! The wall clock, for the edges of a program: what is decoded, folded or replayed takes its times as arguments.

use std::time::{Duration, SystemTime};

/// The time since 1970-01-01T00:00:00Z; zero if the machine's clock is set before that.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
