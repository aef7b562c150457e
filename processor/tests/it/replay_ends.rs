//! How a replay ends otherwise than at the end of its plan, and what it refuses to begin.

use std::path::Path;

use hookline_testkit::{Daemon, delete_topics, eventually, run, with};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest};
use crate::replay::{STATS, filled};

/// What the roll-up would say if it were fresh.
const FACTS: &str = "SELECT count() FROM job_facts WHERE outcome != 'open'";
/// Nothing is refreshed while the replay reads.
const NEVER: (&str, &str) = ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "3600000");

/// 300 jobs in the topics and a live group that has read them, and then nothing in the tables.
async fn emptied(name: &str) -> (ProcessorUnderTest, Daemon, TempDir) {
    let (under_test, daemon, folder) = filled(name).await;
    for table in ["deliveries", "jobs", "job_stats"] {
        under_test.execute(&format!("TRUNCATE TABLE {table}")).await;
    }
    (under_test, daemon, folder)
}

/// Starts a replay that takes some seconds: 100 records a second in batches of 20.
fn slow_replay(under_test: &ProcessorUnderTest, state: &Path, more: &[(&str, &str)]) -> Daemon {
    let environment = with(&under_test.servers.environment(), &[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "20")]);
    let arguments = ["replay", "--rate", "100", "--state", state.to_str().unwrap()];
    Daemon::start("hookline-processor", &arguments, &with(&environment, more))
}

/// Waits until a part of it is done, with finished jobs among it.
async fn wait_for_a_part(under_test: &ProcessorUnderTest) {
    eventually("a part of it", DEADLINE, async || {
        let (rows, jobs) = (under_test.query_number(DELIVERIES).await, under_test.query_number(FACTS).await);
        (rows >= 100 && jobs > 0).then_some(())
    })
    .await;
}

async fn assert_left_in_the_middle_and_fresh(under_test: &ProcessorUnderTest) {
    let (facts, stats) = (under_test.query_number(FACTS).await, under_test.query_number(STATS).await);
    assert!((1..300).contains(&facts), "it ended too late: {facts}");
    assert_eq!(stats, facts, "the roll-up");
}

#[tokio::test]
async fn the_roll_up_is_fresh_after_sigterm() {
    let (under_test, _daemon, folder) = emptied("replay_sigterm").await;
    let mut replay = slow_replay(&under_test, &folder.path().join("state.json"), &[NEVER]);
    wait_for_a_part(&under_test).await;
    assert_eq!(under_test.query_number(STATS).await, 0, "a control: only the way out refreshes it");
    assert_eq!(replay.terminate().await.code(), Some(1));
    assert_left_in_the_middle_and_fresh(&under_test).await;
    let log = replay.log().join("\n");
    assert!(log.contains(" of 601 records") && log.contains("run the same command again to continue"), "{log}");
    assert!(!log.contains("stale"), "{log}");
}

#[tokio::test]
async fn the_roll_up_is_fresh_after_an_error() {
    let (under_test, _daemon, folder) = emptied("replay_error").await;
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let mut replay = slow_replay(&under_test, &inner.join("state.json"), &[NEVER]);
    wait_for_a_part(&under_test).await;
    assert_eq!(under_test.query_number(STATS).await, 0, "a control: only the way out refreshes it");
    // The progress can no longer be saved.
    std::fs::rename(&inner, folder.path().join("away")).unwrap();
    assert_eq!(replay.wait().await.code(), Some(1));
    assert_left_in_the_middle_and_fresh(&under_test).await;
    let log = replay.log().join("\n");
    assert!(log.contains("state.json") && !log.contains("stale"), "{log}");
}

#[tokio::test]
async fn the_roll_up_is_fresh_after_one_reader_failed() {
    let (under_test, mut daemon, folder) = emptied("replay_reader").await;
    daemon.kill();
    let mut replay = slow_replay(&under_test, &folder.path().join("state.json"), &[NEVER]);
    wait_for_a_part(&under_test).await;
    assert_eq!(under_test.query_number(STATS).await, 0, "a control: only the way out refreshes it");
    delete_topics(&under_test.servers.kafka, under_test.topics.all()).await;
    assert_eq!(replay.wait().await.code(), Some(1));
    assert_left_in_the_middle_and_fresh(&under_test).await;
    let log = replay.log().join("\n");
    assert!(log.contains("was deleted or made anew") && !log.contains("stale"), "{log}");
}

#[tokio::test]
async fn a_killed_replay_whose_state_is_lost_has_refreshed_as_it_went() {
    let (under_test, _daemon, folder) = emptied("replay_lost").await;
    let state = folder.path().join("state.json");
    let mut replay = slow_replay(&under_test, &state, &[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "200")]);
    eventually("jobs in the roll-up", DEADLINE, async || (under_test.query_number(STATS).await >= 50).then_some(()))
        .await;
    replay.kill();
    assert!(under_test.query_number(FACTS).await < 300, "it was killed too late");
    std::fs::remove_file(&state).unwrap();
    // A control: the state is not needed to repair all of it.
    let output = under_test.run(&["replay", "--json", "--rate", "0", "--state", state.to_str().unwrap()]).await;
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(replayed["records"], 601, "{replayed}");
    assert_eq!(under_test.query_number(STATS).await, 300);
}

