//! Topics that do not exist, are deleted, or take smaller records than ingest does.

use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::ingest_under_test::{self, BUDGET, IngestUnderTest};
use crate::records;
use crate::webhook::{Webhook, noise, now};

/// The most that a record has beside its body, which readiness demands of topics, too.
const OVERHEAD: usize = 16 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_taken_up_when_it_is_there() {
    let (servers, kafka) = ingest_under_test::fresh("missing").await;
    let names: Vec<_> = records::topics(&kafka).all().map(str::to_owned).collect();
    let video = &*names[0];
    records::create(&kafka, names[1..].iter().map(|name| &**name), (2, 1), &[]).await;
    let mut ingest = IngestUnderTest::start(kafka.clone(), &[], &[]).await.keeping(servers);
    let refused = async |ingest: &mut IngestUnderTest| {
        ingest.is_not_ready_because(video).await;
        let (answer, took) = ingest.timed(&Webhook::new()).await;
        answer.assert_problem(503);
        assert!(took < BUDGET, "{took:?}");
    };
    refused(&mut ingest).await;
    let other = Webhook::signed(now(), "no");
    assert_eq!(ingest.post(&other).await.status, 202, "the other topics are there");

    records::create(&kafka, [video], (2, 1), &[]).await;
    ingest.daemon.wait_ready().await;
    let first = ingest.accepts().await;
    records::assert_none_missing(&[first, other], &records::read(&kafka).await);

    // Deleted while in use: the producer goes on with a sequence number that the new topic has never seen.
    records::delete_topics(&kafka, [video]).await;
    refused(&mut ingest).await;
    records::create(&kafka, [video], (2, 1), &[]).await;
    ingest.daemon.wait_ready().await;
    let last = ingest.accepts().await;
    records::assert_none_missing(&[last], &records::read(&kafka).await);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_refused_and_readiness_says_so() {
    let (servers, kafka) = ingest_under_test::fresh("too_large").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[("max.message.bytes", "10000")]).await;
    let mut ingest = IngestUnderTest::start(kafka, &[], &[]).await.keeping(servers);
    let reason = ingest.is_not_ready_because("max.message.bytes").await;
    assert!(reason.contains("10000") && reason.contains("limits.body_bytes = 262144"), "{reason}");
    let (answer, took) = ingest.timed(&Webhook::with_name(&noise(40_000))).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    assert_eq!(ingest.metric("unavailable_total", &["reason=\"refused\"", "code=\"MESSAGE_TOO_LARGE\""]).await, 1);
    ingest.accepts().await;
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readiness_is_content_with_holds_a_burst_too() {
    const BODY: usize = 4096;
    let (servers, kafka) = ingest_under_test::fresh("burst").await;
    let enough = (BODY + OVERHEAD).to_string();
    records::create(&kafka, records::topics(&kafka).all(), (1, 1), &[("max.message.bytes", &enough)]).await;
    let settings = [("HOOKLINE_INGEST__LIMITS__BODY_BYTES", &*BODY.to_string())];
    let ingest = IngestUnderTest::ready(kafka, &settings).await.keeping(servers);
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push((Connection::open(ingest.address).await, Webhook::with_name(&noise(BODY - 150)).request()));
    }
    let mut senders = JoinSet::new();
    for (mut connection, request) in connections {
        senders.spawn(async move { connection.exchange(request).await.unwrap().status });
    }
    assert_eq!(senders.join_all().await, vec![200; 100]);
}
