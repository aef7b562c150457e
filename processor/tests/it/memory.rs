//! Memory does not grow with what is waiting.

use hookline_testkit::{Process, eventually};
use nix::sys::signal::Signal;

use crate::processor_under_test::{DEADLINE, ProcessorUnderTest, now};

/// The peak of the resident memory, in bytes, of a processor that finds these jobs in the topics.
async fn peak_with_backlog(under_test: &ProcessorUnderTest, jobs: std::ops::Range<usize>, rows: u64) -> u64 {
    under_test.produce_jobs(jobs, now() - 600);
    let mut daemon = under_test.daemon(&[
        ("HOOKLINE_PROCESSOR__BATCH__MAX_BYTES", "2097152"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "5000"),
    ]);
    under_test.wait_until("SELECT count() FROM deliveries", rows).await;
    let peak = Process(daemon.pid()).memory("VmHWM");
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    peak
}

#[tokio::test]
async fn ten_times_the_backlog_takes_no_more_memory() {
    let under_test = ProcessorUnderTest::new("memory", 2).await;
    let small = peak_with_backlog(&under_test, 0..20_000, 40_000).await;
    let large = peak_with_backlog(&under_test, 20_000..220_000, 440_000).await;
    eprintln!("peak {small} bytes, and {large} with ten times the backlog");
    // Counted jobs are kept, up to a bound of their own: about 35 bytes each, 180,000 of them more.
    assert!(large < small + small / 4 + 15_000_000, "{small} bytes grew to {large}");
}

#[tokio::test]
async fn a_frozen_writer_stops_consumption_and_keeps_the_membership() {
    let under_test = ProcessorUnderTest::new("paused", 1).await;
    under_test.execute("RENAME TABLE jobs TO away").await;
    under_test.execute("CREATE TABLE jobs AS away").await;
    let mut daemon = under_test.daemon(&[
        ("HOOKLINE_PROCESSOR__GROUP__SESSION_TIMEOUT_MS", "6000"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "1000"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_BYTES", "1048576"),
    ]);
    daemon.wait_ready().await;
    under_test.execute("DROP TABLE jobs").await;
    under_test.produce_jobs(0..5_000, now() - 600);
    eventually("paused consumption", DEADLINE, async || {
        (daemon.metric("hookline_processor_insert_retries_total", &[]).await >= 5.0).then_some(())
    })
    .await;
    let consumed = daemon.metric("hookline_processor_records_consumed_total", &[]).await;
    assert!((1_000.0..=2_000.0).contains(&consumed), "{consumed} records are on their way, two batches at most");
    under_test.execute("RENAME TABLE away TO jobs").await;
    under_test.wait_until("SELECT count() FROM deliveries FINAL", 10_000).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await, 1.0);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().await.success());
}
