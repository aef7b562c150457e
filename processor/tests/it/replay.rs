//! A replay repairs what is missing and changes nothing else.

use std::process::Output;

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, eventually, with};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

pub const STATS: &str = "SELECT sum(completed + errored) FROM job_stats_by_minute";
/// A number that changes with any value of any column.
pub const DIGEST: &str = "SELECT sum(digest) FROM (
    SELECT groupBitXor(cityHash64(toString(tuple(*)))) AS digest FROM deliveries FINAL
    UNION ALL SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM job_facts
    UNION ALL SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM dead_letters FINAL)";

/// 300 jobs in the tables, a live group that has nothing left to do, and a folder for the state.
pub async fn filled(name: &str) -> (ProcessorUnderTest, Daemon, TempDir) {
    let under_test = ProcessorUnderTest::new(name, 3).await;
    let daemon = fill(&under_test).await;
    (under_test, daemon, tempfile::tempdir().unwrap())
}

/// Puts 300 jobs into the tables, and gives the live group, which has nothing left to do.
pub async fn fill(under_test: &ProcessorUnderTest) -> Daemon {
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..300, now() - 600);
    under_test.produce_raw(
        under_test.topics.dead_letter(),
        "k",
        b"not of ingest",
        rdkafka::message::OwnedHeaders::new(),
    );
    under_test.flush();
    under_test.wait_until(DELIVERIES, 600).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    daemon
}

