//! More connections or bytes than the limits allow are refused at once, and their memory is released.

use std::time::Instant;

use hookline_testkit::eventually;

use crate::connection::Connection;
use crate::ingest_under_test::{AT_ONCE, DEADLINE, IngestUnderTest};
use crate::records;
use crate::webhook::{SOURCE, Webhook, post};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_turned_away() {
    let mut ingest = IngestUnderTest::shared("connections", &[("HOOKLINE_INGEST__LIMITS__CONNECTIONS", "3")]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(ingest.address).await;
        assert_eq!(connection.exchange(Webhook::new().request()).await.unwrap().status, 200);
        held.push(connection);
    }
    let began = Instant::now();
    let mut refused = Connection::open(ingest.address).await;
    let answer = refused.exchange(Webhook::new().request()).await.expect("an answer");
    answer.assert_problem(503);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(began.elapsed() < AT_ONCE);
    assert!(refused.ended().await);
    assert_eq!(ingest.metric("connections_refused_total", &[]).await, 1);
    assert_eq!(ingest.metric("connections", &[]).await, 3);
    for connection in &mut held {
        assert_eq!(connection.exchange(Webhook::new().request()).await.unwrap().status, 200, "the others are served");
    }

    held.pop();
    let last = ingest.accepts().await;
    records::assert_none_missing(&[last], &records::read(&ingest.kafka).await);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_memory_for_them_are_refused() {
    let limits = [("HOOKLINE_INGEST__LIMITS__BODY_BYTES", "8192"), ("HOOKLINE_INGEST__LIMITS__QUEUED_BYTES", "8192")];
    let mut ingest = IngestUnderTest::shared("bytes", &limits).await;
    let slow = Webhook::with_name(&"n".repeat(7000));
    let length = format!("{}content-length: {}\r\n", slow.headers(), slow.body.len());
    let (front, back) = slow.body.split_at(6000);
    let mut holding = Connection::open(ingest.address).await;
    holding.send(post(SOURCE, &length, front)).await;
    eventually("the gauge", DEADLINE, async || (ingest.metric("queued_bytes", &[]).await >= 6000).then_some(())).await;

    let large = Webhook::with_name(&"n".repeat(3000));
    let (answer, took) = ingest.timed(&large).await;
    answer.assert_problem(503);
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(ingest.post(&Webhook::new()).await.status, 200, "a small one still fits");

    assert_eq!(holding.exchange(back).await.unwrap().status, 200);
    assert_eq!(ingest.post(&large).await.status, 200);
    assert_eq!(ingest.metric("unavailable_total", &["reason=\"queued_bytes\""]).await, 1);
    eventually("nothing left behind", DEADLINE, async || {
        (ingest.metric("queued_bytes", &[]).await + ingest.metric("requests_in_flight", &[]).await == 0).then_some(())
    })
    .await;
    ingest.ends_well().await;
}
