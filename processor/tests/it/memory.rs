//! Memory does not grow with what is waiting.

use hookline_testkit::{Daemon, eventually};
use nix::sys::signal::Signal;

use crate::stand::{DEADLINE, Stand, now};

/// KiB.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

async fn peak_with_backlog(stand: &Stand, jobs: std::ops::Range<usize>, rows: u64) -> u64 {
    stand.send_jobs(jobs, now() - 600);
    let mut daemon = stand.daemon(&[
        ("HOOKLINE_PROCESSOR__BATCH__MAX_BYTES", "2097152"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "5000"),
    ]);
    stand.until("SELECT count() FROM deliveries", rows).await;
    let peak = peak_memory(&daemon);
    stand.until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    peak
}

#[tokio::test]
async fn ten_times_the_backlog_takes_no_more_memory() {
    let stand = Stand::new("memory", 2).await;
    let small = peak_with_backlog(&stand, 0..20_000, 40_000).await;
    let large = peak_with_backlog(&stand, 20_000..220_000, 440_000).await;
    eprintln!("peak {small} KiB, and {large} KiB with ten times the backlog");
    // Finished jobs are remembered, up to a bound of their own: about 35 bytes each, 180,000 of them more.
    assert!(large < small + small / 4 + 15_000, "{small} KiB grew to {large} KiB");
}

#[tokio::test]
async fn a_frozen_writer_stops_consumption_and_keeps_the_membership() {
    let stand = Stand::new("paused", 1).await;
    stand.execute("RENAME TABLE jobs TO away").await;
    stand.execute("CREATE TABLE jobs AS away").await;
    let mut daemon = stand.daemon(&[
        ("HOOKLINE_PROCESSOR__GROUP__SESSION_TIMEOUT_MS", "6000"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "1000"),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_BYTES", "1048576"),
    ]);
    daemon.wait_ready().await;
    stand.execute("DROP TABLE jobs").await;
    stand.send_jobs(0..5_000, now() - 600);
    eventually("paused consumption", DEADLINE, async || {
        (daemon.metric("hookline_processor_insert_retries_total", &[]).await >= 5.0).then_some(())
    })
    .await;
    let consumed = daemon.metric("hookline_processor_records_consumed_total", &[]).await;
    assert!((1_000.0..=2_000.0).contains(&consumed), "{consumed} records are on their way, two batches at most");
    stand.execute("RENAME TABLE away TO jobs").await;
    stand.until("SELECT count() FROM deliveries FINAL", 10_000).await;
    stand.until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await, 1.0);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().await.success());
}
