//! A replay repairs what is missing and changes nothing else.

use std::process::Output;

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, eventually};
use serde_json::Value;
use tempfile::TempDir;

use crate::stand::{DEADLINE, Stand, job, now};

const DELIVERIES: &str = "SELECT count() FROM deliveries FINAL";
const STATS: &str = "SELECT sum(completed + errored) FROM job_stats_by_minute";
/// Everything that the tables say.
const DIGEST: &str = "SELECT sum(digest) FROM (
    SELECT groupBitXor(cityHash64(toString(tuple(*)))) AS digest FROM deliveries FINAL
    UNION ALL SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM job_facts
    UNION ALL SELECT groupBitXor(cityHash64(toString(tuple(*)))) FROM dead_letters FINAL)";

/// 300 jobs in the tables, a live group that has nothing left to do, and a folder for the state.
async fn filled(name: &str) -> (Stand, Daemon, TempDir) {
    let stand = Stand::new(name, 3).await;
    let mut daemon = stand.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    stand.send_jobs(0..300, now() - 600);
    stand.send_raw(stand.topics.dead_letter(), "k", b"foreign", rdkafka::message::OwnedHeaders::new());
    stand.flush();
    stand.until(DELIVERIES, 600).await;
    stand.until_no_lag(&mut daemon).await;
    (stand, daemon, tempfile::tempdir().unwrap())
}

impl Stand {
    fn replay(&self, folder: &TempDir, arguments: &[&str]) -> Output {
        let state = folder.path().join("state.json");
        let mut all = vec!["replay", "--json", "--state", state.to_str().unwrap()];
        all.extend(arguments);
        self.run(&all)
    }
}

fn result(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn over_right_tables_it_changes_nothing_and_says_so() {
    let (stand, mut daemon, folder) = filled("replay_right").await;
    let (digest, committed) = (stand.number(DIGEST).await, stand.committed());
    let said = result(&stand.replay(&folder, &["--rate", "0"]));
    assert_eq!((&said["records"], &said["changed"]), (&601.into(), &false.into()), "{said}");
    assert_eq!(stand.number(DIGEST).await, digest);
    assert_eq!(stand.committed(), committed, "the live group's offsets");
    assert!(!folder.path().join("state.json").exists(), "nothing is left to go on with");
    assert_eq!(daemon.metric("hookline_jobs_finished_total", &[]).await, 300.0, "a replay counts nothing");

    let told = stand.run(&["replay", "--state", folder.path().join("s").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("the tables were right: nothing changed"));
}

#[tokio::test]
async fn a_batch_of_many_jobs_is_compared_as_a_small_one_is() {
    const JOBS: u64 = 12_000;
    let stand = Stand::new("replay_many", 1).await;
    for number in 0..JOBS as usize {
        for sent in job(Resource::Video, number, now() - 600) {
            stand.send(&sent);
        }
    }
    stand.flush();
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(DELIVERIES, JOBS * 2).await;
    stand.until_no_lag(&mut daemon).await;
    let folder = tempfile::tempdir().unwrap();
    stand.execute("DELETE FROM jobs WHERE job_id LIKE '%7' SETTINGS lightweight_deletes_sync = 2").await;
    let said = result(&stand.replay(&folder, &["--rate", "0"]));
    assert_eq!(said["repaired"]["jobs"], JOBS / 10, "{said}");
    let said = result(&stand.replay(&folder, &["--rate", "0"]));
    assert_eq!(said["changed"], false, "{said}");
}

#[tokio::test]
async fn what_is_missing_is_repaired_and_told() {
    let (stand, _daemon, folder) = filled("replay_repair").await;
    let digest = stand.number(DIGEST).await;
    let lost = "cityHash64(job_id) % 3 = 0";
    for table in ["jobs", "deliveries"] {
        stand.execute(&format!("DELETE FROM {table} WHERE {lost} SETTINGS lightweight_deletes_sync = 2")).await;
    }
    stand.execute("TRUNCATE TABLE job_stats").await;
    stand.execute("TRUNCATE TABLE dead_letters").await;
    let lost = 600 - stand.number(DELIVERIES).await;
    assert!(lost > 0);
    let said = result(&stand.replay(&folder, &["--rate", "0"]));
    let repaired = &said["repaired"];
    assert_eq!((&repaired["deliveries"], &repaired["jobs"]), (&lost.into(), &(lost / 2).into()), "{said}");
    assert_eq!(repaired["dead_letters"], 1, "{said}");
    assert_eq!(stand.number(DIGEST).await, digest);
    assert_eq!(stand.number(STATS).await, 300, "and the hours it touched are refreshed");
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_ranges_limit_what_is_read() {
    let (stand, _daemon, folder) = filled("replay_plan").await;
    stand.execute("TRUNCATE TABLE deliveries").await;
    let plan = result(&stand.replay(&folder, &["--dry-run", "--rate", "100"]));
    assert_eq!((&plan["records"], &plan["seconds"]), (&601.into(), &7.into()), "{plan}");
    assert!(plan["bytes"].as_u64().unwrap() > 601 * 100, "{plan}");
    assert_eq!(stand.number(DELIVERIES).await, 0);

    let said = result(&stand.replay(&folder, &["--resource", "video", "--partition", "1", "--offsets", "5..25"]));
    assert_eq!((&said["records"], &said["repaired"]["deliveries"]), (&20.into(), &20.into()), "{said}");
    let there = format!("{DELIVERIES} WHERE resource = 'video' AND partition = 1 AND offset >= 5 AND offset < 25");
    assert_eq!((stand.number(&there).await, stand.number(DELIVERIES).await), (20, 20));

    let said = result(&stand.replay(&folder, &["--from", "1h", "--resource", "audio"]));
    assert_eq!(said["records"], 200, "{said}");
    let said = result(&stand.replay(&folder, &["--to", "1h"]));
    assert_eq!(said["records"], 0, "nothing was appended so long ago: {said}");

    let refused = stand.replay(&folder, &["--resource", "vdieo"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("video, image, audio or dead-letter"));
}

#[tokio::test]
async fn a_killed_replay_goes_on_beside_live_traffic_and_ends_where_it_planned() {
    let (stand, mut daemon, folder) = filled("replay_killed").await;
    stand.execute("TRUNCATE TABLE deliveries").await;
    stand.execute("TRUNCATE TABLE jobs").await;
    let state = folder.path().join("state.json");
    let mut environment = stand.servers.environment();
    environment.push(("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS".into(), "20".into()));
    let arguments = ["replay", "--rate", "100", "--state", state.to_str().unwrap()];
    let mut replay = Daemon::start("hookline-processor", &arguments, &environment);
    eventually("a part of it", DEADLINE, async || (stand.number(DELIVERIES).await >= 100).then_some(())).await;
    replay.kill();
    let there = stand.number(DELIVERIES).await;
    assert!(there < 600, "it was killed too late");
    stand.send_jobs(300..400, now() - 600);

    let other = stand.replay(&folder, &["--resource", "video"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("another replay"), "one that asks for something else");
    let said = result(&stand.replay(&folder, &["--rate", "0"]));
    assert!(said["records"].as_u64().unwrap() < 601, "it does not begin again: {said}");
    stand.until(DELIVERIES, 800).await;
    stand.until_no_lag(&mut daemon).await;
    assert_eq!(stand.number("SELECT count() FROM job_facts WHERE outcome != 'open'").await, 400);
    assert_eq!(stand.number(STATS).await, 400);
}
