//! Webhooks of simulated jobs, sent to a pipeline, and the ledger of what became of them.

use std::time::Duration;

use hookline_schemas::signature::SigningKey;
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use reqwest::Url;
use tokio::task::JoinHandle;

use crate::ledger::{self, Attempt, Writer};
use crate::plan::{Delivery, Settings, Timing, plan};
use crate::provider::{self, deliver};
use crate::provider_time::ProviderTime;
use crate::report::Counts;
use crate::retry::Retry;

/// The secret that every test signs with.
pub const SECRET: &str = "mhw_test_0123456789abcdef";

#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub jobs: usize,
    /// The most first attempts per second.
    pub rate: f64,
    pub seed: u64,
}

/// Traffic that goes on at an even rate until it is ended: runs of [`Traffic`], one after the other, with other seeds.
pub struct Stream {
    cancel: CancellationToken,
    runs: JoinHandle<Vec<Run>>,
}

/// Traffic that is being sent; its end gives what was sent and the ledger of it.
pub type Run = JoinHandle<(Counts, Vec<Attempt>)>;

impl Traffic {
    /// Sends in the background. The task panics unless every webhook is acknowledged in the end.
    pub fn send(self, url: Url) -> Run {
        self.deliver(self.plan(), url)
    }

    /// Sends such traffic again and again, of other jobs each time.
    pub fn stream(self, url: Url) -> Stream {
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let runs = tokio::spawn(async move {
            let mut runs = Vec::new();
            for seed in self.seed.. {
                let plan = Self { seed, ..self }.plan();
                let takes = Duration::from_secs_f64(plan.len() as f64 / self.rate);
                runs.push(self.deliver(plan, url.clone()));
                // The next run does not wait for the retries of this one.
                tokio::select! {
                    () = tokio::time::sleep(takes) => {}
                    () = cancelled.cancelled() => break,
                }
            }
            runs
        });
        Stream { cancel, runs }
    }

    fn deliver(self, plan: Vec<Delivery>, url: Url) -> Run {
        tokio::spawn(async move {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ledger.jsonl");
            let settings = provider::Settings {
                url,
                key: SigningKey::new(SECRET),
                retry: Retry { longest: Duration::from_secs(2), give_up_after: Duration::from_secs(180) },
                connections: 32,
                rate: Some(self.rate),
            };
            let writer = Writer::append(&path).unwrap();
            let never = CancellationToken::new();
            let counts = deliver(settings, plan, Some(writer), &ProgressBar::hidden(), never).await.unwrap();
            assert!(counts.is_complete(), "a webhook was never acknowledged: {counts:?}");
            (counts, ledger::read(&path).unwrap())
        })
    }

    fn plan(self) -> Vec<Delivery> {
        let settings = Settings {
            jobs: self.jobs,
            seed: self.seed,
            timing: Timing::Past(Duration::from_secs(120)),
            duplicates: 0.1,
            shuffle: 0.2,
            missing_started: 0.1,
            foreign: 0.02,
        };
        plan(&settings, ProviderTime::now())
    }
}

impl Stream {
    /// Sends the current run to its end, and gives every attempt of all runs.
    pub async fn end(self) -> Vec<Attempt> {
        self.cancel.cancel();
        let mut attempts = Vec::new();
        for run in self.runs.await.unwrap() {
            attempts.extend(run.await.unwrap().1);
        }
        attempts
    }
}
