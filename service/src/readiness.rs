//! Whether a daemon can do its work, and what somebody should look at though it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Who says that a part is missing: one that finds it there does not speak for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    /// What the daemon does with the part.
    Work,
    /// A question that is asked again and again, also when there is no work.
    Probe,
}

#[derive(Clone, Debug)]
struct Missing {
    why: String,
    /// `None`: it was not there since the daemon began.
    since: Option<OffsetDateTime>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything that was ever missing.
    parts: BTreeSet<&'static str>,
    missing: BTreeMap<(&'static str, Witness), Missing>,
    warnings: Vec<String>,
}

/// The parts that a daemon needs for its work, such as Kafka. It is ready while none of them is missing. The log has a line when
/// a part goes missing, when the reason changes, when the part is back, and when none is missing any more.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<State>>);

impl Readiness {
    /// Starts with all of `parts` missing.
    pub fn waiting_for(parts: &[&'static str]) -> Self {
        let starting = || Missing { why: "starting".to_owned(), since: None };
        let missing = parts.iter().map(|part| ((*part, Witness::Work), starting())).collect();
        let parts = parts.iter().copied().collect();
        Self(Arc::new(Mutex::new(State { parts, missing, warnings: Vec::new() })))
    }

    /// Marks a part as there: it holds readiness up no more, unless a probe says otherwise.
    pub fn ready(&self, part: &'static str) {
        self.set(part, Witness::Work, None);
    }

    /// Marks `part` as missing; `/health/ready` shows why, and since when.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Witness::Work, Some(Missing { why: why.into(), since: Some(OffsetDateTime::now_utc()) }));
    }

    /// Sets what a probe of `part` found: `None`, or why it has been missing and since when.
    pub fn probed(&self, part: &'static str, missing: Option<(String, OffsetDateTime)>) {
        self.set(part, Witness::Probe, missing.map(|(why, since)| Missing { why, since: Some(since) }));
    }

    fn set(&self, part: &'static str, witness: Witness, missing: Option<Missing>) {
        let mut state = self.state();
        let before = state.missing.get(&(part, witness)).cloned();
        let Some(Missing { why, since }) = missing else {
            state.missing.remove(&(part, witness));
            if let Some(Missing { since: Some(since), .. }) = &before {
                let seconds = (OffsetDateTime::now_utc() - *since).whole_seconds();
                tracing::info!(part, since = rfc3339(*since), missing_seconds = seconds, "it is there again");
            }
            if before.is_some() && state.missing.is_empty() {
                tracing::info!("ready");
            }
            return;
        };
        if before.as_ref().is_none_or(|before| before.why != why) {
            tracing::warn!(part, why, "not ready");
        }
        let since = before.and_then(|before| before.since).or(since);
        state.parts.insert(part);
        state.missing.insert((part, witness), Missing { why, since });
    }

    /// The missing parts, each with the reason and since when.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let mut parts = BTreeMap::new();
        for ((part, _), Missing { why, since }) in &self.state().missing {
            let text = since.map_or_else(|| why.clone(), |since| format!("{why} since {}", rfc3339(since)));
            // What fails at work says more than a probe, and comes first.
            parts.entry(*part).or_insert(text);
        }
        parts
    }

    /// Replaces the warnings: what does not keep the daemon from its work, and somebody must look at.
    pub fn set_warnings(&self, warnings: Vec<String>) {
        self.state().warnings = warnings;
    }

    /// The warnings that `/health/ready` shows.
    pub fn warnings(&self) -> Vec<String> {
        self.state().warnings.clone()
    }

    /// The gauge `hookline_ready` of each part.
    pub(crate) fn gauges(&self) -> prometheus::Result<ReadinessGauges> {
        let help = "1 where a part that the process needs is there, 0 while /health/ready says why it is not";
        let options = Opts::new("hookline_ready", help);
        Ok(ReadinessGauges { readiness: self.clone(), family: IntGaugeVec::new(options, &["part"])? })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows the readiness as it is when the page is made.
pub(crate) struct ReadinessGauges {
    readiness: Readiness,
    family: IntGaugeVec,
}

impl Collector for ReadinessGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.readiness.state();
        for part in &state.parts {
            let is_missing = state.missing.keys().any(|(missing, _)| missing == part);
            self.family.with_label_values(&[part]).set((!is_missing).into());
        }
        drop(state);
        self.family.collect()
    }
}

/// To the second: more would be noise, and a text that changes.
fn rfc3339(moment: OffsetDateTime) -> String {
    moment.replace_nanosecond(0).unwrap_or(moment).format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: OffsetDateTime = time::macros::datetime!(2026-11-25 10:00:00.5 UTC);

    #[test]
    fn a_part_is_there_when_work_and_probe_agree() {
        let readiness = Readiness::waiting_for(&["kafka"]);
        assert_eq!(readiness.missing(), [("kafka", "starting".to_owned())].into());
        readiness.probed("kafka", Some(("no broker answers".into(), SINCE)));
        readiness.ready("kafka");
        let missing = [("kafka", "no broker answers since 2026-11-25T10:00:00Z".to_owned())];
        assert_eq!(readiness.missing(), missing.into());
        readiness.not_ready("clickhouse", "the table jobs is missing");
        assert_eq!(readiness.missing().into_keys().collect::<Vec<_>>(), ["clickhouse", "kafka"]);
        readiness.probed("clickhouse", None);
        readiness.probed("kafka", None);
        assert_eq!(readiness.missing().into_keys().collect::<Vec<_>>(), ["clickhouse"], "a probe does not overrule");
        readiness.ready("clickhouse");
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn since_is_when_it_began_whatever_the_reason_became() {
        let readiness = Readiness::waiting_for(&[]);
        readiness.probed("kafka", Some(("one".into(), SINCE)));
        readiness.probed("kafka", Some(("two".into(), SINCE + time::Duration::HOUR)));
        assert_eq!(readiness.missing().get("kafka").map(String::as_str), Some("two since 2026-11-25T10:00:00Z"));
    }
}
