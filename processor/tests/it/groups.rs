//! Members come and go.

use hookline_service::testing::{Daemon, KafkaCluster, Servers, eventually};
use nix::sys::signal::Signal;

use crate::stand::{DEADLINE, Stand, now};

const DELIVERIES: &str = "SELECT count() FROM deliveries FINAL";

#[tokio::test]
async fn no_partition_is_stuck_after_ten_rebalances_under_load() {
    let stand = Stand::new("rebalances", 4).await;
    let member = |name: &'static str| {
        stand.daemon(&[
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "500"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "100"),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300"),
        ])
    };
    let mut one = member("one");
    one.wait_ready().await;
    let mut sent = 0;
    for round in 1..=5 {
        // Without static membership it leaves at once: two rebalances a round, for the one that stays.
        let mut guest = member("");
        stand.send_jobs(sent..sent + 600, now() - 600);
        sent += 600;
        eventually("the guest's share", DEADLINE, async || {
            (guest.metric("hookline_processor_records_consumed_total", &[]).await > 0.0).then_some(())
        })
        .await;
        assert!(guest.terminate().await.success());
        eventually("the partitions back", DEADLINE, async || {
            let assigned = one.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await;
            (assigned >= f64::from(1 + 2 * round)).then_some(())
        })
        .await;
    }
    stand.until(DELIVERIES, sent as u64 * 2).await;
    stand.until_no_lag(&mut one).await;
    assert_eq!(stand.number("SELECT count() FROM job_facts WHERE outcome != 'open'").await, sent as u64);
    let series = one.metric_labels("hookline_processor_lag_records").await;
    assert_eq!(series.len(), 16, "it has every partition: {series:?}");
}

#[tokio::test]
async fn series_of_a_revoked_partition_go() {
    let stand = Stand::new("revoked", 2).await;
    let mut one = stand.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "one")]);
    one.wait_ready().await;
    stand.send_jobs(0..30, now() - 600);
    let series = async |daemon: &mut Daemon| daemon.metric_labels("hookline_processor_lag_records").await.len();
    eventually("all partitions", DEADLINE, async || (series(&mut one).await == 8).then_some(())).await;
    let mut two = stand.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "two")]);
    eventually("half of them", DEADLINE, async || {
        (series(&mut one).await == 4 && series(&mut two).await == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_within_the_session_moves_no_partition() {
    let stand = Stand::new("static", 2).await;
    let member = |name: &'static str| stand.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name)]);
    let (mut one, mut two) = (member("one"), member("two"));
    for daemon in [&mut one, &mut two] {
        eventually("half of the partitions", DEADLINE, async || {
            (daemon.metric_labels("hookline_processor_lag_records").await.len() == 4).then_some(())
        })
        .await;
    }
    let assigned = one.metric("hookline_processor_rebalances_total", &[]).await;
    two.kill();
    let mut two = member("two");
    stand.send_jobs(0..60, now() - 600);
    stand.until(DELIVERIES, 120).await;
    stand.until_no_lag(&mut two).await;
    assert_eq!(one.metric("hookline_processor_rebalances_total", &[]).await, assigned);
}

#[tokio::test]
async fn a_consumer_without_progress_is_made_anew() {
    let cluster = KafkaCluster::start(&[]).await;
    let mut servers = Servers::fresh("watchdog").await;
    servers.kafka = cluster.config("hookline");
    let stand = Stand::on(servers, 1).await;
    stand.send_jobs(0..100_000, now() - 600);
    let mut daemon = stand.daemon(&[("HOOKLINE_PROCESSOR__GROUP__WATCHDOG_MS", "3000")]);
    eventually("some progress", DEADLINE, async || {
        let rows = stand.number("SELECT count() FROM deliveries").await;
        (rows > 0).then_some(())
    })
    .await;
    cluster.signal(1, Signal::SIGSTOP);
    eventually("the watchdog", DEADLINE, async || {
        let restarts = daemon.metric("hookline_processor_consumer_restarts_total", &["cause=\"watchdog\""]).await;
        (restarts >= 1.0).then_some(())
    })
    .await;
    cluster.signal(1, Signal::SIGCONT);
    stand.until(DELIVERIES, 200_000).await;
    stand.until_no_lag(&mut daemon).await;
}
