//! Authentic webhooks that cannot be processed, or are stale, are stored as dead letters; and the first signed time of
//! an event that was refused is stored with its later attempt.

use std::collections::BTreeSet;

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::{DeadLetter, header};
use hookline_testkit::{KafkaCluster, eventually};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::ingest_under_test::{BUDGET, DEADLINE, IngestUnderTest};
use crate::records::{self, Record};
use crate::webhook::{SOURCE, Webhook, now};

fn of_webhook<'a>(records: &'a [Record], webhook: &Webhook) -> Vec<&'a Record> {
    records.iter().filter(|record| record.header(header::SIGNATURE) == Some(&webhook.signature)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_it_is_one() {
    let mut ingest = IngestUnderTest::shared("dead_letters", &[]).await;
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
        let answer = ingest.post(&webhook).await;
        assert_eq!((answer.status, &*answer.body), (202, ""), "{body}");
        let stored = records::read(&ingest.kafka).await;
        let [record] = of_webhook(&stored, &webhook)[..] else { panic!("{body}: not stored once") };
        let read = record.decoded();
        let Some(DeadLetter { reason: stored_reason, detail, origin, redrives }) = read.dead else {
            panic!("{body}: not a dead letter")
        };
        assert_eq!((stored_reason, origin, redrives), (reason, "ingest", 0), "{body}");
        assert!(!detail.is_empty(), "{body}: no detail");
        assert_eq!(record.topic, records::topics(&ingest.kafka).dead_letter());
        assert_eq!((&*record.value, record.key.as_deref(), read.event_type), (body, key, event_type), "{detail}");
        assert_eq!((read.metadata.source, read.metadata.signed_at_text), (SOURCE, &*webhook.timestamp));
        assert_eq!(record.header(header::CE_ID), Some(&*format!("{SOURCE}/{event_type}/{}", key.unwrap_or_default())));
    }
    for (reason, count) in
        [("not_json", 2), ("unknown_type", 3), ("bad_id", 1), ("bad_created_at", 1), ("ambiguous", 1)]
    {
        assert_eq!(ingest.metric("dead_letters_total", &[&format!("reason=\"{reason}\"")]).await, count, "{reason}");
    }
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_is_refused_and_stored_once() {
    let mut ingest = IngestUnderTest::shared("stale", &[]).await;
    let [late, early, unprocessable] = [
        Webhook::signed(now() - 400, Webhook::new().body),
        Webhook::signed(now() + 400, Webhook::new().body),
        Webhook::signed(now() - 400, "no"),
    ];
    for webhook in [&late, &early, &unprocessable] {
        // Ten at the same time and one after them: those that come while the first is being stored are asked to try
        // again.
        let mut senders = JoinSet::new();
        for _ in 0..10 {
            let (request, address) = (webhook.request(), ingest.address);
            senders.spawn(async move { Connection::open(address).await.exchange(request).await.unwrap().status });
        }
        let statuses: BTreeSet<_> = senders.join_all().await.into_iter().collect();
        assert!(statuses.contains(&401) && statuses.is_subset(&[401, 503].into()), "{statuses:?}");
        ingest.post(webhook).await.assert_problem(401);
    }
    let stored = records::read(&ingest.kafka).await;
    assert_eq!(stored.len(), 3);
    for (webhook, detail) in [(&late, "s ago"), (&early, "s ahead"), (&unprocessable, "s ago")] {
        let [record] = of_webhook(&stored, webhook)[..] else { panic!("not stored once") };
        let dead = record.decoded().dead.expect("a dead letter");
        assert_eq!(dead.reason, DeadLetterReason::Stale);
        assert!(dead.detail.ends_with(detail), "{}", dead.detail);
    }
    // Signed again, the same body is another delivery.
    assert_eq!(ingest.post(&Webhook::signed(now(), &*late.body)).await.status, 200);
    assert_eq!(ingest.metric("dead_letters_total", &["reason=\"stale\""]).await, 3);
    assert_eq!(ingest.metric("rejected_total", &["reason=\"stale_future\""]).await, 11);
    assert_eq!(ingest.metric("stale_signatures_entries", &[]).await, 3);
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_first_signed_time_travels_and_the_stale_are_not_forgotten() {
    let cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut ingest = IngestUnderTest::ready(kafka, &[]).await;
    let began = now();
    let body = Webhook::new().body;
    let attempts = [20, 10, 0].map(|ago| Webhook::signed(began - ago, &*body));
    let unanswered = Webhook::signed(began - 30, Webhook::new().body);
    let stale = Webhook::signed(began - 400, Webhook::new().body);
    // The provider signs its download URLs anew for each attempt: the bytes differ, the event is the same.
    let rendered = [(25, "a"), (5, "b"), (0, "c")]
        .map(|(ago, url)| Webhook::signed(began - ago, Webhook::of_job_with_download("rendered", url)));

    cluster.signal(1, Signal::SIGSTOP);
    // This sender does not wait for the answer.
    Connection::open(ingest.address).await.send(unanswered.request()).await;
    for webhook in [&attempts[1], &attempts[0], &rendered[1], &rendered[0], &stale] {
        let (answer, took) = ingest.timed(webhook).await;
        answer.assert_problem(503);
        assert!(took < BUDGET, "{took:?}");
    }
    eventually("the first signed times of three events", DEADLINE, async || {
        (ingest.metric("first_signed_times_entries", &[]).await == 3).then_some(())
    })
    .await;
    cluster.signal(1, Signal::SIGCONT);
    let unanswered_again = Webhook::signed(began, &*unanswered.body);
    for (webhook, status) in [(&attempts[2], 200), (&rendered[2], 200), (&unanswered_again, 200), (&stale, 401)] {
        eventually("the answer of a broker that works", DEADLINE, async || {
            (ingest.post(webhook).await.status == status).then_some(())
        })
        .await;
    }
    let later = Webhook::signed(began + 1, &*body);
    assert_eq!(ingest.post(&later).await.status, 200);

    let stored = records::read(&ingest.kafka).await;
    let firsts = |webhook| -> Vec<_> {
        of_webhook(&stored, webhook).iter().map(|record| record.header(header::FIRST_SIGNED_AT)).collect()
    };
    // A record that was answered 503 may have reached the broker all the same, before the one that was acknowledged.
    assert_eq!(firsts(&attempts[2]).last(), Some(&Some(&*attempts[0].timestamp)), "the earliest");
    assert_eq!(firsts(&rendered[2]).last(), Some(&Some(&*rendered[0].timestamp)), "rendered anew");
    assert_eq!(firsts(&unanswered_again).last(), Some(&Some(&*unanswered.timestamp)));
    assert_eq!(firsts(&later), [None], "a stored event is forgotten");
    let dead = of_webhook(&stored, &stale).last().map(|record| record.decoded().dead.map(|dead| dead.reason));
    assert_eq!(dead, Some(Some(DeadLetterReason::Stale)));
    assert_eq!(ingest.metric("first_signed_times_entries", &[]).await, 0);
    ingest.ends_well().await;
}
