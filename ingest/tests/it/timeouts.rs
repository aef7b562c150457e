//! The time limits of heads, bodies and idle connections, all in one test that waits for them at the same time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::ingest_under_test::IngestUnderTest;
use crate::webhook::{SOURCE, Webhook, post};

/// An answer may come this much early or late: timers are coarse, and the machine is busy.
const EARLY: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(8);

fn assert_took(what: &str, began: Instant, seconds: u64) {
    let (took, limit) = (began.elapsed(), Duration::from_secs(seconds));
    assert!(limit - EARLY <= took && took <= limit + LATE, "{what}: {took:?} instead of {limit:?}");
}

/// Sends `first`, and then a byte of `rest` every second.
async fn drip(connection: &mut Connection, first: &str, rest: &str, seconds: usize) {
    connection.send(first).await;
    for byte in rest.bytes().take(seconds) {
        sleep(Duration::from_secs(1)).await;
        connection.send([byte]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_15_seconds_a_body_10_and_an_idle_connection_30() {
    let mut ingest = IngestUnderTest::shared("timeouts", &[]).await;
    let address = ingest.address;
    let webhook = Webhook::new();
    let request = webhook.request();
    let head = request.trim_end_matches(&webhook.body).to_owned();
    let open = || Connection::open(address);
    let began = Instant::now();

    let nothing = async {
        open().await.ended().await;
        assert_took("nothing sent", began, 15);
    };
    let half_a_head = async {
        let mut connection = open().await;
        drip(&mut connection, &head[..40], &head[40..60], 20).await;
        connection.ended().await;
        assert_took("half a head, byte by byte", began, 15);
    };
    let half_the_second_head = async {
        let mut connection = open().await;
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
        sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        connection.send(&head[..40]).await;
        connection.ended().await;
        assert_took("half a head on a used connection", began, 15);
    };
    let no_body = async {
        let mut connection = open().await;
        connection.exchange(&head).await.unwrap().assert_problem(408);
        assert_took("no body", began, 10);
        connection.ended().await;
    };
    let slow_body = async {
        let mut connection = open().await;
        drip(&mut connection, &head, &webhook.body, 8).await;
        connection.answer().await.unwrap().assert_problem(408);
        assert_took("a body byte by byte", began, 10);
        connection.ended().await;
    };
    let slow_chunks = async {
        let mut connection = open().await;
        let chunked = post(SOURCE, &format!("{}transfer-encoding: chunked\r\n", webhook.headers()), "1\r\n{\r\n");
        connection.exchange(chunked).await.unwrap().assert_problem(408);
        assert_took("a body without an end", began, 10);
    };
    let idle = async {
        let mut connection = open().await;
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
        let began = Instant::now();
        connection.ended().await;
        assert_took("idle", began, 30);
    };
    // The control: a client that is slow within the limits is served, for longer in total than any of them.
    let slow_but_in_time = async {
        let mut connection = open().await;
        for _ in 0..4 {
            drip(&mut connection, "", &head[..4], 4).await;
            connection.send(&head[4..]).await;
            drip(&mut connection, "", &webhook.body[..4], 4).await;
            connection.send(&webhook.body[4..]).await;
            assert_eq!(connection.answer().await.unwrap().status, 200);
        }
    };
    tokio::join!(nothing, half_a_head, half_the_second_head, no_body, slow_body, slow_chunks, idle, slow_but_in_time);
    for (phase, count) in [("head", 3), ("idle", 1)] {
        let counted = ingest.metric("connections_timed_out_total", &[&format!("phase=\"{phase}\"")]).await;
        assert_eq!(counted, count, "{phase}");
    }
    assert_eq!(ingest.metric("answers_total", &["status=\"408\""]).await, 3);
    ingest.ends_well().await;
}
