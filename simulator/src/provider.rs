//! Sends the planned deliveries, each again and again until it is acknowledged, and writes every attempt into the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::SigningKey;
use hookline_service::shutdown::CancellationToken;
use indicatif::ProgressBar;
use reqwest::{Client, Url, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::body::rendered;
use crate::ledger::{Answer, Attempt, DeliveryStatus, Writer, sha256_hex};
use crate::plan::Delivery;
use crate::provider_time::ProviderTime;
use crate::report::Counts;
use crate::retry::{Retry, signing_second};

/// The provider waits this long for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how fast deliveries are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where ingest takes webhooks; the last part of its path names the source.
    pub url: Url,
    pub key: SigningKey,
    pub retry: Retry,
    /// The most requests that are open at a time.
    pub connections: usize,
    /// The most first attempts per second. Without it, each delivery is sent when it is due.
    pub rate: Option<f64>,
}

/// An attempt that has its answer, or has timed out.
struct FinishedAttempt {
    attempt: Attempt,
    latency: Duration,
    status: DeliveryStatus,
}

/// The source that `url` names by its last part.
fn source_of(url: &Url) -> Option<&str> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty())
}

/// Sends every delivery. When `cancel` is cancelled, open requests are awaited, and each delivery that is waiting for a retry
/// gets one last attempt.
pub async fn deliver(
    settings: Settings,
    plan: Vec<Delivery>,
    mut ledger: Option<Writer>,
    progress: &ProgressBar,
    cancel: CancellationToken,
) -> anyhow::Result<Counts> {
    let source = source_of(&settings.url)
        .with_context(|| format!("{} names no source: it must end in /webhooks/SOURCE", settings.url))?
        .to_owned();
    let client = Client::builder().timeout(ANSWER_TIMEOUT).build()?;
    let mut counts = Counts::of(plan.len() as u64);
    let (finished, mut attempts) = mpsc::unbounded_channel();
    let slots = Arc::new(Semaphore::new(settings.connections));
    let sender = Arc::new(Sender { settings, source, client, slots, finished, cancel });
    let sending = tokio::spawn(send_all(sender, plan));
    while let Some(FinishedAttempt { attempt, latency, status }) = attempts.recv().await {
        counts.count(&attempt, latency, status);
        if status != DeliveryStatus::Retried {
            progress.inc(1);
        }
        if let Some(ledger) = &mut ledger {
            ledger.write(&attempt).context("cannot write the ledger")?;
        }
    }
    counts.never_sent = sending.await.context("the task that sends the deliveries panicked")?;
    if let Some(ledger) = ledger {
        ledger.finish().context("cannot write the ledger")?;
    }
    Ok(counts)
}

/// Sends each delivery when it is due, and returns how many were never sent because sending was cancelled.
async fn send_all(sender: Arc<Sender>, plan: Vec<Delivery>) -> u64 {
    let mut left = plan.len() as u64;
    let mut pace = sender.settings.rate.map(Pace::new);
    for delivery in plan {
        let wait = match &mut pace {
            Some(pace) => pace.next(),
            None => delivery.due.since(ProviderTime::now()),
        };
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = sender.cancel.cancelled() => break,
            }
        }
        let slots = Arc::clone(&sender.slots);
        let Ok(slot) = slots.acquire_owned().await else { break };
        if sender.cancel.is_cancelled() {
            break;
        }
        left -= 1;
        tokio::spawn(Arc::clone(&sender).deliver(delivery, slot));
    }
    left
}

/// An even distribution of first attempts over time.
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
    finished: mpsc::UnboundedSender<FinishedAttempt>,
    cancel: CancellationToken,
}

impl Sender {
    async fn deliver(self: Arc<Self>, delivery: Delivery, mut slot: OwnedSemaphorePermit) {
        let first = Instant::now();
        for number in 1.. {
            let (attempt, latency) = self.attempt(&delivery, number, first.elapsed()).await;
            drop(slot);
            let wait = self.settings.retry.wait(number, first.elapsed(), &mut rand::rng());
            let (status, wait) = match wait {
                _ if attempt.answer.acknowledges() => (DeliveryStatus::Acknowledged, Duration::ZERO),
                Some(wait) if !self.cancel.is_cancelled() => (DeliveryStatus::Retried, wait),
                Some(_) | None => (DeliveryStatus::GivenUp, Duration::ZERO),
            };
            // It fails only where the receiver is gone, and that one waits for every sender.
            let _ = self.finished.send(FinishedAttempt { attempt, latency, status });
            if status != DeliveryStatus::Retried {
                return;
            }
            // When cancelled, the delivery gets its last attempt at once.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cancel.cancelled() => {}
            }
            match Arc::clone(&self.slots).acquire_owned().await {
                Ok(free) => slot = free,
                // Nobody closes the semaphore.
                Err(_) => return,
            }
        }
    }

    async fn attempt(&self, delivery: &Delivery, number: u32, since_first: Duration) -> (Attempt, Duration) {
        let sent_at = ProviderTime::now();
        let body = rendered(&delivery.body, number);
        let body_sha256 = sha256_hex(&body);
        let signed_at_text = signing_second(delivery.signed_at, since_first, sent_at).to_string();
        let signature = self.settings.key.sign(&signed_at_text, &body).to_hex().to_string();
        let request = self
            .client
            .post(self.settings.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, &signature)
            .header(TIMESTAMP_HEADER, &signed_at_text)
            .body(body.into_owned());
        let began = Instant::now();
        let answer = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                // A connection is used again only once the body of its answer is read. A failure here changes nothing: the
                // status has come.
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
