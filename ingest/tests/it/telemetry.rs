//! A standard error that nobody reads: closed, as where a log shipper has died, or full, as where one has stopped.

use std::time::Duration;

use hookline_testkit::{KafkaCluster, LogPipe, Signal, eventually};

use crate::connection::Connection;
use crate::ingest_under_test::{BUDGET, DEADLINE, IngestUnderTest};
use crate::records;
use crate::webhook::{SOURCE, Webhook, now, post};

const LOST: &str = "hookline_log_lines_lost_total";
/// Ingest has two listeners, each with its line in the log.
const LISTENERS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_loses_lines_and_nothing_else() {
    let mut cluster = KafkaCluster::start(&[]).await;
    let kafka = cluster.config("hookline");
    records::create(&kafka, records::topics(&kafka).all(), (2, 1), &[]).await;
    let mut tested = Vec::new();
    for pipe in [LogPipe::ClosedAfterListeners(LISTENERS), LogPipe::UnreadAfterListeners(LISTENERS), LogPipe::Read] {
        let mut ingest = IngestUnderTest::start_logging_into(pipe, kafka.clone(), &[], &[]).await;
        ingest.daemon.wait_ready().await;
        ingest.accepts().await;
        if pipe != LogPipe::Read {
            // Each reload is a line in the log.
            eventually("a line that is lost", DEADLINE, async || {
                for _ in 0..20 {
                    ingest.daemon.signal(Signal::SIGHUP);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (ingest.daemon.metric(LOST, &[]).await > 0.0).then_some(())
            })
            .await;
        }
        let reloads = ["result=\"ok\""];
        let before = ingest.metric("secret_reloads_total", &reloads).await;
        ingest.daemon.signal(Signal::SIGHUP);
        eventually("a reload", DEADLINE, async || {
            (ingest.metric("secret_reloads_total", &reloads).await > before).then_some(())
        })
        .await;
        tested.push((pipe, ingest));
    }

    // librdkafka reports the broken connections through a callback, which logs.
    cluster.terminate(1).await;
    for (pipe, ingest) in &mut tested {
        ingest.is_not_ready_because("no broker answers").await;
        let (answer, took) = ingest.timed(&Webhook::new()).await;
        answer.assert_problem(503);
        assert!(took < BUDGET, "{pipe:?}: {took:?}");
    }
    cluster.restart(1).await;
    for (pipe, mut ingest) in tested {
        ingest.daemon.wait_ready().await;
        ingest.accepts().await;
        // The control: a log that is read loses nothing.
        assert_eq!(ingest.daemon.metric(LOST, &[]).await > 0.0, pipe != LogPipe::Read, "{pipe:?}");
        let status = ingest.daemon.terminate().await;
        assert!(status.success(), "{pipe:?}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_once_of_webhooks_that_are_refused_and_of_dead_letters() {
    let mut ingest = IngestUnderTest::shared("told", &[]).await;
    ingest.accepts().await;
    for _ in 0..5 {
        assert_eq!(ingest.post(&Webhook::signed_with("another 0123456789", now(), "{}")).await.status, 401);
        assert_eq!(ingest.post(&Webhook::signed(now(), "no")).await.status, 202);
    }
    let told = |reason: &str| {
        let wanted = format!("\"reason\":\"{reason}\"");
        let log = ingest.daemon.log();
        let lines = log.into_iter().filter(|line| line.contains("webhooks are refused") && line.contains(&wanted));
        lines.collect::<Vec<_>>()
    };
    eventually("both lines", DEADLINE, async || {
        (!told("signature_wrong").is_empty() && !told("not_json").is_empty()).then_some(())
    })
    .await;
    for reason in ["signature_wrong", "not_json"] {
        let lines = told(reason);
        let tells = |part: &str| lines[0].contains(part);
        assert!(lines.len() == 1 && tells("\"level\":\"WARN\"") && tells("\"peer\":\"127.0.0.1\""), "{lines:?}");
        assert!(tells("\"source\":\"") && !tells("another 0123456789"), "{lines:?}");
    }
    assert_eq!(told("stale"), Vec::<String>::new(), "there was none");
    // A trusted proxy says who it was.
    let mut proxied =
        IngestUnderTest::shared("told_of", &[("HOOKLINE_INGEST__SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let forged = Webhook::signed_with("another 0123456789", now(), "{}");
    let headers = format!("{}x-forwarded-for: 203.0.113.9\r\ncontent-length: 2\r\n", forged.headers());
    let answer = Connection::open(proxied.address).await.exchange(post(SOURCE, &headers, "{}")).await;
    assert_eq!(answer.unwrap().status, 401);
    eventually("the line about the peer", DEADLINE, async || {
        proxied.daemon.log().iter().any(|line| line.contains("\"peer\":\"203.0.113.9\"")).then_some(())
    })
    .await;
    proxied.ends_well().await;
    ingest.ends_well().await;
}
