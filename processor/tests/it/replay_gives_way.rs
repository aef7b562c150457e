//! A replay waits while live work needs the servers, says so, and goes on by itself.

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
    let parts = state["parts"].as_array().unwrap();
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

#[tokio::test]
async fn it_waits_while_the_live_group_is_behind() {
    let under_test = ProcessorUnderTest::new("gives_way_lag", 2).await;
    let address = under_test.servers.clickhouse.url.trim_start_matches("http://").parse().unwrap();
    let proxy = NetworkProxy::to(address).await;
    let settings = [("CLICKHOUSE_URL", &*proxy.url()), ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "100")];
    let mut live = under_test.daemon(&settings);
    live.wait_ready().await;
    under_test.produce_jobs(0..300, now() - 600);
    under_test.wait_until(DELIVERIES, 600).await;
    under_test.wait_until_no_lag(&mut live).await;

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
