//! The counts of a run, and the report of it for people and programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Serialize, Serializer};

use crate::ledger::{Answer, Attempt, DeliveryStatus};

/// Webhooks and attempts of a run, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Planned webhooks, with those that are delivered twice counted twice.
    pub webhooks: u64,
    /// Requests sent, first attempts and retries.
    pub attempts: u64,
    /// Webhooks that were answered with a 2xx.
    pub acknowledged: u64,
    /// Attempts after the first one of a webhook.
    pub retries: u64,
    /// Webhooks that were not acknowledged within the time for retries.
    pub given_up: u64,
    /// Webhooks without a first attempt, because sending was cancelled.
    pub never_sent: u64,
    /// How many attempts had which answer.
    #[serde(serialize_with = "by_text")]
    pub answers: BTreeMap<Answer, u64>,
    /// How many attempts took this many milliseconds from request to answer.
    #[serde(skip)]
    latencies: BTreeMap<u64, u64>,
}

impl Counts {
    /// Begins to count a run of this many planned webhooks.
    pub fn of(webhooks: u64) -> Self {
        Self { webhooks, ..Self::default() }
    }

    /// Counts an attempt, after which its delivery is in `status`.
    pub fn count(&mut self, attempt: &Attempt, latency: Duration, status: DeliveryStatus) {
        self.attempts += 1;
        self.retries += u64::from(attempt.attempt > 1);
        match status {
            DeliveryStatus::Acknowledged => self.acknowledged += 1,
            DeliveryStatus::GivenUp => self.given_up += 1,
            DeliveryStatus::Retried => {}
        }
        *self.answers.entry(attempt.answer).or_default() += 1;
        *self.latencies.entry(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)).or_default() += 1;
    }

    /// Whether every webhook was acknowledged.
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

/// The report of a run, as it is printed at its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// With the same seed, the same jobs are drawn.
    pub seed: u64,
    pub jobs: usize,
    /// Whether the times of the jobs are real or compressed, in words.
    pub times: String,
    pub seconds: f64,
    #[serde(flatten)]
    pub counts: Counts,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, jobs, times, seconds, counts } = self;
        let answers: Vec<_> = counts.answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
        let mut rows = vec![
            ("jobs", jobs.to_string()),
            ("job times", times.clone()),
            ("webhooks", counts.webhooks.to_string()),
            ("attempts", format!("{} ({:.0}/s)", counts.attempts, counts.attempts as f64 / seconds)),
            ("answers", answers.join(", ")),
            ("acknowledged", counts.acknowledged.to_string()),
            ("retries", counts.retries.to_string()),
            ("given up", counts.given_up.to_string()),
        ];
        if counts.never_sent > 0 {
            rows.push(("never sent", counts.never_sent.to_string()));
        }
        let quantiles = [0.5, 0.99, 1.0].map(|share| counts.latency_quantile(share));
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
    use crate::provider_time::ProviderTime;

    fn attempt(number: u32, answer: Answer) -> Attempt {
        Attempt {
            source: String::new(),
            event_type: String::new(),
            job_id: String::new(),
            created_at: ProviderTime(0),
            event_at: ProviderTime(0),
            attempt: number,
            sent_at: ProviderTime(0),
            signed_at_text: String::new(),
            signature: String::new(),
            body_sha256: String::new(),
            answer,
        }
    }

    #[test]
    fn every_attempt_is_counted_once() {
        let mut counts = Counts::of(2);
        counts.count(&attempt(1, Answer::Unknown), Duration::from_secs(10), DeliveryStatus::Retried);
        counts.count(&attempt(2, Answer::Status(200)), Duration::from_millis(3), DeliveryStatus::Acknowledged);
        assert!(!counts.is_complete());
        counts.count(&attempt(1, Answer::Status(202)), Duration::from_millis(2), DeliveryStatus::Acknowledged);
        assert!(counts.is_complete());
        assert_eq!((counts.attempts, counts.retries, counts.acknowledged, counts.given_up), (3, 1, 2, 0));
        assert_eq!((counts.latency_quantile(0.5), counts.latency_quantile(1.0)), (3, 10_000));
        let json = serde_json::to_value(&counts).unwrap();
        assert_eq!(json["answers"], serde_json::json!({ "200": 1, "202": 1, "unknown": 1 }));
    }
}
