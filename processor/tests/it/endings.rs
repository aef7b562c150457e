//! How a processor ends where it cannot go on, and that a signal reaches it before it has begun.

use hookline_testkit::{Daemon, eventually, with};
use tokio::net::TcpListener;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};

/// A supervisor starts a process that has ended, and never one that only looks alive.
#[tokio::test]
async fn a_panic_of_the_writer_ends_the_process_and_says_so() {
    let under_test = ProcessorUnderTest::new("writer_panic", 1).await;
    let mut daemon = under_test.daemon(&[("HOOKLINE_FAIL_POINT", "after_jobs:1:panic")]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..10, now() - 60);
    assert_eq!(daemon.wait().await.code(), Some(1));
    const WHY: &str = "the writer's thread panicked: the fail point after_jobs was hit";
    eventually("the reason", DEADLINE, async || daemon.log().iter().any(|line| line.contains(WHY)).then_some(())).await;
    assert_eq!(under_test.query_number(DELIVERIES).await, 0);

    // What it had not written is read again; the control is a point that is never hit so often.
    let mut daemon = under_test.daemon(&[("HOOKLINE_FAIL_POINT", "after_jobs:1000000:panic")]);
    under_test.wait_until(DELIVERIES, 20).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_longer_end_than_supervisors_wait_for_is_named_at_start() {
    let under_test = ProcessorUnderTest::new("long_end", 1).await;
    const WARNING: &str = "group.shutdown_timeout_ms is longer than most supervisors wait";
    for (shutdown_timeout, is_named) in [("25000", false), ("25001", true)] {
        let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__SHUTDOWN_TIMEOUT_MS", shutdown_timeout)]);
        daemon.wait_ready().await;
        assert_eq!(daemon.log().iter().any(|line| line.contains(WARNING)), is_named, "{shutdown_timeout}");
        assert!(daemon.terminate().await.success());
    }
}

#[tokio::test]
async fn sigterm_ends_a_start_beside_servers_that_accept_and_say_nothing() {
    let under_test = ProcessorUnderTest::new("silent_start", 1).await;
    for (kafka_is_silent, clickhouse_is_silent) in [(true, false), (false, true), (true, true)] {
        // The kernel accepts.
        let kafka = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clickhouse = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = kafka.local_addr().unwrap().to_string();
        let url = format!("http://{}", clickhouse.local_addr().unwrap());
        let mut environment =
            with(&under_test.servers.environment(), &[("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")]);
        if kafka_is_silent {
            environment = with(&environment, &[("KAFKA_BOOTSTRAP_SERVERS", &servers)]);
        }
        if clickhouse_is_silent {
            environment = with(&environment, &[("CLICKHOUSE_URL", &url)]);
        }
        let mut daemon = Daemon::start("hookline-processor", &[], &environment);
        let connection = async {
            tokio::select! { connection = kafka.accept() => connection, connection = clickhouse.accept() => connection }
        };
        // It is kept open.
        let _connection = tokio::time::timeout(DEADLINE, connection).await.expect("a connection").unwrap();
        let status = daemon.terminate().await;
        assert!(status.success(), "Kafka silent {kafka_is_silent}, ClickHouse silent {clickhouse_is_silent}: {status}");
    }
}
