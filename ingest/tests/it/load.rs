//! Sends webhooks over many connections at once, and keeps the answer to each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hookline_service::shutdown::CancellationToken;
use hookline_testkit::eventually;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::ingest_under_test::DEADLINE;
use crate::webhook::Webhook;

/// The pause of a sender between an answer and its next webhook, so that the machine is not saturated.
const PAUSE: Duration = Duration::from_millis(3);

pub struct Load {
    cancel: CancellationToken,
    counted: Arc<Counted>,
    senders: JoinSet<Vec<Sent>>,
}

/// A webhook that was sent, and its answer.
#[derive(Clone, Debug)]
pub struct Sent {
    pub webhook: Webhook,
    /// None where the connection ended before the answer was whole.
    pub status: Option<u16>,
    pub took: Duration,
}

#[derive(Default)]
struct Counted {
    acknowledged: AtomicUsize,
    unavailable: AtomicUsize,
}

impl Load {
    /// Each sender uses its connection until ingest closes it, and then opens another one.
    pub fn start(address: SocketAddr, senders: usize) -> Self {
        let cancel = CancellationToken::new();
        let counted = Arc::new(Counted::default());
        let senders = (0..senders).map(|_| send(address, cancel.clone(), Arc::clone(&counted))).collect();
        Self { cancel, counted, senders }
    }

    /// Waits until `more` webhooks are answered 200.
    pub async fn acknowledges(&self, more: usize) {
        reaches(&self.counted.acknowledged, more, "more acknowledged").await;
    }

    /// Waits until `more` webhooks are answered 503.
    pub async fn is_refused(&self, more: usize) {
        reaches(&self.counted.unavailable, more, "more answered 503").await;
    }

    /// Ends all senders after their current answer.
    pub async fn stop(self) -> Vec<Sent> {
        self.cancel.cancel();
        self.senders.join_all().await.into_iter().flatten().collect()
    }
}

pub fn acknowledged(sent: &[Sent]) -> Vec<Webhook> {
    sent.iter().filter(|sent| sent.status == Some(200)).map(|sent| sent.webhook.clone()).collect()
}

pub fn longest(sent: &[Sent]) -> Duration {
    sent.iter().map(|sent| sent.took).max().unwrap_or_default()
}

async fn send(address: SocketAddr, cancel: CancellationToken, counted: Arc<Counted>) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut connection = None;
    while !cancel.is_cancelled() {
        let Some(mut open) = (match connection.take() {
            Some(open) => Some(open),
            None => Connection::try_open(address).await,
        }) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let webhook = Webhook::new();
        let began = Instant::now();
        let answer = open.exchange(webhook.request()).await;
        let status = answer.as_ref().map(|answer| answer.status);
        sent.push(Sent { webhook, status, took: began.elapsed() });
        match status {
            Some(200) => counted.acknowledged.fetch_add(1, Ordering::Relaxed),
            Some(503) => counted.unavailable.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        if answer.is_some_and(|answer| answer.header("connection") != Some("close")) {
            connection = Some(open);
        }
        sleep(PAUSE).await;
    }
    sent
}

async fn reaches(count: &AtomicUsize, more: usize, what: &str) {
    let wanted = count.load(Ordering::Relaxed) + more;
    eventually(what, DEADLINE, async || (count.load(Ordering::Relaxed) >= wanted).then_some(())).await;
}
