//! What is known of the assigned partitions: how far behind each is, and whether it stands still. Seconds are counted when the page
//! is made, so that they grow while no broker says anything. What statistics do not tell is found out by
//! [`LagProbe`](crate::consumer::lag_probe::LagProbe) and kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hookline_schemas::time::AppendedAt;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

type Key = (Topic, Partition);

const LABELS: [&str; 2] = ["topic", "partition"];

/// The page of metrics, the consumer and the probe share it; it outlives consumers, since while one is replaced its partitions are
/// nobody else's.
#[derive(Clone, Debug)]
pub struct Partitions {
    topics: Topics,
    /// Their series are made anew for each page.
    records: GaugeVec,
    seconds: GaugeVec,
    stopped: GaugeVec,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Until partitions are assigned again their series stay: while no broker answers, nobody else exports them.
    shown: BTreeMap<Key, Shown>,
    assigned: BTreeSet<Key>,
    /// Offsets of which nobody has read the record yet.
    wanted: BTreeMap<Key, Offset>,
    answers: BTreeMap<Key, Answer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    lag: Option<Lag>,
    is_stopped: bool,
}

/// How far a partition is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub records: i64,
    /// When the oldest record that is not committed was appended; `None` where there is none.
    pub since: Option<AppendedAt>,
}

impl Lag {
    pub const NONE: Self = Self { records: 0, since: None };
}

/// What the brokers said of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The end of the log.
    pub end: Option<Offset>,
    /// The offset that was wanted, and when the first record from there on was appended: `None` where there is no record.
    pub first: Option<(Offset, Option<AppendedAt>)>,
}

impl Partitions {
    pub fn new(topics: &Topics) -> prometheus::Result<Self> {
        let gauge =
            |name: &str, help: &str| GaugeVec::new(Opts::new(format!("hookline_processor_{name}"), help), &LABELS);
        Ok(Self {
            topics: topics.clone(),
            records: gauge(
                "lag_records",
                "Records of an assigned partition that are not committed: its end offset less the committed offset",
            )?,
            seconds: gauge(
                "lag_seconds",
                "Age of the oldest record of an assigned partition that is not committed, 0 where there is none",
            )?,
            stopped: gauge(
                "partition_stopped",
                "1 where a partition stopped because a dead letter could be neither inserted without its payload nor published",
            )?,
            state: Arc::default(),
        })
    }

    /// These partitions are assigned now, and no others: what was known of their logs may be of earlier ones.
    pub fn assign(&self, assigned: &BTreeSet<Key>) {
        let mut state = self.state();
        state.shown.retain(|key, _| assigned.contains(key));
        state.assigned.clone_from(assigned);
        state.forget();
    }

    /// No partition is assigned until [`assign`](Self::assign).
    pub fn revoke(&self) {
        let mut state = self.state();
        state.assigned.clear();
        state.shown.values_mut().for_each(|shown| shown.is_stopped = false);
        state.forget();
    }

    pub fn set_lag(&self, key: Key, lag: Lag) {
        let mut state = self.state();
        state.wanted.remove(&key);
        state.shown.entry(key).or_default().lag = Some(lag);
    }

    pub fn set_stopped(&self, key: Key, is_stopped: bool) {
        self.state().shown.entry(key).or_default().is_stopped = is_stopped;
    }

    /// Asks when the record at this offset was appended; the answer comes within seconds.
    pub fn want(&self, key: Key, offset: Offset) {
        self.state().wanted.insert(key, offset);
    }

    pub fn answer(&self, key: Key) -> Answer {
        self.state().answers.get(&key).copied().unwrap_or_default()
    }

    /// The assigned partitions, each with the offset that is wanted.
    pub fn questions(&self) -> Vec<(Key, Option<Offset>)> {
        let state = self.state();
        state.assigned.iter().map(|key| (*key, state.wanted.get(key).copied())).collect()
    }

