//! What surrounds the processor and must not harm it: a log that nobody reads, half a request on the admin listener, SIGHUP.

use std::time::Duration;

use hookline_testkit::{LogPipe, Signal, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};

const LOST: &str = "hookline_log_lines_lost_total";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_loses_lines_and_nothing_else() {
    let tested = ProcessorUnderTest::new("unread_log", 1).await;
    for (number, pipe) in
        [LogPipe::ClosedAfterListeners(1), LogPipe::UnreadAfterListeners(1), LogPipe::Read].into_iter().enumerate()
    {
        let mut processor = tested.daemon_logging_into(pipe, &[]);
        processor.wait_ready().await;
        tested.produce_jobs(number..number + 1, now());
        tested.wait_until(DELIVERIES, 2 * (number as u64 + 1)).await;
        if pipe != LogPipe::Read {
            // Each signal is a line in the log.
            eventually("a line that is lost", DEADLINE, async || {
                for _ in 0..20 {
                    processor.signal(Signal::SIGHUP);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (processor.metric(LOST, &[]).await > 0.0).then_some(())
            })
            .await;
        }
        assert_eq!(processor.metric(LOST, &[]).await > 0.0, pipe != LogPipe::Read, "{pipe:?}");
        let status = processor.terminate().await;
        assert!(status.success(), "{pipe:?}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_half_a_request_nor_sighup_keeps_it_from_ending_in_order() {
    let tested = ProcessorUnderTest::new("half_a_request", 1).await;
    let mut processor = tested.daemon(&[]);
    processor.wait_ready().await;
    let mut half = TcpStream::connect(processor.address("admin").await).await.unwrap();
    half.write_all(b"GET /met").await.unwrap();
    processor.signal(Signal::SIGHUP);
    eventually("the line about SIGHUP", DEADLINE, async || {
        processor.log().iter().any(|line| line.contains("SIGHUP: nothing is read again")).then_some(())
    })
    .await;
    // It still works.
    tested.produce_jobs(0..1, now());
    tested.wait_until(DELIVERIES, 2).await;
    let status = processor.terminate().await;
    assert!(status.success(), "{status}");
}
