//! A partition that a refused dead letter stops, and what stands beside it: the lag, the watchdog, a replay.

use std::time::Duration;

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, eventually, topic_offsets};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::processor_under_test::{DEADLINE, ProcessorUnderTest, now};

const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";
const LAG: &str = "hookline_processor_lag_records";
const RESTARTS: &str = "hookline_processor_consumer_restarts_total";
const WATCHDOG: Duration = Duration::from_secs(3);

impl ProcessorUnderTest {
    fn watched_daemon(&self) -> Daemon {
        let watchdog = WATCHDOG.as_millis().to_string();
        self.daemon(&[
            ("HOOKLINE_PROCESSOR__GROUP__WATCHDOG_MS", &watchdog),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300"),
        ])
    }

    /// Produces records without headers, each of which becomes a dead letter.
    fn produce_foreign(&self, keys: impl IntoIterator<Item = &'static str>) {
        for key in keys {
            self.produce_raw(self.topics.resource(Resource::Video), key, b"foreign", OwnedHeaders::new());
        }
        self.flush();
    }

    async fn dead_letter_records(&self) -> u64 {
        let offsets = async || topic_offsets(&self.servers.kafka).await;
        eventually("the offsets of the topics", DEADLINE, offsets).await.dead_letter_records
    }
}

async fn is_stopped(daemon: &mut Daemon, stopped: f64) {
    eventually("whether the partition is stopped", DEADLINE, async || {
        let labels = ["dead-letter"];
        (daemon.metric_if_there("hookline_processor_partition_stopped", &labels).await == Some(stopped)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_leaves_no_lag_and_wakes_no_watchdog() {
    let under_test = ProcessorUnderTest::new("transaction", 1).await;
    let id = under_test.servers.kafka.topic_prefix.clone();
    let producer: BaseProducer =
        under_test.servers.kafka.client().unwrap().set("transactional.id", id).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    let topic = under_test.topics.resource(Resource::Video);
    for number in 0..10 {
        producer.send(BaseRecord::to(topic).key(&number.to_string()).payload("foreign")).unwrap();
    }
    producer.commit_transaction(DEADLINE).unwrap();

    for start in ["first", "second"] {
        let mut daemon = under_test.watched_daemon();
        under_test.wait_until(DEAD_LETTERS, 10).await;
        eventually("all partitions", DEADLINE, async || (daemon.metric_labels(LAG).await.len() == 4).then_some(()))
            .await;
        under_test.wait_until_no_lag(&mut daemon).await;
        // As long as it takes the watchdog to find a partition stuck.
        tokio::time::sleep(2 * WATCHDOG).await;
        assert_eq!(daemon.metric(RESTARTS, &[]).await, 0.0, "{start} start");
        for lag in [LAG, "hookline_processor_lag_seconds"] {
            assert_eq!(daemon.metric_if_there(lag, &[]).await, Some(0.0), "{start} start: {lag}");
        }
        assert!(daemon.terminate().await.success());
    }

    // The control: what cannot be written is a lag.
    let mut daemon = under_test.watched_daemon();
    daemon.wait_ready().await;
    under_test.execute("RENAME TABLE jobs TO away").await;
    under_test.produce_jobs(0..10, now() - 60);
    eventually("a lag", DEADLINE, async || daemon.metric_if_there(LAG, &[]).await.filter(|lag| *lag > 0.0)).await;
    under_test.execute("RENAME TABLE away TO jobs").await;
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_stopped_partition_wakes_no_watchdog_and_goes_on_in_the_same_process() {
    let under_test = ProcessorUnderTest::new("heals", 1).await;
    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK job_id != 'refused'").await;
    let mut daemon = under_test.watched_daemon();
    daemon.wait_ready().await;
    under_test.produce_foreign(["taken"]);
    under_test.wait_until(DEAD_LETTERS, 1).await;
    under_test.produce_foreign(["refused"]);
    is_stopped(&mut daemon, 1.0).await;
    under_test.produce_foreign(["behind it", "behind it, too"]);
    eventually("a backlog", DEADLINE, async || (under_test.dead_letter_records().await == 4).then_some(())).await;
    // As long as it takes the watchdog to find a partition stuck.
    tokio::time::sleep(2 * WATCHDOG).await;
    assert_eq!(daemon.metric(RESTARTS, &[]).await, 0.0);
    assert_eq!(under_test.query_number(&format!("{DEAD_LETTERS} WHERE job_id = 'refused'")).await, 0);

    under_test.execute("ALTER TABLE dead_letters DROP CONSTRAINT c").await;
    under_test.wait_until(DEAD_LETTERS, 4).await;
    is_stopped(&mut daemon, 0.0).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric(RESTARTS, &[]).await, 0.0);
    assert_eq!(daemon.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await, 1.0);
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_replay_over_a_refused_dead_letter_is_not_whole_and_sends_none_twice() {
    let under_test = ProcessorUnderTest::new("replay_stopped", 1).await;
    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK job_id != 'refused'").await;
    let mut daemon = under_test.watched_daemon();
    daemon.wait_ready().await;
    assert_eq!(under_test.dead_letter_records().await, 0);
    under_test.produce_foreign(["taken"]);
    under_test.wait_until(DEAD_LETTERS, 1).await;
    under_test.produce_foreign(["refused"]);
    is_stopped(&mut daemon, 1.0).await;
    assert!(daemon.terminate().await.success());
    assert_eq!(under_test.dead_letter_records().await, 2);

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let replay = ["replay", "--rate", "0", "--state", state.to_str().unwrap()];
    let output = under_test.run(&replay).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let refused = format!("{}/0/1", under_test.topics.dead_letter());
    assert!(text.contains("the replay is not whole") && text.contains(&refused), "{text}");
    assert_eq!(under_test.dead_letter_records().await, 2);

    under_test.execute("ALTER TABLE dead_letters DROP CONSTRAINT c").await;
    let output = under_test.run(&replay).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 2);
    assert_eq!(under_test.dead_letter_records().await, 2);
}
