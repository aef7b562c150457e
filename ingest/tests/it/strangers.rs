//! Strangers without a secret hold connections and bodies open from addresses of their own, and the provider's webhooks
//! are acknowledged all the same. The loopback network has an address for each peer that a test needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::header;
use hookline_testkit::eventually;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::ingest_under_test::{AT_ONCE, DEADLINE, IngestUnderTest};
use crate::records;
use crate::webhook::{SOURCE, Webhook, now, post};

const PROVIDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The default of `limits.body_bytes`.
const LARGEST_BODY: usize = 256 << 10;
/// The bytes of a slow body that are missing at first; they come one by one.
const MISSING: usize = 24;
/// The pause of an attacker who was refused, so that it is ingest that the attack fills and not the machine.
const PAUSE: Duration = Duration::from_millis(50);
/// The provider sends at least so many webhooks beside an attack.
const HONEST: usize = 100;
/// So many of the control have to be refused before the attack counts as one.
const REFUSED: usize = 20;

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
                    sleep(PAUSE).await;
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
                    sleep(PAUSE).await;
                }
            });
        }
        self
    }
}

/// Webhooks that somebody sends one after the other, each over a connection of its own.
struct Sender<'a> {
    from: Ipv4Addr,
    headers: &'a str,
    webhook: fn() -> Webhook,
    /// The status of those that were not refused.
    wanted: u16,
}

impl Sender<'_> {
    fn new(from: Ipv4Addr) -> Self {
        // Larger than what the attackers leave of the memory.
        Self { from, headers: "", webhook: || Webhook::with_name(&"n".repeat(4000)), wanted: 200 }
    }

    /// Whether it is answered as wanted.
    async fn send(&self, address: SocketAddr) -> (Webhook, bool) {
        let webhook = (self.webhook)();
        let request = webhook.request().replacen("\r\n", &format!("\r\n{}", self.headers), 1);
        let answer = match Connection::try_open_from(self.from, address).await {
            Some(mut connection) => connection.exchange(request).await,
            None => None,
        };
        (webhook, answer.is_some_and(|answer| answer.status == self.wanted))
    }
}

