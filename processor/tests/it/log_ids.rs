//! A topic that is deleted and created again is another log: its records stand beside those of the former one.

use hookline_schemas::ids::Resource;
use hookline_testkit::{delete_topics, eventually};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::OwnedHeaders;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

const QUICK: [(&str, &str); 3] = [
    ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300"),
    ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "100"),
    // A member that leaves at once, so that the test may commit for the group.
    ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", ""),
];

impl ProcessorUnderTest {
    fn audio(&self) -> &str {
        self.topics.resource(Resource::Audio)
    }

    async fn make_audio_anew(&self) {
        delete_topics(&self.servers.kafka, [self.audio()]).await;
        self.servers.create_topics([self.audio()], 1).await;
    }

    /// Two records for each job.
    fn produce_audio(&self, jobs: std::ops::Range<usize>) {
        for record in jobs.flat_map(|number| records_of_job(Resource::Audio, number, now() - 600)) {
            self.produce(&record);
        }
        self.flush();
    }

    /// The rows of each log of the audio topic, the largest last.
    async fn rows_by_log(&self) -> Vec<u64> {
        let query = format!(
            "SELECT uniqExact(offset) AS rows FROM deliveries FINAL WHERE topic = '{}' GROUP BY log_id ORDER BY rows",
            self.audio()
        );
        self.client.query(&query).fetch_all().await.unwrap()
    }

    fn commit_audio(&self, offset: i64, log_id: &str) {
        let kafka = &self.servers.kafka;
        let group = format!("{}.processor", kafka.topic_prefix);
        let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition(self.audio(), 0);
        element.set_offset(Offset::Offset(offset)).unwrap();
        if !log_id.is_empty() {
            element.set_metadata(log_id);
        }
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    }
}

#[tokio::test]
async fn a_topic_made_anew_while_the_processor_is_stopped_replaces_nothing() {
    let under_test = ProcessorUnderTest::new("anew_stopped", 1).await;
    under_test.produce_audio(0..10);
    let mut daemon = under_test.daemon(&QUICK);
    under_test.wait_until(DELIVERIES, 20).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    let one = "SELECT count() FROM deliveries WHERE match(log_id, '^[\\\\w-]{22}/[\\\\w-]{22}$')";
    assert_eq!(under_test.query_number(one).await, 20);

    under_test.make_audio_anew().await;
    under_test.produce_audio(100..115);
    // An offset of the former topic that was committed too late: it would skip eight records.
    under_test.commit_audio(8, "cluster/former");
    let mut daemon = under_test.daemon(&QUICK);
    under_test.wait_until(DELIVERIES, 50).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.rows_by_log().await, [20, 30]);
    assert!(daemon.terminate().await.success());

    // The operator's own offset, which has no metadata, is obeyed.
    under_test.make_audio_anew().await;
    under_test.produce_audio(200..220);
    under_test.commit_audio(8, "");
    let mut daemon = under_test.daemon(&QUICK);
    under_test.wait_until(DELIVERIES, 82).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.rows_by_log().await, [20, 30, 32]);
}

#[tokio::test]
async fn a_topic_made_anew_under_a_running_processor_is_noticed_before_anything_is_written() {
    let under_test = ProcessorUnderTest::new("anew_running", 1).await;
    let mut daemon = under_test.daemon(&QUICK);
    daemon.wait_ready().await;
    under_test.produce_audio(0..10);
    under_test.wait_until(DELIVERIES, 20).await;
    // Fewer records than the old position, and then more: librdkafka goes on at the old position without a word.
    for (round, jobs) in [(1, 100..105), (2, 200..240)] {
        under_test.make_audio_anew().await;
        let before = under_test.query_number(DELIVERIES).await;
        under_test.produce_audio(jobs.clone());
        under_test.wait_until(DELIVERIES, before + 2 * jobs.len() as u64).await;
        let restarts = daemon.metric("hookline_processor_consumer_restarts_total", &["cause=\"log_changed\""]).await;
        assert!(restarts >= f64::from(round), "{restarts} restarts");
    }
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.rows_by_log().await, [10, 20, 80], "each record stands under its own log, and once");
    assert!(daemon.terminate().await.success());
}

#[derive(Debug, Deserialize)]
struct Replayed {
    repaired: Repaired,
}

#[derive(Debug, Deserialize)]
struct Repaired {
    dead_letters: u64,
}

#[tokio::test]
async fn a_replay_takes_no_dead_letter_of_another_log_for_one_of_its_own() {
    let under_test = ProcessorUnderTest::new("anew_replay", 1).await;
    under_test.produce_raw(under_test.audio(), "k", b"former", OwnedHeaders::new());
    under_test.flush();
    let mut daemon = under_test.daemon(&QUICK);
    under_test.wait_until("SELECT count() FROM dead_letters", 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    under_test.make_audio_anew().await;
    under_test.produce_raw(under_test.audio(), "k", b"new", OwnedHeaders::new());
    under_test.flush();
    let folder = tempfile::tempdir().unwrap();
    let replay = async |resource: &str| {
        let state = folder.path().join(resource);
        let output =
            under_test.run(&["replay", "--json", "--resource", resource, "--state", state.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let replayed: Replayed = serde_json::from_slice(&output.stdout).unwrap();
        replayed.repaired.dead_letters
    };
    assert_eq!(replay("audio").await, 1, "the former record of this origin had one, the new one has not");
    assert_eq!(replay("dead-letter").await, 1);
    assert_eq!(replay("audio").await, 0, "now it has one");
    eventually("both bodies", DEADLINE, async || {
        (under_test.query_number("SELECT uniqExact(body, origin_log_id) FROM dead_letters").await == 2).then_some(())
    })
    .await;
}
