//! Topics that are not there, that go away, and that take less than ingest does.

use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::records;
use crate::stage::{self, BUDGET, Stage};
use crate::webhook::{Webhook, noise, now};

/// What a record may have beside its body, as the message of readiness adds it.
const OVERHEAD: usize = 16 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_taken_up_when_it_is_there() {
    let (servers, kafka) = stage::fresh("missing").await;
    let names: Vec<_> = records::topics(&kafka).all().map(str::to_owned).collect();
    let video = &*names[0];
    records::create(&kafka, names[1..].iter().map(|name| &**name), (2, 1), &[]).await;
    let mut stage = Stage::start(kafka.clone(), &[], &[]).await.keeping(servers);
    let refused = async |stage: &mut Stage| {
        stage.is_not_ready_because(video).await;
        let (answer, took) = stage.timed(&Webhook::new()).await;
        answer.assert_problem(503);
        assert!(took < BUDGET, "{took:?}");
    };
    refused(&mut stage).await;
    let other = Webhook::signed(now(), "no");
    assert_eq!(stage.post(&other).await.status, 202, "the other topics are there");

    records::create(&kafka, [video], (2, 1), &[]).await;
    stage.ingest.wait_ready().await;
    let first = stage.accepts().await;
    records::assert_none_missing(&[first, other], &records::read(&kafka).await);

    // While it is in use: its producer has a sequence that the new topic never saw.
    records::delete(&kafka, video).await;
    refused(&mut stage).await;
    records::create(&kafka, [video], (2, 1), &[]).await;
    stage.ingest.wait_ready().await;
    let last = stage.accepts().await;
    records::assert_none_missing(&[last], &records::read(&kafka).await);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_refused_and_readiness_says_so() {
    let (servers, kafka) = stage::fresh("too_large").await;
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[("max.message.bytes", "10000")]).await;
    let mut stage = Stage::start(kafka, &[], &[]).await.keeping(servers);
    let reason = stage.is_not_ready_because("max.message.bytes").await;
    assert!(reason.contains("10000") && reason.contains("limits.body_bytes = 262144"), "{reason}");
    let (answer, took) = stage.timed(&Webhook::with_name(&noise(40_000))).await;
    answer.assert_problem(503);
    assert!(took < BUDGET, "{took:?}");
    assert_eq!(stage.metric("unavailable_total", &["reason=\"refused\""]).await, 1);
    stage.accepts().await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readiness_is_content_with_holds_a_burst_too() {
    const BODY: usize = 4096;
    let (servers, kafka) = stage::fresh("burst").await;
    let enough = (BODY + OVERHEAD).to_string();
    records::create(&kafka, records::topics(&kafka).all(), (1, 1), &[("max.message.bytes", &enough)]).await;
    let settings = [("HOOKLINE_INGEST__LIMITS__BODY_BYTES", &*BODY.to_string())];
    let stage = Stage::ready(kafka, &settings).await.keeping(servers);
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push((Connection::open(stage.address).await, Webhook::with_name(&noise(BODY - 150)).request()));
    }
    let mut senders = JoinSet::new();
    for (mut connection, request) in connections {
        senders.spawn(async move { connection.exchange(request).await.unwrap().status });
    }
    assert_eq!(senders.join_all().await, vec![200; 100]);
}
