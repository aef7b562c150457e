//! A rebuild finds what is wrong in the live table, changes nothing where it is right, and can be taken back.

use std::process::Output;

use hookline_schemas::ids::Resource;
use serde_json::Value;
use tempfile::TempDir;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, now, records_of_job};
use crate::replay::{DIGEST, STATS, filled, result};

/// A number that changes with any value of any column of the live table, also with those that the views do not show.
pub const JOBS: &str = "SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM jobs FINAL";
/// The same of the table that is not live.
pub const OTHER: &str = "SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM jobs_rebuild FINAL";

impl ProcessorUnderTest {
    pub async fn rebuild(&self, folder: &TempDir, arguments: &[&str]) -> Output {
        let state = folder.path().join("rebuild.json");
        let always = ["replay", "--rebuild", "--json", "--rate", "0", "--state", state.to_str().unwrap()];
        self.run(&[&always, arguments].concat()).await
    }
}

/// What is said where a rebuild ends with exit code 1.
pub fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

pub fn diff(folder: &TempDir) -> Value {
    serde_json::from_slice(&std::fs::read(folder.path().join("rebuild.diff.json")).unwrap()).unwrap()
}

/// Changes a fact of every job of which the condition holds, as a decoder that was wrong would have written it. Minima and maxima do not
/// let it be changed back by another row.
async fn falsify(under_test: &ProcessorUnderTest, assignments: &str, condition: &str) {
    let statement = format!("ALTER TABLE jobs UPDATE {assignments} WHERE {condition} SETTINGS mutations_sync = 2");
    under_test.execute(&statement).await;
}

#[tokio::test]
async fn over_a_right_table_it_changes_nothing_and_says_so() {
    let (under_test, mut daemon, folder) = filled("rebuild_right").await;
    let before = (under_test.query_number(JOBS).await, under_test.query_number(DIGEST).await);
    let committed = under_test.committed_offsets();

    let plan: Value = result(&under_test.rebuild(&folder, &["--dry-run"]).await);
    assert_eq!(plan["records"], 600, "{plan}");
    assert!(plan["bytes"].as_u64() > Some(60_000) && plan["disk"]["free_bytes"].as_u64() > Some(0), "{plan}");
    assert_eq!(
        under_test
            .query_number(
                "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'jobs_rebuild'"
            )
            .await,
        0
    );

    let built: Value = result(&under_test.rebuild(&folder, &[]).await);
    assert_eq!((&built["changes"], &built["loses"]), (&false.into(), &false.into()), "{built:#}");
    let verdict = &built["verdict"];
    assert_eq!(
        (&verdict["jobs"], &verdict["counts"]["deliveries"], &verdict["counts"]["jobs"]),
        (&300.into(), &600.into(), &300.into()),
        "{built:#}"
    );
    assert_eq!(under_test.query_number(OTHER).await, before.0, "also what the group counted");
    assert_eq!(under_test.query_number(JOBS).await, before.0);
    let status: Value = result(&under_test.rebuild(&folder, &["--status"]).await);
    assert_eq!((&status["step"], &status["live"]), (&"verified".into(), &"old".into()), "{status}");

    // The plan of what is read says nothing of a swap.
    assert_eq!(under_test.rebuild(&folder, &["--swap", "--dry-run"]).await.status.code(), Some(2));
    for (step, live) in [("--swap", "new"), ("--undo", "old")] {
        let _: Value = result(&under_test.rebuild(&folder, &[step]).await);
        let now = (under_test.query_number(JOBS).await, under_test.query_number(DIGEST).await);
        assert_eq!(now, before, "{step}");
        assert_eq!(under_test.query_number(STATS).await, 300, "{step}");
        let status: Value = result(&under_test.rebuild(&folder, &["--status"]).await);
        assert_eq!(status["live"], live);
    }
    assert_eq!(under_test.committed_offsets(), committed, "the live group's offsets");
    assert_eq!(daemon.metric("hookline_jobs_finished_total", &[]).await, 300.0, "a rebuild counts nothing");
    let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);
    assert!(!folder.path().join("rebuild.json").exists(), "it has ended");
    assert_eq!(under_test.query_number(JOBS).await, before.0);
    assert!(refusal(&under_test.rebuild(&folder, &["--swap"]).await).contains("there is no rebuild"));
}

