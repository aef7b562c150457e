//! What the lag says while servers are away, after a rebalance, and of partitions that are paused: how old the oldest record is
//! that is not committed, and how many there are.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use hookline_testkit::{ClickHouseServer, Daemon, KafkaCluster, Servers, eventually};

use crate::processor_under_test::{DEADLINE, ProcessorUnderTest, now};

const RECORDS: &str = "hookline_processor_lag_records";
const SECONDS: &str = "hookline_processor_lag_seconds";
/// A full batch at once, so that fetching is paused as soon as the writer waits.
const SMALL_BATCHES: (&str, &str) = ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "1");

/// The time within which something was appended.
type Appended = RangeInclusive<SystemTime>;

fn append(under_test: &ProcessorUnderTest, jobs: std::ops::Range<usize>) -> Appended {
    let began = SystemTime::now();
    under_test.produce_jobs(jobs, now());
    began..=SystemTime::now()
}

/// Waits until the partitions that are behind have so many records in all, and those of each are as old as what was appended then.
async fn is_behind(daemon: &mut Daemon, records: f64, appended: &Appended) {
    let told = async || {
        let asked = SystemTime::now();
        let page = daemon.metrics().await;
        let answered = SystemTime::now();
        let seconds = |from: SystemTime, to: &SystemTime| from.duration_since(*to).unwrap_or_default().as_secs_f64();
        // Kafka's clock has milliseconds.
        let ages = seconds(asked, appended.end()) - 0.002..=seconds(answered, appended.start()) + 0.002;
        let mut sum = 0.0;
        for labels in page.labels(RECORDS) {
            let records = page.read(RECORDS, &[&labels]);
            let age = page.read(SECONDS, &[&labels]);
            let is_right = if records == 0.0 { age == 0.0 } else { ages.contains(&age) };
            if !is_right {
                return None;
            }
            sum += records;
        }
        (sum == records).then_some(())
    };
    eventually(&format!("{records} records behind and their age"), DEADLINE, told).await;
}

async fn has_partitions(daemon: &mut Daemon, count: usize) {
    eventually("its partitions", DEADLINE, async || (daemon.metric_labels(RECORDS).await.len() == count).then_some(()))
        .await;
}

#[tokio::test]
async fn it_is_true_while_servers_are_away_and_partitions_are_paused() {
    let (mut clickhouse, cluster) = (ClickHouseServer::start().await, KafkaCluster::start(&[]).await);
    let mut servers = Servers::fresh("lag").await;
    (servers.clickhouse, servers.kafka) = (clickhouse.config(), cluster.config("hookline"));
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    let mut daemon = under_test.daemon(&[SMALL_BATCHES]);
    has_partitions(&mut daemon, 4).await;
    clickhouse.kill();
    // Jobs 0, 3 and so on are those of one topic.
    let first = append(&under_test, 0..1);
    is_behind(&mut daemon, 2.0, &first).await;
    let mut behind = 2;
    for round in 1..4 {
        // By now the one batch is full and fetching is paused: what comes is not fetched.
        under_test.produce_jobs(3 * round..3 * round + 1, now());
        behind += 2;
        is_behind(&mut daemon, f64::from(behind), &first).await;
    }

    cluster.kill(1).await;
    eventually("Kafka to be missing", DEADLINE, async || {
        (daemon.metric("hookline_ready", &["part=\"kafka\""]).await == 0.0).then_some(())
    })
    .await;
    is_behind(&mut daemon, f64::from(behind), &first).await;
    eventually("the assignment to be lost", DEADLINE, async || {
        let lost = daemon.metric("hookline_processor_rebalances_total", &["kind=\"revoke\""]).await > 0.0;
        let reported = daemon.metric("hookline_kafka_errors_total", &["kind=\"unreachable\""]).await > 0.0;
        (lost && reported).then_some(())
    })
    .await;
    is_behind(&mut daemon, f64::from(behind), &first).await;
    // The database is dropped there.
    clickhouse.restart().await;
}

#[tokio::test]
async fn it_is_true_of_partitions_that_came_with_a_rebalance_and_were_not_read() {
    let mut clickhouse = ClickHouseServer::start().await;
    let mut servers = Servers::fresh("lag_rebalance").await;
    servers.clickhouse = clickhouse.config();
    let under_test = ProcessorUnderTest::on(servers, 2).await;
    let member = |name: &'static str| {
        under_test.daemon(&[
            SMALL_BATCHES,
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name),
            ("HOOKLINE_PROCESSOR__GROUP__SETTLE_TIMEOUT_MS", "1000"),
        ])
    };
    let mut one = member("one");
    has_partitions(&mut one, 8).await;
    // Without static membership it leaves at once.
    let mut guest = member("");
    has_partitions(&mut guest, 4).await;
    has_partitions(&mut one, 4).await;
    clickhouse.kill();
    let appended = append(&under_test, 0..60);
    guest.terminate().await;
    has_partitions(&mut one, 8).await;
    is_behind(&mut one, 120.0, &appended).await;
    clickhouse.restart().await;
}
