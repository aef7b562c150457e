//! Members join and leave the consumer group.

use std::time::Duration;

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, KafkaCluster, Servers, eventually};
use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

/// Waits until a member has so many partitions.
pub async fn has_partitions(daemon: &mut Daemon, count: usize) {
    eventually("its partitions", DEADLINE, async || {
        (daemon.metric_labels("hookline_processor_lag_records").await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_partition_is_stuck_after_ten_rebalances_under_load() {
    let under_test = ProcessorUnderTest::new("rebalances", 4).await;
    let member = |name: &'static str| {
        under_test.daemon(&[
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "500"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "100"),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300"),
        ])
    };
    let mut one = member("one");
    has_partitions(&mut one, 16).await;
    let mut sent = 0;
    for _ in 0..5 {
        // Without static membership it leaves at once: two rebalances a round, for the one that stays.
        let mut guest = member("");
        eventually("the guest's share", DEADLINE, async || {
            under_test.produce_jobs(sent..sent + 50, now() - 600);
            sent += 50;
            (guest.metric("hookline_processor_records_consumed_total", &[]).await > 0.0).then_some(())
        })
        .await;
        assert!(guest.terminate().await.success());
        has_partitions(&mut one, 16).await;
    }
    assert!(one.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await >= 11.0);
    under_test.wait_until(DELIVERIES, sent as u64 * 2).await;
    under_test.wait_until_no_lag(&mut one).await;
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts WHERE outcome != 'open'").await, sent as u64);
}

#[tokio::test]
async fn series_of_a_revoked_partition_go() {
    let under_test = ProcessorUnderTest::new("revoked", 2).await;
    let mut one = under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "one")]);
    one.wait_ready().await;
    under_test.produce_jobs(0..30, now() - 600);
    has_partitions(&mut one, 8).await;
    let mut two = under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "two")]);
    has_partitions(&mut two, 4).await;
    has_partitions(&mut one, 4).await;
}

/// A member that answers a rebalance only when the test polls it: meanwhile all others have no partitions.
fn slow_member(under_test: &ProcessorUnderTest, instance_id: &str) -> BaseConsumer {
    let kafka = &under_test.servers.kafka;
    let mut client = kafka.client().unwrap();
    client
        .set("group.id", format!("{}.processor", kafka.topic_prefix))
        .set("group.instance.id", instance_id)
        .set("partition.assignment.strategy", "roundrobin");
    let consumer: BaseConsumer = client.create().unwrap();
    consumer.subscribe(&under_test.topics.all().collect::<Vec<_>>()).unwrap();
    consumer
}

#[tokio::test]
async fn what_waits_for_a_witness_goes_with_its_partition() {
    let under_test = ProcessorUnderTest::new("gone", 1).await;
    under_test.execute("ALTER TABLE jobs ADD CONSTRAINT none CHECK source = ''").await;
    // By turns the members get the topics audio, dead-letter, image and video, in the order of their names.
    let member = |name: &'static str| under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name)]);
    let slow = slow_member(&under_test, "1-slow");
    let mut old = member("2-old");
    eventually("two members", DEADLINE, async || {
        let _ = slow.poll(Duration::from_millis(20));
        (slow.assignment().unwrap().count() == 2).then_some(())
    })
    .await;
    has_partitions(&mut old, 2).await;
    for record in records_of_job(Resource::Video, 7, now() - 600) {
        under_test.produce(&record);
    }
    under_test.flush();
    let ready = format!("http://{}/health/ready", old.address("admin").await);
    let is_in_doubt =
        async || reqwest::get(&ready).await.unwrap().text().await.unwrap().contains("refuses a row of jobs");
    eventually("a row that waits", DEADLINE, async || is_in_doubt().await.then_some(())).await;

    let mut new = member("0-new");
    eventually("a row that went with its partition", DEADLINE, async || (!is_in_doubt().await).then_some(())).await;
    assert_eq!(slow.assignment().unwrap().count(), 2, "the rebalance still waits for the slow member");
    under_test.execute("ALTER TABLE jobs DROP CONSTRAINT none").await;
    eventually("three members", DEADLINE, async || {
        let _ = slow.poll(Duration::from_millis(20));
        (slow.assignment().unwrap().count() == 1).then_some(())
    })
    .await;
    under_test.wait_until(DELIVERIES, 2).await;
    let rows_of = async |daemon: &mut Daemon| daemon.metric("hookline_processor_rows_inserted_total", &[]).await;
    assert_eq!((rows_of(&mut old).await, rows_of(&mut new).await), (0.0, 3.0));
}

#[tokio::test]
async fn a_restart_within_the_session_moves_no_partition() {
    let under_test = ProcessorUnderTest::new("static", 2).await;
    let member = |name: &'static str| under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name)]);
    let (mut one, mut two) = (member("one"), member("two"));
    for daemon in [&mut one, &mut two] {
        has_partitions(daemon, 4).await;
    }
    let assigned = one.metric("hookline_processor_rebalances_total", &[]).await;
    two.kill();
    let mut two = member("two");
    under_test.produce_jobs(0..60, now() - 600);
    under_test.wait_until(DELIVERIES, 120).await;
    under_test.wait_until_no_lag(&mut two).await;
    assert_eq!(one.metric("hookline_processor_rebalances_total", &[]).await, assigned);
}

#[tokio::test]
async fn a_consumer_without_progress_is_created_again() {
    let cluster = KafkaCluster::start(&[]).await;
    let mut servers = Servers::fresh("watchdog").await;
    servers.kafka = cluster.config("hookline");
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    under_test.produce_jobs(0..100_000, now() - 600);
    // Small batches: when the first is in, most is neither read nor on its way.
    const WATCHDOG: Duration = Duration::from_secs(3);
    let watchdog_ms = WATCHDOG.as_millis().to_string();
    let settings =
        [("HOOKLINE_PROCESSOR__GROUP__WATCHDOG_MS", &*watchdog_ms), ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "2000")];
    let mut daemon = under_test.daemon(&settings);
    eventually("some progress", DEADLINE, async || {
        let rows = under_test.query_number("SELECT count() FROM deliveries").await;
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
    under_test.wait_until(DELIVERIES, 200_000).await;
    under_test.wait_until_no_lag(&mut daemon).await;

    // A consumer that was given nothing, because nothing is left, is not stuck.
    daemon.terminate().await;
    let mut daemon = under_test.daemon(&settings);
    has_partitions(&mut daemon, 4).await;
    tokio::time::sleep(2 * WATCHDOG).await;
    assert_eq!(daemon.metric("hookline_processor_consumer_restarts_total", &[]).await, 0.0);
}

#[tokio::test]
async fn of_two_members_with_one_instance_id_one_ends_and_says_why() {
    let under_test = ProcessorUnderTest::new("fenced", 1).await;
    let own = [("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "same")];
    let mut members = [under_test.daemon(&own), under_test.daemon(&own)];
    let says_why = |daemon: &Daemon| daemon.log().iter().any(|line| line.contains("give each processor its own"));
    let ended = eventually("one of them to end", DEADLINE, async || members.iter().position(says_why)).await;
    assert!(!members[ended].wait().await.success());
    let left = &mut members[1 - ended];
    under_test.produce_jobs(0..10, now() - 600);
    under_test.wait_until(DELIVERIES, 20).await;
    under_test.wait_until_no_lag(left).await;
    assert!(left.terminate().await.success());
}
