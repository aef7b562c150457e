//! Records that were removed from a topic before they were read are counted, warned of, and acknowledged.

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, Signal, delete_records, eventually, with};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

const EXPIRED: &str = "hookline_processor_records_expired_total";
const UNACKNOWLEDGED: &str = "hookline_processor_records_expired_unacknowledged";

/// Produces records of `video`, which has one partition: two for each job.
fn produce(under_test: &ProcessorUnderTest, jobs: std::ops::Range<usize>) {
    for record in jobs.flat_map(|number| records_of_job(Resource::Video, number, now() - 600)) {
        under_test.produce(&record);
    }
    under_test.flush();
}

/// Lets a processor read and commit the first 100 records, stops it, and produces up to the offset 1,000.
async fn behind(name: &str) -> ProcessorUnderTest {
    let under_test = ProcessorUnderTest::new(name, 1).await;
    produce(&under_test, 0..50);
    let mut daemon = start(&under_test);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 100).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric(EXPIRED, &[]).await, 0.0, "no committed offset is no skip");
    assert!(daemon.terminate().await.success());
    produce(&under_test, 50..500);
    under_test
}

fn start(under_test: &ProcessorUnderTest) -> Daemon {
    under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")])
}

fn video(under_test: &ProcessorUnderTest) -> &str {
    under_test.topics.resource(Resource::Video)
}

/// Waits until `/health/ready` answers 200 with so many warnings.
async fn warnings(daemon: &mut Daemon, count: usize) -> Vec<String> {
    eventually(&format!("{count} warnings"), DEADLINE, async || {
        let (status, text) = daemon.health().await;
        let health: serde_json::Value = serde_json::from_str(&text).unwrap();
        let warnings = health["warnings"].as_array().unwrap();
        let warnings: Vec<_> = warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect();
        (status == 200 && warnings.len() == count).then_some(warnings)
    })
    .await
}

fn errors(daemon: &Daemon) -> usize {
    daemon.log().iter().filter(|line| line.contains("ERROR") && line.contains("\"from\":100,\"to\":600")).count()
}

