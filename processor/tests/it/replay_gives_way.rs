//! A replay, and a rebuild, waits while live work needs the servers, says so, and goes on by itself.

use std::path::Path;

use hookline_testkit::{Daemon, NetworkProxy, NetworkState, eventually, with};
use serde_json::Value;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};
use crate::replay::filled;

const WAITS: &str = "the replay waits for live work";

/// Starts a replay in batches of 20; it looks after a live group that commits every 100 ms.
fn start(under_test: &ProcessorUnderTest, state: &Path, more: &[&str]) -> Daemon {
    let settings = [("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "20"), ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "100")];
    let arguments = [&["replay", "--state", state.to_str().unwrap()], more].concat();
    Daemon::start("hookline-processor", &arguments, &with(&under_test.servers.environment(), &settings))
}

fn has_line(daemon: &Daemon, part: &str) -> bool {
    daemon.log().iter().any(|line| line.contains(part))
}

async fn wait_for_line(daemon: &Daemon, part: &str) {
    eventually(part, DEADLINE, async || has_line(daemon, part).then_some(())).await;
}

/// How many records the state says are done; it is removed with the end of a replay.
fn done(state: &Path) -> i64 {
    let Ok(state) = std::fs::read(state) else { return i64::MAX };
    let state: Value = serde_json::from_slice(&state).unwrap();
    let parts = state["parts"].as_array().or(state["ranges"].as_array()).unwrap();
    parts.iter().map(|part| part["next"].as_i64().unwrap() - part["start"].as_i64().unwrap()).sum()
}

/// Waits until more is done, and then does the rest without a limit: how fast that is says nothing here.
async fn goes_on_and_ends(under_test: &ProcessorUnderTest, replay: &mut Daemon, state: &Path) {
    wait_for_line(replay, "the replay goes on").await;
    let before = done(state);
    eventually("more of the replay", DEADLINE, async || (done(state) > before || !state.exists()).then_some(())).await;
    replay.terminate().await;
    assert!(under_test.run(&["replay", "--rate", "0", "--state", state.to_str().unwrap()]).await.status.success());
}

/// 300 jobs in the tables, and a live group that reaches ClickHouse by a proxy.
async fn behind_a_proxy(name: &str) -> (ProcessorUnderTest, Daemon, NetworkProxy) {
    let under_test = ProcessorUnderTest::new(name, 2).await;
    let address = under_test.servers.clickhouse.url.trim_start_matches("http://").parse().unwrap();
    let proxy = NetworkProxy::to(address).await;
    let settings = [("CLICKHOUSE_URL", &*proxy.url()), ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "100")];
    let mut live = under_test.daemon(&settings);
    live.wait_ready().await;
    under_test.produce_jobs(0..300, now() - 600);
    under_test.wait_until(DELIVERIES, 600).await;
    under_test.wait_until_no_lag(&mut live).await;
    (under_test, live, proxy)
}

#[tokio::test]
async fn it_waits_while_the_live_group_is_behind() {
    let (under_test, mut live, proxy) = behind_a_proxy("gives_way_lag").await;
    proxy.set(NetworkState::Stalled);
    under_test.produce_jobs(300..600, now() - 600);
    let folder = tempfile::tempdir().unwrap();
    let [waiting, other] = ["waiting.json", "other.json"].map(|name| folder.path().join(name));
    let mut replay = start(&under_test, &waiting, &["--rate", "60"]);
    wait_for_line(&replay, WAITS).await;
    wait_for_line(&replay, "; waiting, for the live group is behind in ").await;
    let done_before = done(&waiting);
    assert!(done_before < 1_200, "it ended too early");
    // A control: nothing else keeps it back.
    let mut control = start(&under_test, &other, &["--rate", "0", "--no-give-way"]);
    assert!(control.wait().await.success());
    assert!(!has_line(&control, WAITS));
    // Each of the two readers ends the page that it had begun.
    assert!(done(&waiting) <= done_before + 2 * 20, "it did not wait");

    proxy.set(NetworkState::Open);
    goes_on_and_ends(&under_test, &mut replay, &waiting).await;
    under_test.wait_until(DELIVERIES, 1_200).await;
    under_test.wait_until_no_lag(&mut live).await;
}

#[tokio::test]
async fn it_waits_while_clickhouse_has_too_many_parts() {
    let (under_test, _live, folder) = filled("gives_way_parts").await;
    under_test.execute("SYSTEM STOP MERGES jobs").await;
    under_test.execute("ALTER TABLE jobs MODIFY SETTING parts_to_delay_insert = 20").await;
    under_test.execute("TRUNCATE TABLE jobs").await;
    let [waiting, other] = ["waiting.json", "other.json"].map(|name| folder.path().join(name));
    let mut replay = start(&under_test, &waiting, &["--rate", "100"]);
    wait_for_line(&replay, "a partition of the table jobs has ").await;
    assert!(has_line(&replay, WAITS));
    let parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'jobs' AND active";
    let before = under_test.query_number(parts).await;
    assert!((11..20).contains(&before), "{before} parts");
    // A control: nothing else keeps it back.
    let mut control = start(&under_test, &other, &["--rate", "0", "--no-give-way"]);
    assert!(control.wait().await.success());
    assert!(under_test.query_number(parts).await > before + 20);
    assert!(done(&waiting) < 601, "it did not wait");

    under_test.execute("SYSTEM START MERGES jobs").await;
    under_test.execute("OPTIMIZE TABLE jobs FINAL").await;
    goes_on_and_ends(&under_test, &mut replay, &waiting).await;
}

#[tokio::test]
async fn a_signal_ends_one_that_waits() {
    let (under_test, _live, folder) = filled("gives_way_signal").await;
    under_test.execute("SYSTEM STOP MERGES jobs").await;
    under_test.execute("ALTER TABLE jobs MODIFY SETTING parts_to_delay_insert = 1").await;
    let state = folder.path().join("state.json");
    let mut replay = start(&under_test, &state, &["--source", "deliveries"]);
    wait_for_line(&replay, WAITS).await;
    assert_eq!(replay.terminate().await.code(), Some(1));
    assert_eq!(done(&state), 0);
    assert!(has_line(&replay, "run the same command again to continue"));
}

#[tokio::test]
async fn a_rebuild_waits_while_the_live_group_is_behind() {
    let (under_test, mut live, proxy) = behind_a_proxy("gives_way_rebuild").await;
    proxy.set(NetworkState::Stalled);
    under_test.produce_jobs(300..600, now() - 600);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("rebuild.json");
    let mut rebuild = start(&under_test, &state, &["--rebuild", "--rate", "60"]);
    wait_for_line(&rebuild, "; waiting, for the live group is behind in ").await;
    let done_before = done(&state);
    assert!(done_before < 1_200, "it ended too early");
    // A line comes every 5 s, in which 300 records would be done.
    eventually("the next line", DEADLINE, async || {
        (rebuild.log().iter().filter(|line| line.contains("; waiting, for ")).count() > 1).then_some(())
    })
    .await;
    assert_eq!(rebuild.terminate().await.code(), Some(1));
    assert!(has_line(&rebuild, "run the same command again to continue"));
    assert!(done(&state) <= done_before + 2 * 20, "it did not wait");
    // A control: nothing else keeps it back.
    let mut control = start(&under_test, &state, &["--rebuild", "--rate", "0", "--no-give-way"]);
    assert!(control.wait().await.success(), "that the live table is behind is no difference");
    assert_eq!(done(&state), 1_200);
    assert!(!has_line(&control, WAITS));

    proxy.set(NetworkState::Open);
    under_test.wait_until(DELIVERIES, 1_200).await;
    under_test.wait_until_no_lag(&mut live).await;
}

#[tokio::test]
async fn a_rebuild_waits_while_its_own_table_has_too_many_parts() {
    let (under_test, _live, folder) = filled("gives_way_shadow").await;
    // What is made of it has the same limit, at which inserts are slowed down.
    under_test.execute("ALTER TABLE jobs MODIFY SETTING parts_to_delay_insert = 20").await;
    under_test.execute("OPTIMIZE TABLE jobs FINAL").await;
    let state = folder.path().join("rebuild.json");
    let environment = with(&under_test.servers.environment(), &[("HOOKLINE_FAIL_POINT", "after_shadow")]);
    let arguments = ["replay", "--rebuild", "--state", state.to_str().unwrap()];
    assert!(!Daemon::start("hookline-processor", &arguments, &environment).wait().await.success());
    under_test.execute("SYSTEM STOP MERGES jobs_rebuild").await;
    let mut rebuild = start(&under_test, &state, &["--rebuild", "--rate", "100"]);
    wait_for_line(&rebuild, "; waiting, for a partition of the table jobs_rebuild has ").await;
    let parts =
        "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'jobs_rebuild' AND active";
    let before = under_test.query_number(parts).await;
    assert!((11..20).contains(&before), "{before} parts");
    assert!(done(&state) < 600, "it did not wait");

    under_test.execute("SYSTEM START MERGES jobs_rebuild").await;
    under_test.execute("OPTIMIZE TABLE jobs_rebuild FINAL").await;
    wait_for_line(&rebuild, "the replay goes on").await;
    rebuild.terminate().await;
    let output = under_test.rebuild(&folder, &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
