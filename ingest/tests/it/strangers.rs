//! Strangers without a secret hold connections and bodies open from addresses of their own, and the provider's webhooks
//! are acknowledged all the same. The loopback network has an address for each peer that a test needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::header;
use hookline_testkit::eventually;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::ingest_under_test::{DEADLINE, IngestUnderTest};
use crate::records;
use crate::webhook::{SOURCE, Webhook, now, post};

const PROVIDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The default of `limits.body_bytes`.
const LARGEST_BODY: usize = 256 << 10;
/// The bytes of a slow body that are missing at first; they come one by one.
const MISSING: usize = 24;
/// The webhooks of a measurement, of which [`MOST`] have to be acknowledged beside an attack.
const HONEST: usize = 200;
const MOST: usize = HONEST * 9 / 10;

/// Attackers, who go on until this is dropped.
#[derive(Default)]
struct Attack(JoinSet<()>);

impl Attack {
    /// Holds bodies open that nearly have the largest size, with headers of the right form and no signature of anybody.
    fn slow_bodies(mut self, address: SocketAddr, from: Ipv4Addr, count: usize, timestamp: u64, headers: &str) -> Self {
        let headers = format!(
            "{}{headers}content-length: {LARGEST_BODY}\r\n",
            Webhook { timestamp: timestamp.to_string(), ..Webhook::new() }.headers()
        );
        let request = post(SOURCE, &headers, &"x".repeat(LARGEST_BODY - MISSING));
        for _ in 0..count {
            let request = request.clone();
            self.0.spawn(async move {
                loop {
                    if let Some(mut connection) = Connection::try_open_from(from, address).await {
                        connection.send(&request).await;
                        for _ in 0..MISSING - 1 {
                            if !connection.is_silent(Duration::from_millis(500)).await {
                                break;
                            }
                            connection.send("x").await;
                        }
                        connection.answer().await;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            });
        }
        self
    }

    /// Holds connections open on which nothing is sent.
    fn silent_connections(mut self, address: SocketAddr, from: Ipv4Addr, count: usize) -> Self {
        for number in 0..count as u64 {
            self.0.spawn(async move {
                // Not all at once, which would overflow the kernel's queue instead of the limit of ingest.
                sleep(Duration::from_millis(2 * number)).await;
                loop {
                    if let Some(mut connection) = Connection::try_open_from(from, address).await {
                        connection.answer().await;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            });
        }
        self
    }
}

/// How many of the webhooks that come from `from` are acknowledged, each over a connection of its own.
async fn acknowledged(ingest: &IngestUnderTest, from: Ipv4Addr, headers: &str) -> usize {
    const SENDERS: usize = 4;
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (address, headers) = (ingest.address, headers.to_owned());
        senders.spawn(async move {
            let mut acknowledged = 0;
            for _ in 0..HONEST / SENDERS {
                // Larger than what the attackers leave of the memory.
                let webhook = Webhook::with_name(&"n".repeat(4000));
                let request = webhook.request().replacen("\r\n", &format!("\r\n{headers}"), 1);
                let Some(mut connection) = Connection::try_open_from(from, address).await else { continue };
                acknowledged += usize::from(connection.exchange(request).await.is_some_and(|got| got.status == 200));
            }
            acknowledged
        });
    }
    senders.join_all().await.into_iter().sum()
}

async fn holds_bytes(ingest: &mut IngestUnderTest, bytes: usize) {
    eventually("the bytes of slow bodies", DEADLINE, async || {
        (ingest.metric("queued_bytes", &[]).await >= bytes as u64).then_some(())
    })
    .await;
}

async fn holds_connections(ingest: &mut IngestUnderTest, connections: u64) {
    eventually("the silent connections", DEADLINE, async || {
        (ingest.metric("connections", &[]).await >= connections).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_from_another_address_shut_nobody_out() {
    let mut ingest = IngestUnderTest::shared("slow_bodies", &[]).await;
    let attack = Attack::default().slow_bodies(ingest.address, STRANGER, 64, now(), "");
    holds_bytes(&mut ingest, 64 * (LARGEST_BODY - MISSING)).await;
    let honest = acknowledged(&ingest, PROVIDER, "").await;
    assert!(honest >= MOST, "{honest} of {HONEST} acknowledged");
    // The control: who comes from the same address cannot be told from the strangers.
    holds_bytes(&mut ingest, 63 * LARGEST_BODY).await;
    let control = acknowledged(&ingest, STRANGER, "").await;
    assert!(control < MOST, "the attack has no effect: {control} of {HONEST} acknowledged");
    drop(attack);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_from_another_address_shut_nobody_out() {
    let mut ingest = IngestUnderTest::shared("silent_connections", &[]).await;
    let attack = Attack::default().silent_connections(ingest.address, STRANGER, 820);
    holds_connections(&mut ingest, 800).await;
    let honest = acknowledged(&ingest, PROVIDER, "").await;
    assert!(honest >= MOST, "{honest} of {HONEST} acknowledged");
    let control = acknowledged(&ingest, STRANGER, "").await;
    assert!(control < MOST, "the attack has no effect: {control} of {HONEST} acknowledged");
    drop(attack);
    ingest.ends_well().await;
}
