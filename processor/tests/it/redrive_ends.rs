//! However a redrive ends, the next one sends nothing a second time.

use std::path::Path;

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, Signal, delete_topics, eventually, topic_offsets, with};
use serde_json::Value;
use tempfile::TempDir;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};
use crate::redrive::{DEAD_LETTERS, REDRIVES, json};

/// Letters of 250 jobs, more than two pages.
const LETTERS: u64 = 500;
const FINISHED: &str = "hookline_jobs_finished_total";

/// Stale letters in the table, and a plan to send all of them. The live group has ended.
async fn planned(name: &str) -> (ProcessorUnderTest, TempDir) {
    let under_test = ProcessorUnderTest::new(name, 2).await;
    under_test.produce_stale_jobs(0..250, now() - 7_200);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DEAD_LETTERS, LETTERS).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    let folder = tempfile::tempdir().unwrap();
    let planned = json(&under_test.redrive(&folder, &[]).await);
    assert_eq!(planned["sent"], LETTERS, "{planned:#}");
    (under_test, folder)
}

fn start(under_test: &ProcessorUnderTest, state: &Path, more: &[(&str, &str)], arguments: &[&str]) -> Daemon {
    let environment = with(&under_test.servers.environment(), more);
    let arguments = [&["redrive", "--execute", "--state", state.to_str().unwrap()], arguments].concat();
    Daemon::start("hookline-processor", &arguments, &environment)
}

/// Asserts that each letter is one record, one delivery, and one row that says so, and that the group counts each job that ended
/// once; another process has counted some.
async fn assert_each_was_sent_once(under_test: &ProcessorUnderTest, counted_before: f64) {
    let records = topic_offsets(&under_test.servers.kafka).await.unwrap().resource_records;
    assert_eq!(records, LETTERS, "records of the resource topics");
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, LETTERS).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let deliveries = "SELECT uniqExact(signature, body) FROM deliveries FINAL";
    assert_eq!(under_test.query_number(deliveries).await, LETTERS, "different deliveries");
    assert_eq!(under_test.query_number(REDRIVES).await, LETTERS);
    assert_eq!(daemon.metric(FINISHED, &[]).await + counted_before, 250.0);
    // A control: a record that is sent twice shows.
    under_test.produce_jobs(0..1, now() - 7_200);
    under_test.wait_until(DELIVERIES, LETTERS + 2).await;
}

macro_rules! killed {
    ($($name:ident: $fail_point:literal, $is_state_lost:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (under_test, folder) = planned(stringify!($name)).await;
            let state = folder.path().join("plan.json");
            let mut killed = start(&under_test, &state, &[("HOOKLINE_FAIL_POINT", $fail_point)], &[]);
            assert!(!killed.wait().await.success(), "it was to be killed, and ended by itself");
            if $is_state_lost {
                std::fs::remove_file(&state).unwrap();
                json(&under_test.redrive(&folder, &[]).await);
            }
            let executed = json(&under_test.redrive(&folder, &["--execute"]).await);
            let there = &executed["outcomes"]["already_there"];
            let sent = executed["sent"].as_u64().unwrap();
            println!("killed at {}: sent {sent} and found {there}", $fail_point);
            assert!(!state.exists(), "nothing is left to go on with");
            assert_each_was_sent_once(&under_test, 0.0).await;
        }
    )*};
}

killed! {
    redrive_killed_at_its_beginning: "redrive_begun:1", false;
    redrive_killed_after_one: "redrive_one_sent:1", false;
    redrive_killed_in_the_middle: "redrive_one_sent:250", false;
    redrive_killed_after_sending: "redrive_all_sent:2", false;
    redrive_killed_after_noting: "redrive_noted:2", false;
    redrive_killed_after_saving: "redrive_saved:1", false;
    redrive_killed_and_its_plan_lost: "redrive_all_sent:2", true;
}

