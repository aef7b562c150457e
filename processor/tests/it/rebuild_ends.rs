//! Where a rebuild is refused, stopped or killed, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hookline_schemas::facts::FOLD_VERSION;
use hookline_testkit::{Daemon, NetworkProxy, NetworkState, Signal, eventually, with};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use reqwest::Url;
use serde_json::Value;
use tempfile::TempDir;

use crate::groups::has_partitions;
use crate::processor_under_test::{DEADLINE, ProcessorUnderTest, now};
use crate::rebuild::{JOBS, OTHER, refusal};
use crate::replay::{filled, result};

/// Kills the process at a point and then lets the same command go on.
async fn kill_and_continue(
    under_test: &ProcessorUnderTest,
    folder: &TempDir,
    point: &str,
    arguments: &[&str],
) -> Value {
    let state = folder.path().join("rebuild.json");
    let always = ["replay", "--rebuild", "--json", "--rate", "0", "--state", state.to_str().unwrap()];
    let environment = with(&under_test.servers.environment(), &[("HOOKLINE_FAIL_POINT", point)]);
    let mut killed = Daemon::start("hookline-processor", &[&always, arguments].concat(), &environment);
    assert!(!killed.wait().await.success(), "{point}: it ended by itself");
    let _: Value = result(&under_test.rebuild(folder, &["--status"]).await);
    result(&under_test.rebuild(folder, arguments).await)
}

#[tokio::test]
async fn it_goes_on_wherever_it_was_killed() {
    let (under_test, _daemon, folder) = filled("rebuild_killed").await;
    let right = under_test.query_number(JOBS).await;
    for point in ["after_shadow", "after_filled_batch:2", "after_fill", "after_verify"] {
        let built = kill_and_continue(&under_test, &folder, point, &[]).await;
        assert_eq!(built["changes"], false, "{point}: {built:#}");
        assert_eq!(under_test.query_number(OTHER).await, right, "{point}");
        let _: Value = result(&under_test.rebuild(&folder, &["--drop"]).await);
    }
    for (to, back) in [
        ("before_exchange", "after_exchange"),
        ("after_inserts", "after_catch_up"),
        ("after_rebuild_refresh", "before_exchange"),
    ] {
        let _: Value = result(&under_test.rebuild(&folder, &[]).await);
        for (point, step, ends) in [(to, "--swap", "swapped"), (back, "--undo", "undone")] {
            let exchanged = kill_and_continue(&under_test, &folder, point, &[step]).await;
            assert_eq!(exchanged["step"], ends, "{point}");
            assert_eq!(under_test.query_number(JOBS).await, right, "{point} {step}");
        }
    }
    let dropped = kill_and_continue(&under_test, &folder, "after_drop", &["--drop"]).await;
    assert_eq!(dropped["step"], "dropped");
    assert_eq!(under_test.query_number(JOBS).await, right);
}

#[tokio::test]
async fn a_swap_that_was_killed_can_be_undone() {
    let (under_test, _daemon, folder) = filled("rebuild_undone").await;
    let right = under_test.query_number(JOBS).await;
    let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    for (point, ends) in [("before_exchange", "verified"), ("after_exchange", "undone"), ("after_catch_up", "undone")] {
        let state = folder.path().join("rebuild.json");
        let arguments = ["replay", "--rebuild", "--swap", "--state", state.to_str().unwrap()];
        let environment = with(&under_test.servers.environment(), &[("HOOKLINE_FAIL_POINT", point)]);
        assert!(!Daemon::start("hookline-processor", &arguments, &environment).wait().await.success(), "{point}");
        let refused = refusal(&under_test.rebuild(&folder, &[]).await);
        assert!(refused.contains("a swap has begun and not ended"), "{refused}");
        assert!(refusal(&under_test.rebuild(&folder, &["--drop"]).await).contains("a swap has begun"));
        let undone: Value = result(&under_test.rebuild(&folder, &["--undo"]).await);
        assert_eq!(undone["step"], ends, "{point}");
        assert_eq!(under_test.query_number(JOBS).await, right, "{point}");
        let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    }
}

#[tokio::test]
async fn a_swap_waits_for_the_inserts_that_had_begun() {
    let (under_test, mut daemon, folder) = filled("rebuild_inserts").await;
    assert!(daemon.terminate().await.success());
    let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    // Three seconds after it began it lands in the table that was live then.
    let slow = "INSERT INTO jobs SELECT * REPLACE (toInt64(77) AS image_count) FROM jobs \
                WHERE sleepEachRow(0.01) = 0 SETTINGS max_block_size = 10, function_sleep_max_microseconds_per_block = 3000000, \
                optimize_move_to_prewhere = 0, max_threads = 1";
    let client = under_test.client.clone();
    let insert = tokio::spawn(async move { client.query(slow).execute().await });
    eventually("an insert in progress", DEADLINE, async || {
        let inserts =
            "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()";
        (under_test.query_number(inserts).await > 0).then_some(())
    })
    .await;
    let swapped = under_test.rebuild(&folder, &["--swap"]).await;
    let _: Value = result(&swapped);
    assert!(String::from_utf8_lossy(&swapped.stderr).contains("waiting for 1 insert that"));
    assert!(insert.is_finished(), "the swap had not ended before");
    insert.await.unwrap().unwrap();
    let altered = |table: &str| format!("SELECT count() FROM {table} FINAL WHERE image_count = 77");
    assert_eq!(under_test.query_number(&altered("jobs")).await, 0);
    assert_eq!(under_test.query_number(&altered("jobs_rebuild")).await, 300, "it was for the old table");
}