    /// Keeps what the brokers said, as far as the partition is still assigned.
    pub fn set_answer(&self, key: Key, Answer { end, first }: Answer) {
        let mut state = self.state();
        if state.assigned.contains(&key) {
            let known = state.answers.entry(key).or_default();
            *known = Answer { end: end.or(known.end), first: first.or(known.first) };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self) {
        self.wanted.clear();
        self.answers.clear();
    }
}

impl Collector for Partitions {
    fn desc(&self) -> Vec<&Desc> {
        [&self.records, &self.seconds, &self.stopped].into_iter().flat_map(Collector::desc).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a log has fewer than 2^53 records, and 2^53 ms are 285,000 years")]
    fn collect(&self) -> Vec<MetricFamily> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let state = self.state();
        for family in [&self.records, &self.seconds, &self.stopped] {
            family.reset();
        }
        for ((topic, Partition(number)), Shown { lag, is_stopped }) in &state.shown {
            let labels = [topic.name(&self.topics), &number.to_string()];
            self.stopped.with_label_values(&labels).set(f64::from(u8::from(*is_stopped)));
            if let Some(Lag { records, since }) = lag {
                let age = since.map_or(0, |since| now.saturating_sub(since.0).max(0));
                self.records.with_label_values(&labels).set(*records as f64);
                self.seconds.with_label_values(&labels).set(age as f64 / 1000.0);
            }
        }
        [&self.records, &self.seconds, &self.stopped].into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;

    use super::*;

    const VIDEO: Key = (Topic::Resource(Resource::Video), Partition(0));
    const AUDIO: Key = (Topic::Resource(Resource::Audio), Partition(1));

    fn shown(partitions: &Partitions) -> Vec<(String, f64)> {
        let mut series = Vec::new();
        for family in partitions.collect() {
            for metric in family.get_metric() {
                let topic = metric.get_label().iter().find(|label| label.name() == "topic").unwrap();
                let name = family.name().trim_start_matches("hookline_processor_");
                series.push((format!("{name} {}", topic.value()), metric.get_gauge().get_value()));
            }
        }
        series.sort_by(|(one, _), (other, _)| one.cmp(other));
        series
    }

    #[test]
    fn what_is_not_known_has_no_series_and_what_was_known_stays_and_grows() {
        let partitions = Partitions::new(&Topics::new("h").unwrap()).unwrap();
        partitions.assign(&[VIDEO, AUDIO].into());
        assert_eq!(shown(&partitions), []);
        partitions.set_lag(VIDEO, Lag::NONE);
        partitions.set_lag(AUDIO, Lag { records: 3, since: Some(AppendedAt(0)) });
        partitions.set_stopped(AUDIO, true);
        partitions.revoke();
        let series = shown(&partitions);
        let values: Vec<_> = series.iter().filter(|(name, _)| !name.starts_with("lag_seconds")).cloned().collect();
        let expected = [
            ("lag_records h.audio", 3.0),
            ("lag_records h.video", 0.0),
            ("partition_stopped h.audio", 0.0),
            ("partition_stopped h.video", 0.0),
        ];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value)));
        let age = |name: &str| series.iter().find(|(series, _)| series == name).unwrap().1;
        assert!(age("lag_seconds h.audio") > 1e9 && age("lag_seconds h.video") == 0.0, "{series:?}");
        partitions.assign(&[VIDEO].into());
        assert!(shown(&partitions).iter().all(|(name, _)| name.ends_with("h.video")), "another member has it");
    }

    #[test]
    fn an_answer_counts_for_the_assignment_that_asked() {
        let partitions = Partitions::new(&Topics::new("h").unwrap()).unwrap();
        partitions.assign(&[VIDEO].into());
        partitions.want(VIDEO, Offset(7));
        assert_eq!(partitions.questions(), [(VIDEO, Some(Offset(7)))]);
        let answer = Answer { end: Some(Offset(9)), first: Some((Offset(7), None)) };
        partitions.set_answer(VIDEO, answer);
        partitions.set_answer(AUDIO, answer);
        assert_eq!((partitions.answer(VIDEO), partitions.answer(AUDIO)), (answer, Answer::default()));
        partitions.set_lag(VIDEO, Lag::NONE);
        assert_eq!(partitions.questions(), [(VIDEO, None)]);
        partitions.assign(&[VIDEO].into());
        assert_eq!(partitions.answer(VIDEO), Answer::default());
    }
}