#[tokio::test]
async fn what_expired_while_nobody_read_is_a_warning_until_it_is_acknowledged() {
    let under_test = behind("expired").await;
    delete_records(&under_test.servers.kafka, video(&under_test), 0, 600).await;
    let mut daemon = start(&under_test);
    under_test.wait_until(DELIVERIES, 500).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric(EXPIRED, &[&format!("topic=\"{}\"", video(&under_test))]).await, 500.0);
    assert_eq!(daemon.metric(EXPIRED, &[]).await, 500.0, "and of no other partition");
    assert_eq!(errors(&daemon), 1, "{:#?}", daemon.log());
    let [warning] = &*warnings(&mut daemon, 1).await else { panic!("one warning") };
    assert!(warning.contains(&format!("{}/0: offsets 100 to 599", video(&under_test))), "{warning}");

    daemon.kill();
    let mut daemon = start(&under_test);
    assert_eq!(warnings(&mut daemon, 1).await, std::slice::from_ref(warning), "a restart does not end it");
    assert_eq!(daemon.metric(UNACKNOWLEDGED, &[]).await, 500.0);
    assert_eq!(errors(&daemon), 0, "it was logged once");

    for (arguments, left) in [(&["acknowledge", "--dry-run", "--json"][..], 1), (&["acknowledge", "--json"], 0)] {
        let output = under_test.run(arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((said["records"].as_u64(), said["ranges"][0]["from"].as_u64()), (Some(500), Some(100)), "{said}");
        warnings(&mut daemon, left).await;
    }
    eventually("the gauge", DEADLINE, async || (daemon.metric(UNACKNOWLEDGED, &[]).await == 0.0).then_some(())).await;
    let output = under_test.run(&["acknowledge"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing is to be acknowledged\n");
}

#[tokio::test]
async fn a_partition_of_which_nothing_is_left_is_noticed_without_a_record() {
    let under_test = behind("expired_all").await;
    delete_records(&under_test.servers.kafka, video(&under_test), 0, 1_000).await;
    let mut daemon = start(&under_test);
    warnings(&mut daemon, 1).await;
    assert_eq!(daemon.metric(EXPIRED, &[]).await, 900.0);
}

#[tokio::test]
async fn what_is_there_has_not_expired_and_gaps_of_transactions_are_none() {
    let under_test = behind("expired_none").await;
    // Each transaction ends with a control record, which takes an offset.
    let mut client = under_test.servers.kafka.client().unwrap();
    client.set("transactional.id", video(&under_test));
    let producer: ThreadedProducer<_> = client.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    for number in 0..5 {
        producer.begin_transaction().unwrap();
        let key = format!("k{number}");
        producer.send(BaseRecord::<str, [u8]>::to(video(&under_test)).key(&key).payload(b"not of ingest")).unwrap();
        producer.commit_transaction(DEADLINE).unwrap();
    }
    produce(&under_test, 500..510);
    let mut daemon = start(&under_test);
    under_test.wait_until(DELIVERIES, 1_020).await;
    daemon.wait_ready().await;
    assert_eq!(daemon.metric(EXPIRED, &[]).await, 0.0);
    assert_eq!(daemon.metric_labels(EXPIRED).await.len(), 4, "a series for each partition");
    warnings(&mut daemon, 0).await;

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let replay = async || {
        let output = under_test.run(&["replay", "--json", "--state", state.to_str().unwrap(), "--rate", "0"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    assert_eq!(replay().await["expired"], 0, "control records are no loss");
}

#[tokio::test]
async fn what_expires_under_a_running_consumer_is_counted_exactly() {
    let under_test = ProcessorUnderTest::new("expired_running", 1).await;
    produce(&under_test, 0..50);
    let mut daemon = start(&under_test);
    under_test.wait_until(DELIVERIES, 100).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    // The request that is waiting at the broker still gets the first of the new records, and none after.
    daemon.signal(Signal::SIGSTOP);
    produce(&under_test, 50..55);
    produce(&under_test, 55..500);
    delete_records(&under_test.servers.kafka, video(&under_test), 0, 990).await;
    daemon.signal(Signal::SIGCONT);
    under_test.wait_until("SELECT count() FROM deliveries FINAL WHERE offset >= 990", 10).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let expired = daemon.metric(EXPIRED, &[]).await as u64;
    assert!(expired > 0, "the test shows nothing");
    assert_eq!(under_test.query_number(DELIVERIES).await + expired, 1_000);
    let recorded = "SELECT toUInt64(sum(to_offset - from_offset)) FROM expired_offsets FINAL";
    assert_eq!(under_test.query_number(recorded).await, expired);
    warnings(&mut daemon, 1).await;
}

#[tokio::test]
async fn a_replay_counts_what_expired_of_its_plan() {
    let under_test = behind("expired_replay").await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let arguments = ["replay", "--json", "--state", state.to_str().unwrap(), "--resource", "video"];
    let small = with(&under_test.servers.environment(), &[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "10")]);
    let mut running = Daemon::start("hookline-processor", &[&arguments[..], &["--rate", "20"]].concat(), &small);
    let next = async || {
        let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        state["parts"][0]["next"].as_u64().filter(|next| *next > 0)
    };
    eventually("some progress", DEADLINE, next).await;
    running.kill();
    let next = next().await.unwrap();
    delete_records(&under_test.servers.kafka, video(&under_test), 0, 600).await;
    let replay = async |arguments: &[&str]| {
        let output = under_test.run(arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["expired"].as_u64().unwrap()
    };
    let arguments = [&arguments[..], &["--rate", "0"]].concat();
    assert_eq!(replay(&arguments).await, 600 - next);
    assert_eq!(replay(&[&arguments[..], &["--partition", "0", "--offsets", "500..700"]].concat()).await, 100);
    assert_eq!(replay(&arguments).await, 0, "a plan that begins at the log's start skips nothing");
}
