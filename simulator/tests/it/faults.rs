//! What befalls a running pipeline, one thing at a time; afterwards every number must be right.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use hookline_testkit::{Daemon, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::sleep;

use crate::scene::{DEADLINE, Scene};
use crate::topics::{caught_up, census};
use crate::traffic::Traffic;
use crate::verdict::{assert_nothing_to_repair, assert_right, change, settled};
use hookline_testkit::NetworkState;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL in a window that the processor names.
    ProcessorKilled(&'static str),
    /// SIGSTOP until its partitions belong to another, then SIGCONT.
    ProcessorFrozen,
    /// SIGKILL while an insert is being written, three times.
    ClickHouseKilled,
    /// SIGTERM and a new start.
    KafkaRestarted,
    /// SIGKILL and a new start.
    KafkaKilled,
    /// The network to ClickHouse, again and again.
    NetworkCut,
    /// The network to ClickHouse, some of the time.
    NetworkSlow,
    /// SIGKILL in the middle of a replay that repairs rows somebody deleted, which then goes on.
    ReplayKilled,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub attempts: usize,
    /// From the last webhook until everything was in its table.
    pub settled: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProcessorKilled(place) => write!(f, "processor killed {}", place.replace('_', " ")),
            Self::ProcessorFrozen => f.write_str("processor frozen"),
            Self::ClickHouseKilled => f.write_str("ClickHouse killed"),
            Self::KafkaRestarted => f.write_str("Kafka restarted"),
            Self::KafkaKilled => f.write_str("Kafka killed"),
            Self::NetworkCut => f.write_str("network cut"),
            Self::NetworkSlow => f.write_str("network slow"),
            Self::ReplayKilled => f.write_str("replay killed"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, settled } = self;
        write!(f, "{attempts} attempts, 0 differences, settled in {:.1} s", settled.as_secs_f64())
    }
}

impl Fault {
    pub const ALL: [Self; 13] = [
        Self::ProcessorKilled("after_consume"),
        Self::ProcessorKilled("after_jobs"),
        Self::ProcessorKilled("after_deliveries"),
        Self::ProcessorKilled("after_refresh"),
        Self::ProcessorKilled("before_commit"),
        Self::ProcessorKilled("after_commit"),
        Self::ProcessorFrozen,
        Self::ClickHouseKilled,
        Self::KafkaRestarted,
        Self::KafkaKilled,
        Self::NetworkCut,
        Self::NetworkSlow,
        Self::ReplayKilled,
    ];

    /// Lets it happen under `traffic`, which goes on until it is over; fails where a difference remains, or where the
    /// oracle misses one that is made.
    pub async fn strike(self, traffic: Traffic) -> Outcome {
        let mut scene = match self {
            Self::ClickHouseKilled | Self::KafkaRestarted | Self::KafkaKilled => Scene::own().await,
            Self::ProcessorKilled(_)
            | Self::ProcessorFrozen
            | Self::NetworkCut
            | Self::NetworkSlow
            | Self::ReplayKilled => Scene::shared("matrix").await,
        };
        let stream = traffic.stream(scene.stage.url.clone());
        scene.rows(traffic.jobs as u64 / 4).await;
        self.befall(&mut scene).await;
        let attempts = stream.end().await;
        let settled = settled(&scene.stage, &mut scene.processor).await;
        if self == Self::ReplayKilled {
            assert_nothing_to_repair(&scene.stage).await;
        }
        assert_right(&scene.stage, &attempts).await;
        Outcome { attempts: attempts.len(), settled }
    }

    /// Lets it happen under whatever traffic there is, until it is over: everything runs again, though it may lag.
    pub async fn befall(self, scene: &mut Scene) {
        match self {
            Self::ProcessorKilled(place) => processor_killed(scene, place).await,
            Self::ProcessorFrozen => processor_frozen(scene).await,
            Self::ClickHouseKilled => clickhouse_killed(scene).await,
            Self::KafkaRestarted => {
                scene.kafka().terminate(1).await;
                scene.kafka().restart(1).await;
            }
            Self::KafkaKilled => {
                scene.kafka().kill(1).await;
                scene.kafka().restart(1).await;
            }
            Self::NetworkCut => network_cut(scene).await,
            Self::NetworkSlow => network_slow(scene).await,
            Self::ReplayKilled => replay_killed(scene).await,
        }
    }
}