#[tokio::test]
async fn what_was_wrong_is_found_by_day_and_column_and_is_right_after_the_swap_and_wrong_after_the_undo() {
    let (under_test, mut daemon, folder) = filled("rebuild_wrong").await;
    let right = (under_test.query_number(JOBS).await, under_test.query_number(DIGEST).await);
    let job = |number: usize| format!("job_id = 'c{number:024}'");
    // A decoder that read widths that are none, a completion that no event tells, another one too early, and a job that it did not see.
    falsify(&under_test, "width = 1280", &job(1)).await;
    falsify(&under_test, "completed_at = created_at + 1", &job(3)).await;
    falsify(&under_test, "completed_at = completed_at - 1", &job(4)).await;
    under_test.execute(&format!("DELETE FROM jobs WHERE {} SETTINGS lightweight_deletes_sync = 2", job(7))).await;
    let wrong = under_test.query_number(JOBS).await;

    let failed = under_test.rebuild(&folder, &[]).await;
    assert!(refusal(&failed).contains("--accept-loss"), "a width that is known no more is a loss");
    let diff = diff(&folder);
    assert_eq!(
        (&diff["changed"], &diff["added"], &diff["lost"], &diff["emptied"]),
        (&3.into(), &1.into(), &0.into(), &2.into()),
        "{diff:#}"
    );
    let of_kinds = ["outcome", "finished_at", "durations", "numbers"].map(|kind| diff[kind].as_u64().unwrap());
    assert_eq!(of_kinds, [1, 2, 2, 1], "{diff:#}");
    let width = &diff["columns"]["width"];
    assert_eq!((&width["jobs"], &width["emptied"]), (&1.into(), &1.into()));
    assert_eq!((&width["examples"][0]["old"], &width["examples"][0]["new"]), (&"1280".into(), &Value::Null));
    assert_eq!(diff["columns"]["outcome"]["examples"][0]["new"], "errored");
    let days = diff["days"].as_object().unwrap();
    let of_days = |key: &str| days.values().map(|day| day[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((of_days("changed"), of_days("added")), (3, 1), "{diff:#}");

    assert!(refusal(&under_test.rebuild(&folder, &["--swap"]).await).contains("--accept-loss"));
    assert_eq!(under_test.query_number(JOBS).await, wrong, "the old table is live");
    let _: Value = result(&under_test.rebuild(&folder, &["--swap", "--accept-loss"]).await);
    let is_right = "SELECT count() FROM job_stats_by_minute WHERE completed + errored > 0";
    assert_eq!((under_test.query_number(JOBS).await, under_test.query_number(DIGEST).await).1, right.1);
    let (cells, stats) = (under_test.query_number(is_right).await, under_test.query_number(STATS).await);
    assert!(cells > 0 && stats == 300, "{cells} {stats}");

    // What comes in now goes to the new table, and the undo brings it to the old one.
    under_test.produce_jobs(300..360, now() - 600);
    under_test.wait_until(DELIVERIES, 720).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let _: Value = result(&under_test.rebuild(&folder, &["--undo"]).await);
    let jobs = "SELECT count() FROM job_facts";
    assert_eq!(under_test.query_number(jobs).await, 359, "the old one never had job 7");
    let former = format!("{JOBS} WHERE job_id < 'c{:024}'", 300);
    assert_eq!(under_test.query_number(&former).await, wrong, "each of its rows is as it was");
    assert_eq!(under_test.query_number(STATS).await, 359);
    let counted = "SELECT count() FROM jobs FINAL WHERE counted_ends = 0";
    assert_eq!(under_test.query_number(counted).await, 0, "what was counted meanwhile is known there, too");

    // And once more: the new one gets what it lacks.
    refusal(&under_test.rebuild(&folder, &[]).await);
    let _: Value = result(&under_test.rebuild(&folder, &["--swap", "--accept-loss"]).await);
    assert_eq!(under_test.query_number(jobs).await, 360);
    assert_eq!(under_test.query_number(STATS).await, 360);
    let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);
}

#[tokio::test]
async fn that_the_live_group_is_behind_is_no_difference() {
    let (under_test, mut daemon, folder) = filled("rebuild_ahead").await;
    let created = now() - 600;
    let records = (300..330).flat_map(|number| records_of_job(Resource::ALL[number % 3], number, created));
    let (starts, ends): (Vec<_>, Vec<_>) = records.partition(|record| record.signed_at == created + 2);
    starts.iter().for_each(|record| under_test.produce(record));
    under_test.flush();
    under_test.wait_until(DELIVERIES, 630).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    ends.iter().for_each(|record| under_test.produce(record));
    under_test.flush();
    let built: Value = result(&under_test.rebuild(&folder, &[]).await);
    assert_eq!((&built["changes"], &built["verdict"]["moving"]), (&false.into(), &30.into()), "{built:#}");
    // A control: what the live table knows and the new one does not is a loss all the same.
    let emptied =
        "ALTER TABLE jobs_rebuild UPDATE started_at = NULL WHERE job_id LIKE '%31_' SETTINGS mutations_sync = 2";
    under_test.execute(emptied).await;
    let output = under_test.rebuild(&folder, &[]).await;
    refusal(&output);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["loses"], &told["verdict"]["emptied"]), (&true.into(), &10.into()), "{told:#}");
}

#[tokio::test]
async fn what_is_wrong_in_the_new_table_is_found() {
    let (under_test, _daemon, folder) = filled("rebuild_shadow").await;
    let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    // A job is missing, a row is altered, and a delivery is there twice.
    under_test.execute("DELETE FROM jobs_rebuild WHERE job_id LIKE '%07' SETTINGS lightweight_deletes_sync = 2").await;
    let altered = "INSERT INTO jobs_rebuild SELECT * REPLACE (99 AS image_count) FROM jobs WHERE job_id LIKE '%08' AND counted_ends != 0";
    under_test.execute(altered).await;
    let repeated = "INSERT INTO deliveries SELECT * REPLACE ('another/log' AS log_id) FROM deliveries LIMIT 1";
    under_test.execute(repeated).await;
    let output = under_test.rebuild(&folder, &[]).await;
    refusal(&output);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = &told["verdict"];
    assert_eq!((&verdict["lost"], &verdict["counts"]["absent"]), (&3.into(), &3.into()), "{told:#}");
    assert_eq!((&verdict["changed"], &verdict["numbers"]), (&3.into(), &3.into()), "{told:#}");
    assert_eq!(verdict["counts"]["repeated_deliveries"], 1, "{told:#}");
    assert_eq!(verdict["roll_up_hours"].as_u64().map(|hours| hours > 0), Some(true), "{told:#}");
    assert!(diff(&folder)["lost_examples"][0]["job_id"].as_str().unwrap().ends_with("07"));
    assert!(refusal(&under_test.rebuild(&folder, &["--swap"]).await).contains("--accept-loss"));
}