/// What a replay prints with `--json`.
#[derive(Debug, Deserialize)]
struct Replayed {
    records: u64,
    repaired: Repaired,
    changed: bool,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Repaired {
    jobs: u64,
    jobs_changed: u64,
    deliveries: u64,
    dead_letters: u64,
}

/// What a replay prints with `--dry-run --json`.
#[derive(Debug, Deserialize)]
struct Planned {
    records: u64,
    bytes: u64,
    seconds_at_least: u64,
}

impl ProcessorUnderTest {
    async fn replay(&self, folder: &TempDir, arguments: &[&str]) -> Output {
        let state = folder.path().join("state.json");
        self.run(&[&["replay", "--json", "--state", state.to_str().unwrap()], arguments].concat()).await
    }
}

pub fn result<T: DeserializeOwned>(output: &Output) -> T {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn over_right_tables_it_changes_nothing_and_says_so() {
    let (under_test, mut daemon, folder) = filled("replay_right").await;
    let (digest, committed) = (under_test.query_number(DIGEST).await, under_test.committed_offsets());
    let replayed: Replayed = result(&under_test.replay(&folder, &["--rate", "0"]).await);
    assert_eq!((replayed.records, replayed.changed), (601, false), "{replayed:?}");
    assert_eq!(under_test.query_number(DIGEST).await, digest);
    assert_eq!(under_test.committed_offsets(), committed, "the live group's offsets");
    assert!(!folder.path().join("state.json").exists(), "nothing is left to go on with");
    assert_eq!(daemon.metric("hookline_jobs_finished_total", &[]).await, 300.0, "a replay counts nothing");

    let told = under_test.run(&["replay", "--state", folder.path().join("s").to_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains("the tables were right: nothing changed"));
}

#[tokio::test]
async fn a_batch_of_many_jobs_is_compared_as_a_small_one_is() {
    const JOBS: u64 = 12_000;
    let under_test = ProcessorUnderTest::new("replay_many", 1).await;
    for number in 0..JOBS as usize {
        for record in records_of_job(Resource::Video, number, now() - 600) {
            under_test.produce(&record);
        }
    }
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, JOBS * 2).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let folder = tempfile::tempdir().unwrap();
    under_test.execute("DELETE FROM jobs WHERE job_id LIKE '%7' SETTINGS lightweight_deletes_sync = 2").await;
    let replayed: Replayed = result(&under_test.replay(&folder, &["--rate", "0"]).await);
    assert_eq!(replayed.repaired.jobs, JOBS / 10, "{replayed:?}");
    let replayed: Replayed = result(&under_test.replay(&folder, &["--rate", "0"]).await);
    assert!(!replayed.changed, "{replayed:?}");
}

#[tokio::test]
async fn what_is_missing_is_repaired_and_told() {
    let (under_test, _daemon, folder) = filled("replay_repair").await;
    let digest = under_test.query_number(DIGEST).await;
    let lost = "cityHash64(job_id) % 3 = 0";
    for table in ["jobs", "deliveries"] {
        under_test.execute(&format!("DELETE FROM {table} WHERE {lost} SETTINGS lightweight_deletes_sync = 2")).await;
    }
    under_test.execute("TRUNCATE TABLE job_stats").await;
    under_test.execute("TRUNCATE TABLE dead_letters").await;
    let lost = 600 - under_test.query_number(DELIVERIES).await;
    assert!(lost > 0);
    let replayed: Replayed = result(&under_test.replay(&folder, &["--rate", "0"]).await);
    assert_eq!(replayed.repaired, Repaired { jobs: lost / 2, jobs_changed: 0, deliveries: lost, dead_letters: 1 });
    assert_eq!(under_test.query_number(DIGEST).await, digest);
    assert_eq!(under_test.query_number(STATS).await, 300, "and the hours it touched are refreshed");
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_ranges_limit_what_is_read() {
    let (under_test, _daemon, folder) = filled("replay_plan").await;
    under_test.execute("TRUNCATE TABLE deliveries").await;
    let plan: Planned = result(&under_test.replay(&folder, &["--dry-run", "--rate", "100"]).await);
    assert_eq!((plan.records, plan.seconds_at_least), (601, 7), "{plan:?}");
    assert!(plan.bytes > 601 * 100, "{plan:?}");
    assert_eq!(under_test.query_number(DELIVERIES).await, 0);

    let replayed: Replayed =
        result(&under_test.replay(&folder, &["--resource", "video", "--partition", "1", "--offsets", "5..25"]).await);
    assert_eq!((replayed.records, replayed.repaired.deliveries), (20, 20), "{replayed:?}");
    let there = format!("{DELIVERIES} WHERE resource = 'video' AND partition = 1 AND offset >= 5 AND offset < 25");
    assert_eq!((under_test.query_number(&there).await, under_test.query_number(DELIVERIES).await), (20, 20));

    let replayed: Replayed = result(&under_test.replay(&folder, &["--from", "1h", "--resource", "audio"]).await);
    assert_eq!(replayed.records, 200, "{replayed:?}");
    let replayed: Replayed = result(&under_test.replay(&folder, &["--to", "1h"]).await);
    assert_eq!(replayed.records, 0, "nothing was appended so long ago: {replayed:?}");

    let refused = under_test.replay(&folder, &["--resource", "vdieo"]).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("video, image, audio or dead-letter"));
}

#[tokio::test]
async fn a_killed_replay_goes_on_beside_live_traffic_and_ends_where_it_planned() {
    let (under_test, mut daemon, folder) = filled("replay_killed").await;
    under_test.execute("TRUNCATE TABLE deliveries").await;
    under_test.execute("TRUNCATE TABLE jobs").await;
    let state = folder.path().join("state.json");
    let environment = with(&under_test.servers.environment(), &[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "20")]);
    let arguments = ["replay", "--rate", "100", "--state", state.to_str().unwrap()];
    let mut replay = Daemon::start("hookline-processor", &arguments, &environment);
    eventually("a part of it", DEADLINE, async || (under_test.query_number(DELIVERIES).await >= 100).then_some(()))
        .await;
    replay.kill();
    let there = under_test.query_number(DELIVERIES).await;
    assert!(there < 600, "it was killed too late");
    under_test.produce_jobs(300..400, now() - 600);

    let other = under_test.replay(&folder, &["--resource", "video"]).await;
    assert!(String::from_utf8_lossy(&other.stderr).contains("another replay"), "one that asks for something else");
    let replayed: Replayed = result(&under_test.replay(&folder, &["--rate", "0"]).await);
    assert!(replayed.records < 601, "it does not begin again: {replayed:?}");
    under_test.wait_until(DELIVERIES, 800).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts WHERE outcome != 'open'").await, 400);
    assert_eq!(under_test.query_number(STATS).await, 400);
}
