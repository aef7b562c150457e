//! Webhooks of simulated jobs, and the ledger of what became of them.

use std::time::Duration;

use hookline_schemas::signature::SigningKey;
use hookline_service::shutdown::CancellationToken;
use hookline_simulator::ledger::{self, Attempt, Writer};
use hookline_simulator::moment::Moment;
use hookline_simulator::plan::{Delivery, Settings, Timing, plan};
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

/// Traffic that goes on, one lot after the other at an even rate, until it is ended.
pub struct Stream {
    stop: CancellationToken,
    lots: JoinHandle<Vec<Lot>>,
}

/// What was sent, and the ledger of it.
pub type Lot = JoinHandle<(Tally, Vec<Attempt>)>;

impl Traffic {
    /// Sends beside whatever else happens; every webhook is acknowledged in the end, or the test fails.
    pub fn send(self, url: Url) -> Lot {
        self.deliver(self.plan(), url)
    }

    /// Sends the same again and again, of other jobs each time.
    pub fn stream(self, url: Url) -> Stream {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let lots = tokio::spawn(async move {
            let mut lots = Vec::new();
            for seed in self.seed.. {
                let plan = Self { seed, ..self }.plan();
                let takes = Duration::from_secs_f64(plan.len() as f64 / self.rate);
                lots.push(self.deliver(plan, url.clone()));
                // The next one does not wait for what has to be sent again.
                tokio::select! {
                    () = tokio::time::sleep(takes) => {}
                    () = stopped.cancelled() => break,
                }
            }
            lots
        });
        Stream { stop, lots }
    }

    fn deliver(self, plan: Vec<Delivery>, url: Url) -> Lot {
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
            let tally = deliver(settings, plan, Some(writer), &ProgressBar::hidden(), never).await.unwrap();
            assert!(tally.is_complete(), "something was given up: {tally:?}");
            (tally, ledger::read(&path).unwrap())
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
        plan(&settings, Moment::now())
    }
}

impl Stream {
    /// Sends the lot under way to its end, and gives every attempt of all.
    pub async fn end(self) -> Vec<Attempt> {
        self.stop.cancel();
        let mut attempts = Vec::new();
        for lot in self.lots.await.unwrap() {
            attempts.extend(lot.await.unwrap().1);
        }
        attempts
    }
}
