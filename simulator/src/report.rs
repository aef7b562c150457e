//! What was sent and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer};

use crate::ledger::{Answer, Attempt};
use crate::provider::Fate;

/// Counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Webhooks planned, repeated ones included.
    pub webhooks: u64,
    /// Attempts to deliver one.
    pub attempts: u64,
    /// Webhooks acknowledged with a 2xx.
    pub acknowledged: u64,
    /// Attempts after the first one of a webhook.
    pub retries: u64,
    /// Webhooks that were not acknowledged in time.
    pub given_up: u64,
    /// Webhooks that were not begun because of a stop.
    pub never_sent: u64,
    /// Attempts by what became of them.
    #[serde(serialize_with = "by_text")]
    pub answers: BTreeMap<Answer, u64>,
    /// Milliseconds from request to answer, and how many attempts took them.
    #[serde(skip)]
    latencies: BTreeMap<u64, u64>,
}

impl Tally {
    /// Nothing sent yet of so many webhooks.
    pub fn of(webhooks: u64) -> Self {
        Self { webhooks, ..Self::default() }
    }

    /// Counts an attempt.
    pub fn count(&mut self, attempt: &Attempt, latency: Duration, fate: Fate) {
        self.attempts += 1;
        self.retries += u64::from(attempt.attempt > 1);
        match fate {
            Fate::Acknowledged => self.acknowledged += 1,
            Fate::GivenUp => self.given_up += 1,
            Fate::Retried => {}
        }
        *self.answers.entry(attempt.answer).or_default() += 1;
        *self.latencies.entry(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)).or_default() += 1;
    }

    /// Everything was acknowledged.
    pub fn is_complete(&self) -> bool {
        self.acknowledged == self.webhooks
    }

    /// The latency in milliseconds within which `share` of the attempts were answered.
    fn latency_quantile(&self, share: f64) -> u64 {
        let wanted = (self.attempts as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.latencies.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        found.map_or(0, |(latency, _)| *latency)
    }
}

fn by_text<S: Serializer>(answers: &BTreeMap<Answer, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(answers.iter().map(|(answer, count)| (answer.to_string(), count)))
}

/// The whole story of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The seed: the same one draws the same jobs.
    pub seed: u64,
    /// Jobs planned.
    pub jobs: usize,
    /// What the times of the jobs mean.
    pub times: String,
    /// How long it took.
    pub seconds: f64,
    /// What was sent and what became of it.
    #[serde(flatten)]
    pub tally: Tally,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, jobs, times, seconds, tally } = self;
        let answers: Vec<_> = tally.answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
        let mut rows = vec![
            ("jobs", jobs.to_string()),
            ("job times", times.clone()),
            ("webhooks", tally.webhooks.to_string()),
            ("attempts", format!("{} ({:.0}/s)", tally.attempts, tally.attempts as f64 / seconds)),
            ("answers", answers.join(", ")),
            ("acknowledged", tally.acknowledged.to_string()),
            ("retries", tally.retries.to_string()),
            ("given up", tally.given_up.to_string()),
        ];
        if tally.never_sent > 0 {
            rows.push(("never sent", tally.never_sent.to_string()));
        }
        let quantiles = [0.5, 0.99, 1.0].map(|share| tally.latency_quantile(share));
        let [median, high, highest] = quantiles;
        rows.push(("latency", format!("p50 {median} ms, p99 {high} ms, max {highest} ms")));
        rows.push(("took", format!("{seconds:.1} s")));
        rows.push(("seed", seed.to_string()));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (name, value) in rows {
            table.add_row([name, &value]);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Left);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;

    fn attempt(number: u32, answer: Answer) -> Attempt {
        Attempt {
            source: String::new(),
            event_type: String::new(),
            job_id: String::new(),
            created_at: Moment(0),
            event_at: Moment(0),
            attempt: number,
            sent_at: Moment(0),
            signed_at_text: String::new(),
            signature: String::new(),
            body_sha256: String::new(),
            answer,
        }
    }

    #[test]
    fn every_attempt_is_counted_once() {
        let mut tally = Tally::of(2);
        tally.count(&attempt(1, Answer::Unknown), Duration::from_secs(10), Fate::Retried);
        tally.count(&attempt(2, Answer::Status(200)), Duration::from_millis(3), Fate::Acknowledged);
        assert!(!tally.is_complete());
        tally.count(&attempt(1, Answer::Status(202)), Duration::from_millis(2), Fate::Acknowledged);
        assert!(tally.is_complete());
        assert_eq!((tally.attempts, tally.retries, tally.acknowledged, tally.given_up), (3, 1, 2, 0));
        assert_eq!((tally.latency_quantile(0.5), tally.latency_quantile(1.0)), (3, 10_000));
        let json = serde_json::to_value(&tally).unwrap();
        assert_eq!(json["answers"], serde_json::json!({ "200": 1, "202": 1, "unknown": 1 }));
    }
}
