//! Webhooks of simulated jobs, and the ledger of what became of them.

use std::time::Duration;

use hookline_schemas::sign::SigningKey;
use hookline_service::shutdown::CancellationToken;
use hookline_simulator::ledger::{self, Attempt, Writer};
use hookline_simulator::moment::Moment;
use hookline_simulator::plan::{Settings, Timing, plan};
use hookline_simulator::provider::{self, deliver};
use hookline_simulator::report::Tally;
use hookline_simulator::retry::Retry;
use indicatif::ProgressBar;
use reqwest::Url;
use tokio::task::JoinHandle;

/// What every test signs with.
pub const SECRET: &str = "mhw_test_0123456789abcdef";

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub jobs: usize,
    /// Webhooks per second.
    pub rate: f64,
    pub seed: u64,
}

impl Traffic {
    /// Sends beside whatever else happens; every webhook is acknowledged in the end, or the test fails.
    pub fn send(self, url: Url) -> JoinHandle<(Tally, Vec<Attempt>)> {
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
            let progress = ProgressBar::hidden();
            let tally = deliver(settings, self.plan(), Some(writer), &progress, never).await.unwrap();
            assert!(tally.is_complete(), "something was given up: {tally:?}");
            (tally, ledger::read(&path).unwrap())
        })
    }

    fn plan(self) -> Vec<hookline_simulator::plan::Delivery> {
        let settings = Settings {
            jobs: self.jobs,
            seed: self.seed,
            timing: Timing::Past(Duration::from_secs(120)),
            duplicates: 0.1,
            shuffle: 0.2,
            missing_started: 0.1,
            foreign: 0.02,
        };
        plan(&settings, Moment::now())
    }
}