#[tokio::test]
async fn a_state_is_used_by_one_replay_at_a_time_and_a_dry_run_needs_none() {
    let (under_test, _daemon, folder) = emptied("replay_lock").await;
    let state = folder.path().join("state.json");
    let mut first = slow_replay(&under_test, &state, &[]);
    wait_for_a_part(&under_test).await;
    let replay = async |more: &[&str]| {
        let output = under_test.run(&[&["replay", "--state", state.to_str().unwrap()], more].concat()).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, refused, _) = replay(&[]).await;
    assert_eq!(code, Some(1));
    let expected = format!("state.json is in use by another replay, process {}", first.pid());
    assert!(refused.contains(&expected), "{refused}");
    let (code, note, plan) = replay(&["--dry-run", "--resource", "video", "--rate", "20000"]).await;
    assert_eq!(code, Some(0), "{note}");
    assert!(
        plan.contains("200 records, about ") && plan.contains("at least 1 second at the limit of 20,000/s"),
        "{plan}"
    );

    assert!(first.wait().await.success(), "the first one goes on");
    let log = first.log().join("\n");
    assert!(log.contains(" of 601 records, ") && log.contains(" left"), "no line says how far it is:\n{log}");
    assert_eq!(under_test.query_number(STATS).await, 300);
    let left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_cannot_be_selected_is_refused_with_its_remedy() {
    let under_test = ProcessorUnderTest::new("replay_refused", 3).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    for (arguments, expected) in [
        (&["--from", "1h", "--to", "2h"][..], "nothing lies between --from 1h ("),
        (&["--from", "now"], "and now ("),
        (&["--partition", "1", "--partition", "3"], "no partition 3: the topics have 0..2"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let output =
                under_test.run(&[&["replay", "--state", state.to_str().unwrap()], arguments, more].concat()).await;
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
            assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        }
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing was begun");
}

#[tokio::test]
async fn an_end_of_the_log_before_that_of_the_plan_is_not_taken_for_read() {
    let (under_test, _daemon, folder) = filled("replay_truncated").await;
    let state = folder.path().join("state.json");
    let mut replay = slow_replay(&under_test, &state, &[]);
    eventually("a state", DEADLINE, async || state.exists().then_some(())).await;
    replay.kill();
    let saved: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    // A plan of a log that has been truncated since: its records end before the plan does, or before what is left of it.
    for (next, expected) in [(0, "before the end of the plan"), (1_000, "the log begins anew at 0")] {
        let mut truncated = saved.clone();
        for part in truncated["parts"].as_array_mut().unwrap() {
            part["end"] = json!(2_000);
            part["next"] = json!(part["next"].as_i64().unwrap().max(next));
        }
        std::fs::write(&state, truncated.to_string()).unwrap();
        let arguments = ["replay", "--rate", "0", "--state", state.to_str().unwrap()];
        let output = run("hookline-processor", &arguments, &under_test.servers.environment()).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    // A control: the plan as it was.
    std::fs::write(&state, saved.to_string()).unwrap();
    let output = under_test.run(&["replay", "--rate", "0", "--state", state.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn jobs_that_were_absent_are_told_from_those_whose_facts_changed() {
    let (under_test, _daemon, folder) = filled("replay_told").await;
    let state = folder.path().join("state.json");
    // One job is gone, and the start of another that was not joined yet.
    under_test.execute("OPTIMIZE TABLE jobs FINAL").await;
    let ids = ["c000000000000000000000003", "c000000000000000000000006"];
    under_test.execute("CREATE TABLE kept AS jobs").await;
    under_test
        .execute(&format!("INSERT INTO kept SELECT * REPLACE (CAST(NULL AS Nullable(DateTime64(3, 'UTC'))) AS started_at) FROM jobs WHERE job_id = '{}'", ids[1]))
        .await;
    under_test
        .execute(&format!(
            "DELETE FROM jobs WHERE job_id IN ('{}', '{}') SETTINGS lightweight_deletes_sync = 2",
            ids[0], ids[1]
        ))
        .await;
    under_test.execute("INSERT INTO jobs SELECT * FROM kept").await;
    let output = under_test.run(&["replay", "--rate", "0", "--state", state.to_str().unwrap()]).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("jobs that were absent: 1; jobs whose facts changed: 1"), "{told}");
    assert!(told.contains("601 records in ") && told.contains("0 deliveries, 0 dead letters"), "{told}");

    let output = under_test.run(&["replay", "--resource", "dead-letter", "--state", state.to_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 record in "), "{output:?}");
}