/// Sends the webhooks of the provider, of which at least 90 % have to be answered as wanted, for as long as it takes until
/// enough of the `control` are refused, who cannot be told from the strangers: so long was the attack in effect.
async fn assert_answered(ingest: &IngestUnderTest, provider: &Sender<'_>, control: &Sender<'_>) -> Vec<Webhook> {
    let (mut answered, mut sent, mut refused) = (Vec::new(), 0, 0);
    let began = Instant::now();
    while sent < HONEST || refused < REFUSED {
        let (honest, control) = tokio::join!(provider.send(ingest.address), control.send(ingest.address));
        sent += 1;
        answered.extend(honest.1.then_some(honest.0));
        refused += usize::from(!control.1);
        assert!(began.elapsed() < DEADLINE, "the attack has no effect: only {refused} of {sent} are refused");
    }
    assert!(answered.len() * 10 >= sent * 9, "{} of {sent} webhooks of the provider are answered", answered.len());
    answered
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
    assert_answered(&ingest, &Sender::new(PROVIDER), &Sender::new(STRANGER)).await;
    drop(attack);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_from_another_address_shut_nobody_out() {
    let mut ingest = IngestUnderTest::shared("silent_connections", &[]).await;
    let attack = Attack::default().silent_connections(ingest.address, STRANGER, 820);
    holds_connections(&mut ingest, 800).await;
    assert_answered(&ingest, &Sender::new(PROVIDER), &Sender::new(STRANGER)).await;
    drop(attack);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_four_addresses_who_do_both_shut_nobody_out() {
    let mut ingest = IngestUnderTest::shared("four_addresses", &[]).await;
    let strangers = [2, 3, 4, 5].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let attack = strangers.into_iter().fold(Attack::default(), |attack, from| {
        attack.slow_bodies(ingest.address, from, 20, now(), "").silent_connections(ingest.address, from, 200)
    });
    holds_connections(&mut ingest, 800).await;
    assert_answered(&ingest, &Sender::new(PROVIDER), &Sender::new(strangers[0])).await;
    assert!(ingest.metric("connections_evicted_total", &[]).await > 0, "nothing was taken away");
    drop(attack);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_peer_has_every_connection_until_another_comes() {
    const CONNECTIONS: usize = 8;
    let mut ingest = IngestUnderTest::shared("lone_peer", &[("HOOKLINE_INGEST__LIMITS__CONNECTIONS", "8")]).await;
    let mut lone = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open_from(STRANGER, ingest.address).await;
        assert_eq!(connection.exchange(Webhook::new().request()).await.unwrap().status, 200);
        lone.push(connection);
    }
    let mut surplus = Connection::open_from(STRANGER, ingest.address).await;
    surplus.answer().await.expect("an answer").assert_problem(503);
    let counted = async |ingest: &mut IngestUnderTest| {
        (ingest.metric("connections_evicted_total", &[]).await, ingest.metric("connections_refused_total", &[]).await)
    };
    assert_eq!(counted(&mut ingest).await, (0, 1));

    let mut provider = Connection::open_from(PROVIDER, ingest.address).await;
    assert_eq!(provider.exchange(Webhook::new().request()).await.unwrap().status, 200);
    assert_eq!(counted(&mut ingest).await, (1, 1));
    assert!(lone.remove(0).ended().await, "the one that was idle longest");
    for connection in &mut lone {
        assert_eq!(connection.exchange(Webhook::new().request()).await.unwrap().status, 200, "the others stay");
    }
    assert_eq!(ingest.metric("connections", &[]).await, CONNECTIONS as u64);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_who_a_trusted_proxy_says_and_nobody_else() {
    for (trusted, is_told_apart) in [("127.0.0.2", true), ("10.0.0.0/8", false)] {
        let settings = [("HOOKLINE_INGEST__SERVER__TRUSTED_PROXIES", trusted)];
        let mut ingest = IngestUnderTest::shared("forwarded", &settings).await;
        // All come from the same address; what a stranger wrote into the header stands before what the proxy adds.
        let stranger = "x-forwarded-for: 203.0.113.9, 198.51.100.66\r\n";
        let attack = Attack::default().slow_bodies(ingest.address, STRANGER, 64, now(), stranger);
        holds_bytes(&mut ingest, 64 * (LARGEST_BODY - MISSING)).await;
        let forwarded = |headers| Sender { headers, ..Sender::new(STRANGER) };
        let provider = forwarded("x-forwarded-for: 203.0.113.9\r\n");
        if is_told_apart {
            assert_answered(&ingest, &provider, &forwarded("x-forwarded-for: 198.51.100.66\r\n")).await;
        } else {
            // Refused as any other from that address; the provider has an address of its own.
            assert_answered(&ingest, &Sender::new(PROVIDER), &provider).await;
        }
        drop(attack);
        ingest.ends_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_headers_are_answered_before_the_body_arrives() {
    let mut ingest = IngestUnderTest::shared("malformed", &[]).await;
    let webhook = Webhook::new();
    let length = format!("content-length: {}\r\n", webhook.body.len());
    let (timestamp, signature) = (webhook.timestamp.clone(), webhook.signature.clone());
    let headers = |timestamp: &str, signature: &str| {
        Webhook { timestamp: timestamp.into(), signature: signature.into(), ..webhook.clone() }.headers()
    };
    for (what, headers) in [
        ("no headers", String::new()),
        ("no timestamp", headers(&timestamp, &signature).split_inclusive("\r\n").nth(1).unwrap().to_owned()),
        ("no signature", headers(&timestamp, &signature).split_inclusive("\r\n").next().unwrap().to_owned()),
        ("both twice", headers(&timestamp, &signature).repeat(2)),
        ("no number", headers("now", &signature)),
        ("a short signature", headers(&timestamp, &signature[1..])),
        ("no hex", headers(&timestamp, &"x".repeat(64))),
    ] {
        let mut connection = Connection::open(ingest.address).await;
        let began = Instant::now();
        connection
            .exchange(post(SOURCE, &format!("{headers}{length}"), ""))
            .await
            .expect("an answer")
            .assert_problem(401);
        assert!(began.elapsed() < AT_ONCE, "{what}: {:?}", began.elapsed());
        // The order of the answers: form before size.
        let too_large = post(SOURCE, &format!("{headers}content-length: 1000000\r\n"), "");
        Connection::open(ingest.address).await.exchange(too_large).await.unwrap().assert_problem(401);
    }
    let rejected = async |ingest: &mut IngestUnderTest, reason: &str| {
        ingest.metric("rejected_total", &[&format!("reason=\"{reason}\"")]).await
    };
    assert_eq!(rejected(&mut ingest, "signature_malformed").await, 4);
    assert_eq!(rejected(&mut ingest, "timestamp_missing").await, 4);
    // The control: with headers of the right form the body decides.
    let mut connection = Connection::open(ingest.address).await;
    connection.send(post(SOURCE, &format!("{}{length}", webhook.headers()), "")).await;
    assert!(connection.is_silent(Duration::from_millis(300)).await, "answered without its body");
    assert_eq!(connection.exchange(&webhook.body).await.unwrap().status, 200);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_bodies_use_up_their_own_share_alone() {
    const SHARE: usize = 1 << 20;
    let mut ingest = IngestUnderTest::shared("stale_share", &[]).await;
    let attack = Attack::default().slow_bodies(ingest.address, STRANGER, 16, now() - 400, "");
    holds_bytes(&mut ingest, SHARE - LARGEST_BODY).await;
    // A large one waits for its body, as those of the attack do.
    let stale = || Webhook::signed(now() - 400, Webhook::with_name(&"n".repeat(200_000)).body);
    let sender = |from| Sender { webhook: stale, wanted: 401, ..Sender::new(from) };
    let sent = assert_answered(&ingest, &sender(PROVIDER), &sender(STRANGER)).await;
    // The bytes of all others are not touched, whatever address they come from.
    assert!(ingest.metric("queued_bytes", &[]).await <= SHARE as u64);
    for from in [PROVIDER, STRANGER] {
        let sender = Sender::new(from);
        for _ in 0..HONEST {
            assert!(sender.send(ingest.address).await.1, "a webhook within the tolerance is refused");
        }
    }
    let stored = records::read(&ingest.kafka).await;
    for webhook in &sent {
        let signature = Some(&*webhook.signature);
        let letter = stored.iter().find(|record| record.header(header::SIGNATURE) == signature).expect("a dead letter");
        assert_eq!(letter.decoded().dead.expect("a dead letter").reason, DeadLetterReason::Stale);
    }
    assert!(ingest.metric("unavailable_total", &["reason=\"stale_share\""]).await > 0);
    assert_eq!(ingest.metric("unavailable_total", &["reason=\"queued_bytes\""]).await, 0);
    drop(attack);
    ingest.ends_well().await;
}