#[tokio::test]
async fn what_the_live_group_has_committed_meanwhile_is_known_from_the_tables() {
    let (under_test, folder) = planned("redrive_committed").await;
    let state = folder.path().join("plan.json");
    let mut killed = start(&under_test, &state, &[("HOOKLINE_FAIL_POINT", "redrive_all_sent:2")], &[]);
    assert!(!killed.wait().await.success(), "it was to be killed, and ended by itself");
    let sent = topic_offsets(&under_test.servers.kafka).await.unwrap().resource_records;
    assert!(under_test.query_number(REDRIVES).await < sent, "a control: nothing is noted of some");
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, sent).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let counted = daemon.metric(FINISHED, &[]).await;
    assert!(daemon.terminate().await.success());
    let executed = json(&under_test.redrive(&folder, &["--execute"]).await);
    assert_eq!(executed["letters"], LETTERS, "{executed:#}");
    assert_each_was_sent_once(&under_test, counted).await;
}

#[tokio::test]
async fn a_redrive_that_is_terminated_says_how_far_it_is_and_goes_on() {
    let (under_test, folder) = planned("redrive_sigterm").await;
    let state = folder.path().join("plan.json");
    let mut redrive = start(&under_test, &state, &[], &["--rate", "50"]);
    eventually("a part of it", DEADLINE, async || {
        let plan: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        (plan["done"]["redriven"]["video.started"].as_u64()? > 0).then_some(())
    })
    .await;
    let refused = under_test.redrive(&folder, &["--execute"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("is in use by another redrive, process"), "{told}");
    redrive.signal(Signal::SIGTERM);
    assert_eq!(redrive.wait().await.code(), Some(1));
    let log = redrive.log().join("\n");
    assert!(log.contains(" of 500 letters") && log.contains("redrive --execute"), "{log}");
    // What was begun is not replaced by another plan.
    let refused = under_test.redrive(&folder, &["--reason", "stale"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("a redrive that was begun"), "{told}");
    let executed = json(&under_test.redrive(&folder, &["--execute"]).await);
    assert_eq!(
        (&executed["letters"], &executed["sent"]),
        (&LETTERS.into(), &LETTERS.into()),
        "of all runs: {executed:#}"
    );
    assert_each_was_sent_once(&under_test, 0.0).await;
}

#[tokio::test]
async fn a_redrive_that_fails_goes_on_once_what_failed_is_back() {
    let (under_test, folder) = planned("redrive_error").await;
    let state = folder.path().join("plan.json");
    under_test.execute("RENAME TABLE redrives TO away").await;
    under_test.execute("CREATE TABLE redrives (nothing UInt8) ENGINE = Memory").await;
    let mut redrive = start(&under_test, &state, &[], &[]);
    assert_eq!(redrive.wait().await.code(), Some(1));
    let log = redrive.log().join("\n");
    assert!(log.contains("stopped after 0 of 500 letters"), "{log}");
    under_test.execute("DROP TABLE redrives").await;
    under_test.execute("RENAME TABLE away TO redrives").await;
    json(&under_test.redrive(&folder, &["--execute"]).await);
    assert_each_was_sent_once(&under_test, 0.0).await;
}

#[tokio::test]
async fn letters_of_a_former_topic_are_sent_from_the_table() {
    let (under_test, folder) = planned("redrive_former").await;
    delete_topics(&under_test.servers.kafka, under_test.topics.all()).await;
    eventually("the topics to go", DEADLINE, async || {
        let offsets = topic_offsets(&under_test.servers.kafka).await;
        offsets.is_none_or(|offsets| offsets.partitions.is_empty()).then_some(())
    })
    .await;
    under_test.servers.create_topics(under_test.topics.all(), 2).await;
    let executed = json(&under_test.redrive(&folder, &["--execute"]).await);
    assert_eq!(executed["sent"], LETTERS, "{executed:#}");
    assert_eq!(executed["outcomes"]["redriven"]["video.started"], 84, "{executed:#}");
    assert!(under_test.topics.resource(Resource::Video).ends_with(".video"));
    assert_each_was_sent_once(&under_test, 0.0).await;
}
