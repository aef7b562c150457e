//! Requests that no HTTP library would send like this: chunked, byte by byte, pipelined, broken, cut off.

use std::time::Duration;

use crate::connection::Connection;
use crate::ingest_under_test::IngestUnderTest;
use crate::records;
use crate::webhook::{SOURCE, Webhook, post};

fn chunked(webhook: &Webhook, more: &str) -> String {
    let (front, back) = webhook.body.split_at(20);
    let chunks = format!("14;name=value\r\n{front}\r\n{:X}\r\n{back}\r\n0\r\nx-trailer: t\r\n\r\n", back.len());
    post(SOURCE, &format!("{}{more}transfer-encoding: chunked\r\n", webhook.headers()), &chunks)
}

fn with_length(webhook: &Webhook, length: usize) -> String {
    post(SOURCE, &format!("{}content-length: {length}\r\n", webhook.headers()), &webhook.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_in_many_shapes() {
    let mut ingest = IngestUnderTest::shared("shapes", &[]).await;
    let mut sent = Vec::new();
    let mut webhook = || {
        sent.push(Webhook::new());
        sent.last().unwrap().clone()
    };
    let mut connection = Connection::open(ingest.address).await;
    assert_eq!(connection.exchange(chunked(&webhook(), "")).await.unwrap().status, 200);
    // With both a length and chunks, the chunks count, whatever the length says and wherever it stands, and the
    // connection is closed: RFC 9112, 6.3.
    for request in [
        chunked(&webhook(), "content-length: 3\r\n"),
        chunked(&webhook(), "content-length: 300\r\n"),
        chunked(&webhook(), "").replace("chunked\r\n", "chunked\r\ncontent-length: 3\r\n"),
    ] {
        let mut connection = Connection::open(ingest.address).await;
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200, "{request}");
        assert!(connection.ended().await);
    }
    let twice = webhook();
    let same = with_length(&twice, twice.body.len())
        .replace("\r\n\r\n", &format!("\r\ncontent-length: {}\r\n\r\n", twice.body.len()));
    assert_eq!(connection.exchange(same).await.unwrap().status, 200, "the same length twice");

    let (first, second) = (webhook(), webhook());
    connection.send(first.request() + &second.request()).await;
    for _ in 0..2 {
        assert_eq!(connection.answer().await.unwrap().status, 200, "one behind the other");
    }
    for byte in webhook().request().bytes() {
        connection.send([byte]).await;
    }
    assert_eq!(connection.answer().await.unwrap().status, 200, "byte by byte");

    let waiting = webhook();
    let expecting = post(
        SOURCE,
        &format!("{}expect: 100-continue\r\ncontent-length: {}\r\n", waiting.headers(), waiting.body.len()),
        "",
    );
    assert_eq!(connection.exchange(expecting).await.unwrap().status, 100);
    assert_eq!(connection.exchange(&waiting.body).await.unwrap().status, 200);

    let longer = webhook();
    connection.send(longer.request() + "surplus\r\n\r\n").await;
    assert_eq!(connection.answer().await.unwrap().status, 200, "what was announced is whole");
    assert_eq!(connection.answer().await.unwrap().status, 400, "the surplus is no request");
    assert!(connection.ended().await);

    let mut connection = Connection::open(ingest.address).await;
    connection.send(webhook().request().replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    assert!(connection.ended().await);
    let mut connection = Connection::open(ingest.address).await;
    connection.send(webhook().request()).await;
    connection.finish().await;
    assert_eq!(connection.answer().await.unwrap().status, 200, "it may stop sending, and listen");

    let stored = records::read(&ingest.kafka).await;
    records::assert_none_missing(&sent, &stored);
    assert_eq!(stored.len(), sent.len(), "and nothing else");
    ingest.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_http_is_answered_as_far_as_it_can_be_and_the_connection_ends() {
    let mut ingest = IngestUnderTest::shared("broken", &[]).await;
    let webhook = Webhook::new();
    let length = webhook.body.len();
    let many = (0..5000).map(|number| format!("x-{number}: {number}\r\n")).collect::<String>();
    let long = format!("x-long: {}\r\n", "x".repeat(300 << 10));
    let line = with_length(&webhook, length);
    let framing = |header: &str| post(SOURCE, &format!("{}{header}\r\n", webhook.headers()), &webhook.body);
    for (what, request, status) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("the greeting of TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".to_owned(), 400),
        ("five thousand headers", line.replacen("\r\n", &format!("\r\n{many}"), 1), 431),
        ("a header of 300 KiB", line.replacen("\r\n", &format!("\r\n{long}"), 1), 431),
        ("a path of 100 KiB", line.replacen(SOURCE, &"x".repeat(100 << 10), 1), 431),
        ("a header with a NUL", line.replacen("\r\n", "\r\nx: \0\r\n", 1), 400),
        ("a header without a name", line.replacen("\r\n", "\r\n: x\r\n", 1), 400),
        ("two lengths", with_length(&webhook, length).replacen("\r\n\r\n", "\r\ncontent-length: 3\r\n\r\n", 1), 400),
        ("a length below zero", framing("content-length: -1"), 400),
        ("a length beyond 64 bits", framing("content-length: 18446744073709551616"), 400),
        ("an unknown coding", framing("transfer-encoding: gzip"), 400),
        ("chunks that are none", framing("transfer-encoding: chunked"), 400),
        (
            "a chunk beyond 64 bits",
            framing("transfer-encoding: chunked").replace("\r\n\r\n{", "\r\n\r\n1ffffffffffffffff\r\n{"),
            400,
        ),
    ] {
        let mut connection = Connection::open(ingest.address).await;
        let answer = connection.exchange(request).await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(connection.ended().await, "{what}: the answer could have been lost");
    }

    let mut connection = Connection::open(ingest.address).await;
    assert_eq!(connection.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, None, "HTTP/2 is closed without a word");

    // A body that ends early, with a length and with chunks, while the sender still reads.
    for request in [with_length(&webhook, length + 1), chunked(&webhook, "").replace("\r\n0\r\n", "\r\n7\r\n")] {
        let mut connection = Connection::open(ingest.address).await;
        connection.send(request).await;
        connection.finish().await;
        connection.answer().await.expect("an answer").assert_problem(400);
        assert!(connection.ended().await);
    }
    // A chunked body that grows over the limit; and one that is announced as too large, which gets no 100.
    let endless = post(SOURCE, &format!("{}transfer-encoding: chunked\r\n", webhook.headers()), "");
    let mut connection = Connection::open(ingest.address).await;
    connection.send(endless).await;
    connection.send(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(5)).await;
    connection.answer().await.expect("an answer").assert_problem(413);
    assert!(connection.ended().await);
    let expecting =
        post(SOURCE, &format!("{}expect: 100-continue\r\ncontent-length: 1000000\r\n", webhook.headers()), "");
    Connection::open(ingest.address).await.exchange(expecting).await.unwrap().assert_problem(413);

    assert!(
        Connection::open(ingest.address).await.is_silent(Duration::from_millis(200)).await,
        "nobody speaks unasked"
    );
    assert_eq!(records::read(&ingest.kafka).await.len(), 0, "nothing of it is stored");
    assert_eq!(ingest.post(&webhook).await.status, 200, "and ingest goes on");
    ingest.ends_well().await;
}
