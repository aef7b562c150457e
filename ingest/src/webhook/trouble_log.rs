//! What the log says of webhooks that are refused or become dead letters: a line when that begins, one a minute while it lasts, and
//! one when it has ended, by source and reason. A stranger who sends thousands writes no more lines than that.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::peer::Peer;

/// How often a trouble that lasts has a line, and how long nothing of it must be seen until it has ended.
const INTERVAL: Duration = Duration::from_secs(60);

/// Sources are those of the configuration, and reasons are few.
type Key = (String, &'static str);

#[derive(Debug, Default)]
pub struct TroubleLog(Mutex<Troubles>);

#[derive(Debug, Default)]
struct Troubles(BTreeMap<Key, Trouble>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    began: Instant,
    last: Instant,
    last_line: Instant,
    webhooks: u64,
}

impl Troubles {
    /// Returns how many webhooks there were so far where a line is due.
    fn saw(&mut self, key: Key, now: Instant) -> Option<u64> {
        let is_new = !self.0.contains_key(&key);
        let trouble = self.0.entry(key).or_insert(Trouble { began: now, last: now, last_line: now, webhooks: 0 });
        trouble.webhooks += 1;
        trouble.last = now;
        if is_new || now.saturating_duration_since(trouble.last_line) >= INTERVAL {
            trouble.last_line = now;
            return Some(trouble.webhooks);
        }
        None
    }

    /// Removes what has ended.
    fn take_ended(&mut self, now: Instant) -> Vec<(Key, Trouble)> {
        self.0.extract_if(.., |_, trouble| now.saturating_duration_since(trouble.last) >= INTERVAL).collect()
    }
}

impl TroubleLog {
    /// Asks who sent it where a line is due.
    pub fn saw(&self, source: &str, reason: &'static str, sender: impl FnOnce() -> Peer) {
        let due = self.troubles(|troubles| troubles.saw((source.to_owned(), reason), Instant::now()));
        if let Some(webhooks) = due {
            tracing::warn!(source, reason, peer = %sender(), webhooks, "webhooks are refused or become dead letters");
        }
    }

    /// Logs what has ended; called at intervals.
    pub fn log_ended(&self) {
        for ((source, reason), Trouble { began, last, webhooks, .. }) in
            self.troubles(|troubles| troubles.take_ended(Instant::now()))
        {
            let seconds = last.saturating_duration_since(began).as_secs();
            tracing::info!(
                source,
                reason,
                webhooks,
                seconds,
                "none for a minute that was refused or became a dead letter"
            );
        }
    }

    fn troubles<T>(&self, work: impl FnOnce(&mut Troubles) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_has_a_line_when_it_begins_one_a_minute_and_one_when_it_has_ended() {
        let (mut troubles, began) = (Troubles::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let key = |reason| ("prod".to_owned(), reason);
        let mut lines = Vec::new();
        for second in 0..150 {
            lines.extend(troubles.saw(key("signature_wrong"), at(second)));
            assert_eq!(troubles.take_ended(at(second)), []);
        }
        assert_eq!(lines, [1, 61, 121]);
        assert_eq!(troubles.saw(key("stale_past"), at(150)), Some(1), "another reason has its own");
        assert_eq!(troubles.take_ended(at(208)), []);
        let ended = troubles.take_ended(at(209));
        assert!(matches!(&*ended, [((_, "signature_wrong"), Trouble { webhooks: 150, .. })]), "{ended:?}");
        assert_eq!(troubles.saw(key("signature_wrong"), at(300)), Some(1), "it begins again");
    }
}
