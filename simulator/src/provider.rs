//! Sends what was planned, again and again until it is acknowledged, and writes down what became of each attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::SigningKey;
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use reqwest::{Client, Url, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::ledger::{Answer, Attempt, Writer, sha256_hex};
use crate::moment::Moment;
use crate::plan::Delivery;
use crate::report::Tally;
use crate::retry::{Retry, signing_second};

/// The provider asks for an answer within ten seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to send.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub url: Url,
    /// The secret, prepared.
    pub key: SigningKey,
    /// How to try again.
    pub retry: Retry,
    /// The most attempts under way at a time.
    pub connections: usize,
    /// First attempts per second at most; without it, as fast as they are due.
    pub rate: Option<f64>,
}

/// What became of an attempt, and of its delivery if that was the last one.
struct Outcome {
    attempt: Attempt,
    latency: Duration,
    fate: Fate,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A 2xx came.
    Acknowledged,
    /// It will be tried again.
    Retried,
    /// It was tried for long enough, or the simulator was told to stop.
    GivenUp,
}

/// The source that `url` names: its last part.
pub fn source_of(url: &Url) -> Option<&str> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty())
}

/// Sends every delivery. After `stop`, what is under way is awaited and what is not acknowledged then is given up.
pub async fn deliver(
    settings: Settings,
    plan: Vec<Delivery>,
    mut ledger: Option<Writer>,
    progress: &ProgressBar,
    stop: CancellationToken,
) -> anyhow::Result<Tally> {
    let source = source_of(&settings.url).context("the URL has no source: it ends in /webhooks/SOURCE")?.to_owned();
    let client = Client::builder().timeout(PATIENCE).build()?;
    let mut tally = Tally::of(plan.len() as u64);
    let (outcomes, mut collected) = mpsc::unbounded_channel();
    let slots = Arc::new(Semaphore::new(settings.connections));
    let sender = Arc::new(Sender { settings, source, client, slots, outcomes, stop });
    let sending = tokio::spawn(send_all(sender, plan));
    while let Some(Outcome { attempt, latency, fate }) = collected.recv().await {
        tally.count(&attempt, latency, fate);
        if fate != Fate::Retried {
            progress.inc(1);
        }
        if let Some(ledger) = &mut ledger {
            ledger.write(&attempt).context("cannot write the ledger")?;
        }
    }
    tally.never_sent = sending.await.context("the sender failed")?;
    if let Some(ledger) = ledger {
        ledger.finish().context("cannot write the ledger")?;
    }
    Ok(tally)
}

/// Sends each delivery when it is due, and returns how many were not begun because of a stop.
async fn send_all(sender: Arc<Sender>, plan: Vec<Delivery>) -> u64 {
    let mut left = plan.len() as u64;
    let mut pace = sender.settings.rate.map(Pace::new);
    for delivery in plan {
        let wait = match &mut pace {
            Some(pace) => pace.next(),
            None => delivery.due.since(Moment::now()),
        };
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = sender.stop.cancelled() => break,
            }
        }
        let slots = Arc::clone(&sender.slots);
        let Ok(slot) = slots.acquire_owned().await else { break };
        if sender.stop.is_cancelled() {
            break;
        }
        left -= 1;
        tokio::spawn(Arc::clone(&sender).deliver(delivery, slot));
    }
    left
}

/// An even stream of so many per second.
struct Pace {
    began: Instant,
    rate: f64,
    count: f64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { began: Instant::now(), rate, count: 0.0 }
    }

    fn next(&mut self) -> Duration {
        self.count += 1.0;
        Duration::from_secs_f64(self.count / self.rate).saturating_sub(self.began.elapsed())
    }
}

struct Sender {
    settings: Settings,
    source: String,
    client: Client,
    slots: Arc<Semaphore>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    stop: CancellationToken,
}

impl Sender {
    async fn deliver(self: Arc<Self>, delivery: Delivery, mut slot: OwnedSemaphorePermit) {
        let body_sha256 = sha256_hex(&delivery.body);
        let first = Instant::now();
        for number in 1.. {
            let (attempt, latency) = self.attempt(&delivery, number, first.elapsed(), body_sha256.clone()).await;
            drop(slot);
            let wait = self.settings.retry.wait(number, first.elapsed(), &mut rand::rng());
            let (fate, wait) = match wait {
                _ if attempt.answer.acknowledges() => (Fate::Acknowledged, Duration::ZERO),
                Some(wait) if !self.stop.is_cancelled() => (Fate::Retried, wait),
                Some(_) | None => (Fate::GivenUp, Duration::ZERO),
            };
            // The receiver lives as long as any sender.
            let _ = self.outcomes.send(Outcome { attempt, latency, fate });
            if fate != Fate::Retried {
                return;
            }
            // A stop ends the wait: one last attempt, and the delivery has its end.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            match Arc::clone(&self.slots).acquire_owned().await {
                Ok(free) => slot = free,
                // Nobody closes the semaphore.
                Err(_) => return,
            }
        }
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        number: u32,
        since_first: Duration,
        body_sha256: String,
    ) -> (Attempt, Duration) {
        let sent_at = Moment::now();
        let signed_at_text = signing_second(delivery.signed_at, since_first, sent_at).to_string();
        let signature = self.settings.key.sign(&signed_at_text, &delivery.body).to_hex().to_string();
        let request = self
            .client
            .post(self.settings.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, &signature)
            .header(TIMESTAMP_HEADER, &signed_at_text)
            .body(delivery.body.clone());
        let began = Instant::now();
        let answer = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                // The connection is used again once its answer is read; the status alone counts.
                let _ = response.bytes().await;
                Answer::Status(status)
            }
            Err(_) => Answer::Unknown,
        };
        let attempt = Attempt {
            source: self.source.clone(),
            event_type: delivery.event_type.clone(),
            job_id: delivery.job_id.clone(),
            created_at: delivery.created_at,
            event_at: delivery.event_at,
            attempt: number,
            sent_at,
            signed_at_text,
            signature,
            body_sha256,
            answer,
        };
        (attempt, began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_last_part_of_the_url() {
        let source = |url: &str| source_of(&Url::parse(url).unwrap()).map(str::to_owned);
        assert_eq!(source("http://127.0.0.1:8080/webhooks/magichour").as_deref(), Some("magichour"));
        assert_eq!(source("http://127.0.0.1:8080/"), None);
    }

    #[test]
    fn a_pace_is_kept_on_average() {
        let mut pace = Pace::new(10.0);
        assert!(pace.next() > Duration::from_millis(50));
        for _ in 0..9 {
            pace.next();
        }
        let eleventh = pace.next();
        assert!((Duration::from_secs(1)..Duration::from_millis(1_101)).contains(&eleventh), "{eleventh:?}");
    }
}
