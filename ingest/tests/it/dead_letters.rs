//! What is authentic but cannot be processed, or comes too late, is kept; and the first signed time travels.

use std::collections::BTreeSet;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::{DeadLetter, header};
use hookline_testkit::{KafkaCluster, eventually};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::records::{self, Record};
use crate::stage::{BUDGET, DEADLINE, Stage};
use crate::webhook::{SOURCE, Webhook, now};

fn of_webhook<'a>(records: &'a [Record], webhook: &Webhook) -> Vec<&'a Record> {
    records.iter().filter(|record| record.header(header::SIGNATURE) == Some(&webhook.signature)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_it_is_one() {
    let mut stage = Stage::shared("dead", &[]).await;
    let id = "x".repeat(129);
    for (body, reason, key, event_type) in [
        ("no", DeadLetterReason::NotJson, None, ""),
        ("", DeadLetterReason::NotJson, None, ""),
        ("{}", DeadLetterReason::UnknownType, None, ""),
        (r#"{"type":"test.event","payload":{"test":true}}"#, DeadLetterReason::UnknownType, None, ""),
        (r#"{"type":"video.deleted","payload":{"id":"j"}}"#, DeadLetterReason::UnknownType, Some("j"), ""),
        (
            &format!(r#"{{"type":"video.started","payload":{{"id":"{id}"}}}}"#),
            DeadLetterReason::BadId,
            None,
            "video.started",
        ),
        (
            r#"{"type":"video.started","payload":{"id":"j"}}"#,
            DeadLetterReason::BadCreatedAt,
            Some("j"),
            "video.started",
        ),
        (
            r#"{"type":"video.started","type":"video.started","payload":{"id":"j"}}"#,
            DeadLetterReason::Ambiguous,
            Some("j"),
            "video.started",
        ),
    ] {
        let webhook = Webhook::signed(now(), body);
        let answer = stage.post(&webhook).await;
        assert_eq!((answer.status, &*answer.body), (202, ""), "{body}");
        let stored = records::read(&stage.kafka).await;
        let [record] = of_webhook(&stored, &webhook)[..] else { panic!("{body}: not stored once") };
        let read = record.decoded();
        let Some(DeadLetter { reason: found, detail, origin, redrives }) = read.dead else { panic!("{body}: alive") };
        assert_eq!((found, origin, redrives), (reason, "ingest", 0), "{body}");
        assert!(!detail.is_empty(), "{body}: no detail");
        assert_eq!(record.topic, records::topics(&stage.kafka).dead_letter());
        assert_eq!((&*record.value, record.key.as_deref(), read.event_type), (body, key, event_type), "{detail}");
        assert_eq!((read.metadata.source, read.metadata.signed_at_text), (SOURCE, &*webhook.timestamp));
        assert_eq!(record.header(header::CE_ID), Some(&*format!("{SOURCE}/{event_type}/{}", key.unwrap_or_default())));
    }
    for (reason, count) in
        [("not_json", 2), ("unknown_type", 3), ("bad_id", 1), ("bad_created_at", 1), ("ambiguous", 1)]
    {
        assert_eq!(stage.metric("dead_letters_total", &[&format!("reason=\"{reason}\"")]).await, count, "{reason}");
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_is_refused_and_stored_once() {
    let mut stage = Stage::shared("stale", &[]).await;
    let [late, early, unprocessable] = [
        Webhook::signed(now() - 400, Webhook::new().body),
        Webhook::signed(now() + 400, Webhook::new().body),
        Webhook::signed(now() - 400, "no"),
    ];
    for webhook in [&late, &early, &unprocessable] {
        // At the same time and one after the other: whoever meets the first one on its way is asked to come again.
        let mut senders = JoinSet::new();
        for _ in 0..10 {
            let (request, address) = (webhook.request(), stage.address);
            senders.spawn(async move { Connection::open(address).await.exchange(request).await.unwrap().status });
        }
        let statuses: BTreeSet<_> = senders.join_all().await.into_iter().collect();
        assert!(statuses.contains(&401) && statuses.is_subset(&[401, 503].into()), "{statuses:?}");
        stage.post(webhook).await.assert_problem(401);
    }
    let stored = records::read(&stage.kafka).await;
    assert_eq!(stored.len(), 3);
    for (webhook, detail) in [(&late, "s ago"), (&early, "s ahead"), (&unprocessable, "s ago")] {
        let [record] = of_webhook(&stored, webhook)[..] else { panic!("not stored once") };
        let dead = record.decoded().dead.expect("a dead letter");
        assert_eq!(dead.reason, DeadLetterReason::Stale);
        assert!(dead.detail.ends_with(detail), "{}", dead.detail);
    }
    // Signed anew it is another delivery.
    assert_eq!(stage.post(&Webhook::signed(now(), &*late.body)).await.status, 200);
    assert_eq!(stage.metric("dead_letters_total", &["reason=\"stale\""]).await, 3);
    assert_eq!(stage.metric("rejected_total", &["reason=\"stale_future\""]).await, 11);
    assert_eq!(stage.metric("remembered_entries", &["map=\"stale_signatures\""]).await, 3);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_first_signed_time_travels_and_the_stale_are_not_forgotten() {
    let cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut stage = Stage::ready(kafka, &[]).await;
    let began = now();
    let body = Webhook::new().body;
    let attempts = [20, 10, 0].map(|ago| Webhook::signed(began - ago, &*body));
    let unnoticed = Webhook::signed(began - 30, Webhook::new().body);
    let stale = Webhook::signed(began - 400, Webhook::new().body);

    cluster.signal(1, Signal::SIGSTOP);
    // Its sender does not wait for the answer.
    Connection::open(stage.address).await.send(unnoticed.request()).await;
    for webhook in [&attempts[1], &attempts[0], &stale] {
        let (answer, took) = stage.timed(webhook).await;
        answer.assert_problem(503);
        assert!(took < BUDGET, "{took:?}");
    }
    let remembered = ["map=\"first_signed_times\""];
    eventually("both remembered", DEADLINE, async || {
        (stage.metric("remembered_entries", &remembered).await == 2).then_some(())
    })
    .await;
    cluster.signal(1, Signal::SIGCONT);
    let unnoticed_again = Webhook::signed(began, &*unnoticed.body);
    for (webhook, status) in [(&attempts[2], 200), (&unnoticed_again, 200), (&stale, 401)] {
        eventually("the answer of better days", DEADLINE, async || {
            (stage.post(webhook).await.status == status).then_some(())
        })
        .await;
    }
    let afterwards = Webhook::signed(began + 1, &*body);
    assert_eq!(stage.post(&afterwards).await.status, 200);

    let stored = records::read(&stage.kafka).await;
    let firsts = |webhook| -> Vec<_> {
        of_webhook(&stored, webhook).iter().map(|record| record.header(header::FIRST_SIGNED_AT)).collect()
    };
    // What was answered 503 may have arrived all the same, and then does so before what was acknowledged.
    assert_eq!(firsts(&attempts[2]).last(), Some(&Some(&*attempts[0].timestamp)), "the earliest");
    assert_eq!(firsts(&unnoticed_again).last(), Some(&Some(&*unnoticed.timestamp)));
    assert_eq!(firsts(&afterwards), [None], "once it is stored it is forgotten");
    let dead = of_webhook(&stored, &stale).last().map(|record| record.decoded().dead.map(|dead| dead.reason));
    assert_eq!(dead, Some(Some(DeadLetterReason::Stale)));
    assert_eq!(stage.metric("remembered_entries", &remembered).await, 0);
    stage.ends_well().await;
}