#[tokio::test]
async fn it_is_not_swapped_beside_a_processor_of_another_fold_version() {
    let (under_test, mut daemon, folder) = filled("rebuild_fold").await;
    let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    assert!(daemon.terminate().await.success());
    let group = format!("{}.processor", under_test.servers.kafka.topic_prefix);
    let mut client = under_test.servers.kafka.client().unwrap();
    client.set("group.id", &group).set("client.id", "hookline-processor-fold-999");
    // A static member, as a processor is: it says no goodbye, and the brokers wait for it until its session is over.
    client.set("group.instance.id", "one.fold-999").set("session.timeout.ms", "6000");
    let member: BaseConsumer = client.set("partition.assignment.strategy", "roundrobin").create().unwrap();
    member.subscribe(&under_test.topics.all().collect::<Vec<_>>()).unwrap();
    let (member, is_done) = (Arc::new(member), Arc::new(AtomicBool::new(false)));
    let polling = std::thread::spawn({
        let (member, is_done) = (Arc::clone(&member), Arc::clone(&is_done));
        move || {
            while !is_done.load(Ordering::Relaxed) {
                let _ = member.poll(Duration::from_millis(100));
            }
        }
    });
    eventually("a member", DEADLINE, async || (member.assignment().unwrap().count() > 0).then_some(())).await;
    let refused = refusal(&under_test.rebuild(&folder, &["--swap"]).await);
    assert!(refused.contains("hookline-processor-fold-999") && refused.contains("member one.fold-999-"), "{refused}");
    assert!(refused.contains("until its group.session_timeout_ms, here 15000 ms, is over"), "{refused}");
    // The same instance of this version does not take its place, of which the brokers would tell the former client.id.
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", "one")]);
    has_partitions(&mut daemon, 6).await;
    let groups = member.fetch_group_list(Some(&group), DEADLINE).unwrap();
    let is_ours = |id: &str| id.starts_with(&format!("one.fold-{FOLD_VERSION}-"));
    assert!(groups.groups()[0].members().iter().any(|member| is_ours(member.id())), "it is another member");
    let refused = refusal(&under_test.rebuild(&folder, &["--swap"]).await);
    assert!(
        refused.contains("member one.fold-999-") && !refused.contains(&format!("member one.fold-{FOLD_VERSION}-")),
        "{refused}"
    );
    is_done.store(true, Ordering::Relaxed);
    polling.join().unwrap();
    drop(member);
    let status: Value = result(&under_test.rebuild(&folder, &["--status"]).await);
    assert_eq!((&status["step"], &status["live"]), (&"verified".into(), &"old".into()), "{status}");
    eventually("the end of the former member's session", DEADLINE, async || {
        under_test.rebuild(&folder, &["--swap"]).await.status.success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_on_its_way_into_the_old_table_is_in_the_new_one_after_the_swap() {
    const JOBS_IN_ALL: usize = 2_300;
    let (under_test, mut daemon, folder) = filled("rebuild_in_flight").await;
    assert!(daemon.terminate().await.success());
    let _: Value = result(&under_test.rebuild(&folder, &[]).await);
    let server = Url::parse(&under_test.servers.clickhouse.url).unwrap().socket_addrs(|| None).unwrap()[0];
    let proxy = NetworkProxy::to(server).await;
    let mut daemon = under_test.daemon(&[("CLICKHOUSE_URL", &proxy.url())]);
    daemon.wait_ready().await;
    let state = folder.path().join("rebuild.json");
    let arguments = ["replay", "--rebuild", "--swap", "--state", state.to_str().unwrap()];
    let environment = with(&under_test.servers.environment(), &[("HOOKLINE_FAIL_POINT", "before_exchange:1:stop")]);
    let mut swap = Daemon::start("hookline-processor", &arguments, &environment);
    eventually("the moment before the EXCHANGE", DEADLINE, async || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", swap.pid())).unwrap();
        stat.contains(") T ").then_some(())
    })
    .await;
    // The swap has read everything that there was, and these are on their way into the table that is live now.
    proxy.set(NetworkState::Slow(8 << 10));
    under_test.produce_jobs(300..JOBS_IN_ALL, now() - 600);
    eventually("an insert that waits for the rest of its block", DEADLINE, async || {
        let inserts = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase() \
                       AND elapsed > 0.3";
        (under_test.query_number(inserts).await > 0).then_some(())
    })
    .await;
    proxy.set(NetworkState::Stalled);
    swap.signal(Signal::SIGCONT);
    eventually("the swap to wait for it", DEADLINE, async || {
        swap.log().iter().any(|line| line.contains("waiting for 1 insert that")).then_some(())
    })
    .await;
    proxy.set(NetworkState::Open);
    assert!(swap.wait().await.success(), "{:?}", swap.log());
    let there = |table: &str| format!("SELECT uniqExact(job_id) FROM {table}");
    assert!(under_test.query_number(&there("jobs_rebuild")).await > 300, "the insert landed in the old table");
    assert_eq!(
        under_test.query_number(&there("jobs")).await,
        JOBS_IN_ALL as u64,
        "and was caught up before the swap ended"
    );
    under_test.wait_until_no_lag(&mut daemon).await;
    let state = folder.path().join("replay.json");
    let replayed: Value =
        result(&under_test.run(&["replay", "--json", "--rate", "0", "--state", state.to_str().unwrap()]).await);
    assert_eq!(replayed["changed"], false, "{replayed:#}");
    let uncounted = "SELECT count() FROM jobs FINAL WHERE counted_ends = 0";
    assert_eq!(under_test.query_number(uncounted).await, 0, "what the group counted is known");
}