async fn processor_killed(scene: &mut Scene, place: &str) {
    assert!(scene.processor.terminate().await.success(), "the processor did not end in good order");
    scene.start_processor(&[("HOOKLINE_FAIL_POINT", &format!("{place}:3"))]);
    let status = scene.processor.wait().await;
    assert!(!status.success(), "it was to be killed {place}, but ended by itself");
    scene.start_processor(&[]);
}

async fn processor_frozen(scene: &mut Scene) {
    let alone = assignments(&mut scene.processor).await;
    let mut two = scene.member("two");
    let shared = assigned(&mut two, 0.0).await;
    let before = assigned(&mut scene.processor, alone).await;
    scene.processor.signal(Signal::SIGSTOP);
    assigned(&mut two, shared).await;
    // Now the other one has every partition, and goes beyond what the frozen one holds.
    caught_up(&scene.stage.kafka).await;
    scene.processor.signal(Signal::SIGCONT);
    assigned(&mut scene.processor, before).await;
    assert!(two.terminate().await.success(), "the second processor did not end in good order");
}

/// How often partitions were assigned to it.
async fn assignments(processor: &mut Daemon) -> f64 {
    processor.metric("hookline_processor_rebalances_total", &["kind=\"assign\""]).await
}

/// Waits until that has happened more than `before` times.
async fn assigned(processor: &mut Daemon, before: f64) -> f64 {
    let more = async || Some(assignments(processor).await).filter(|count| *count > before);
    eventually("partitions to be assigned", DEADLINE, more).await
}

async fn clickhouse_killed(scene: &mut Scene) {
    for _ in 0..3 {
        scene.proxy.set(NetworkState::Slow(8 << 10));
        eventually("an insert under way", DEADLINE, async || {
            // One that waits for the rest of its body.
            let inserts = "system.processes WHERE query_kind = 'Insert' AND elapsed > 0.1";
            scene.stage.count(inserts).await.filter(|count| *count > 0)
        })
        .await;
        scene.clickhouse().kill();
        scene.proxy.set(NetworkState::Open);
        scene.clickhouse().restart().await;
    }
}

async fn network_cut(scene: &mut Scene) {
    // In the midst of a request, and after the last byte of one whose answer then never comes.
    for bytes in [1, 10 << 10, 30 << 10, 50 << 10] {
        scene.proxy.wait_for_bytes(bytes).await;
        scene.proxy.set(NetworkState::Cut);
        sleep(Duration::from_millis(700)).await;
        scene.proxy.set(NetworkState::Open);
    }
}

async fn network_slow(scene: &mut Scene) {
    scene.proxy.wait_for_bytes(1).await;
    scene.proxy.set(NetworkState::Slow(64 << 10));
    sleep(Duration::from_secs(3)).await;
    scene.proxy.set(NetworkState::Stalled);
    sleep(Duration::from_secs(3)).await;
    scene.proxy.set(NetworkState::Open);
}

async fn replay_killed(scene: &mut Scene) {
    // What is deleted now is in the topics, and nobody will write it again by himself.
    caught_up(&scene.stage.kafka).await;
    for (table, column) in [("deliveries", "signature"), ("jobs", "job_id")] {
        let rows =
            format!("DELETE FROM {table} WHERE cityHash64({column}) % 4 = 0 SETTINGS lightweight_deletes_sync = 2");
        change(&scene.stage, &rows).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("replay.json");
    let there = census(&scene.stage.kafka).await.expect("Kafka to answer");
    let mut replay = scene.stage.start_replay(&state, there.resources / 5);
    eventually("the middle of the replay", DEADLINE, async || {
        progress(&state).filter(|(done, planned)| done * 2 >= *planned)
    })
    .await;
    replay.kill();
    let (done, planned) = progress(&state).expect("a replay that was killed leaves its progress");
    assert!(done < planned, "the replay was at its end");
    let result = scene.stage.replay(&state).await;
    let repaired = |what: &str| result["repaired"][what].as_u64().unwrap();
    assert_eq!(result["records"], planned - done, "it did not go on where it was: {result:#}");
    assert!(repaired("deliveries") > 0 && repaired("jobs") > 0, "it repaired nothing: {result:#}");
}

/// Records that are done, and all that are planned.
fn progress(state: &Path) -> Option<(i64, i64)> {
    let state: Value = serde_json::from_slice(&std::fs::read(state).ok()?).ok()?;
    let parts = state["parts"].as_array()?;
    let sum = |from: &str, to: &str| {
        parts.iter().map(|part| Some(part[to].as_i64()? - part[from].as_i64()?)).sum::<Option<i64>>()
    };
    Some((sum("start", "next")?, sum("start", "end")?))
}
