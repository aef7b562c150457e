//! Each response of ingest, and where the webhook is stored that it answers.

use std::collections::BTreeMap;

use hookline_schemas::record::header;

use crate::connection::Connection;
use crate::ingest_under_test::IngestUnderTest;
use crate::records;
use crate::webhook::{SOURCE, Webhook, now, post};

const EXAMPLES: [(&str, &str); 9] = [
    ("audio.completed", include_str!("../../../schemas/examples/audio.completed.json")),
    ("audio.errored", include_str!("../../../schemas/examples/audio.errored.json")),
    ("audio.started", include_str!("../../../schemas/examples/audio.started.json")),
    ("image.completed", include_str!("../../../schemas/examples/image.completed.json")),
    ("image.errored", include_str!("../../../schemas/examples/image.errored.json")),
    ("image.started", include_str!("../../../schemas/examples/image.started.json")),
    ("video.completed", include_str!("../../../schemas/examples/video.completed.json")),
    ("video.errored", include_str!("../../../schemas/examples/video.errored.json")),
    ("video.started", include_str!("../../../schemas/examples/video.started.json")),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_processable_is_in_its_topic_exactly_as_signed() {
    let mut ingest = IngestUnderTest::shared("processable", &[]).await;
    let mut connection = Connection::open(ingest.address).await;
    // White space and the order of keys must be stored like they were signed.
    let spaced = "\n { \"payload\" : {\"created_at\":\"2024-10-19T05:10:19+02:00\", \"id\":\"~!\" } ,\"type\":\"video.started\"}\r\n";
    let mut sent = BTreeMap::new();
    for (event_type, body) in EXAMPLES.into_iter().chain([("video.started", spaced)]) {
        let webhook = Webhook::signed(now(), body);
        let answer = connection.exchange(webhook.request()).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, ""), "{event_type}");
        sent.insert(webhook.signature.clone(), (event_type, webhook));
    }

    let stored = records::read(&ingest.kafka).await;
    assert_eq!(stored.len(), sent.len());
    for record in &stored {
        let (event_type, webhook) = &sent[record.header(header::SIGNATURE).unwrap()];
        let (resource, _) = event_type.split_once('.').unwrap();
        let read = record.decoded();
        assert_eq!(record.topic, format!("{}.{resource}", ingest.kafka.topic_prefix));
        assert_eq!(record.value, webhook.body);
        assert_eq!(record.header(header::SIGNED_AT), Some(&*webhook.timestamp));
        assert_eq!((read.event_type, read.metadata.source, read.metadata.key_name), (*event_type, SOURCE, "default"));
        let key = record.key.as_deref().unwrap();
        assert!(webhook.body.contains(&format!("\"{key}\"")), "the key is the job's id");
        assert_eq!(record.header(header::CE_ID), Some(&*format!("{SOURCE}/{event_type}/{key}")));
        assert_eq!(record.header(header::CE_TIME), Some(&*read.metadata.signed_at.to_string()));
        let names: Vec<_> = record.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            [
                header::CE_SPECVERSION,
                header::CE_ID,
                header::CE_SOURCE,
                header::CE_TYPE,
                header::CE_TIME,
                header::CONTENT_TYPE,
                header::RECEIVED_AT,
                header::SIGNED_AT,
                header::SIGNATURE,
                header::KEY
            ]
        );
    }
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_told_from_the_request_is_answered_in_the_order_of_the_table() {
    const LIMIT: usize = 4096;
    let mut ingest = IngestUnderTest::shared("order", &[("HOOKLINE_INGEST__LIMITS__BODY_BYTES", "4096")]).await;
    let (small, large) = (Webhook::with_name("n"), Webhook::with_name(&"n".repeat(LIMIT)));
    let line = |method: &str, path: &str, webhook: &Webhook| {
        webhook.request().replacen(&format!("POST /webhooks/{SOURCE}"), &format!("{method} {path}"), 1)
    };
    for (request, status) in [
        (line("GET", "/", &large), 404),
        (line("POST", "/webhooks", &small), 404),
        (line("POST", "/webhooks/", &small), 404),
        (line("POST", "/webhooks/other", &small), 404),
        (line("POST", "/webhooks/MAGICHOUR", &small), 404),
        (line("POST", "/webhooks/magichour/", &small), 404),
        (line("POST", "/webhooks/%6dagichour", &small), 404),
        (line("PUT", "/webhooks/magichour", &large), 405),
        (line("GET", "/webhooks/magichour", &small), 405),
        (line("POST", "/webhooks/magichour", &large), 413),
        (line("POST", "/webhooks/magichour", &Webhook { signature: "0".repeat(64), ..small.clone() }), 401),
    ] {
        let answer = Connection::open(ingest.address).await.exchange(&request).await.expect("an answer");
        answer.assert_problem(status);
        assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{request}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{request}");
    }
    // An announcement over the limit is answered before a byte of the body has arrived.
    let announced = post(SOURCE, &format!("{}content-length: {}\r\n", large.headers(), LIMIT + 1), "");
    Connection::open(ingest.address).await.exchange(announced).await.unwrap().assert_problem(413);
    // A body of exactly the limit is accepted, and the query of the URL is ignored.
    let padding = LIMIT - Webhook::with_name("").body.len();
    let largest = Webhook::with_name(&"n".repeat(padding));
    assert_eq!(largest.body.len(), LIMIT);
    let asked = line("POST", "/webhooks/magichour?a=b", &largest);
    assert_eq!(Connection::open(ingest.address).await.exchange(asked).await.unwrap().status, 200);

    for (status, count) in [(404, 7), (405, 2), (413, 2), (401, 1), (200, 1)] {
        assert_eq!(ingest.metric("answers_total", &[&format!("status=\"{status}\"")]).await, count, "{status}");
    }
    assert_eq!(records::read(&ingest.kafka).await.len(), 1, "only what was acknowledged is stored");
    ingest.ends_well().await;
}
