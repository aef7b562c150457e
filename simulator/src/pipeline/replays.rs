//! Faults of a replay: it ends in the middle, beside live traffic, and is continued.

use std::fmt;
use std::path::Path;

use hookline_testkit::{eventually, topic_offsets};
use serde_json::Value;

use super::assertions::wait_until_caught_up;
use super::{DEADLINE, Pipeline};

/// What a replay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplaySource {
    Kafka,
    Deliveries,
}

/// How a replay ends before its plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplayEnd {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM.
    Terminated,
}

impl ReplaySource {
    /// As the command names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Deliveries => "deliveries",
        }
    }

    /// The tables that such a replay repairs, each with a column that says which rows are lost.
    const fn repaired(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Kafka => &[("deliveries", "signature"), ("jobs", "job_id")],
            Self::Deliveries => &[("jobs", "job_id")],
        }
    }
}

impl fmt::Display for ReplaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ReplayEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Terminated => "terminated",
        })
    }
}

pub async fn end_replay(pipeline: &Pipeline, source: ReplaySource, end: ReplayEnd) {
    // Rows that are deleted now are committed in the topics, so no live processor writes them again.
    wait_until_caught_up(&pipeline.kafka).await;
    for (table, column) in source.repaired() {
        let delete =
            format!("DELETE FROM {table} WHERE cityHash64({column}) % 4 = 0 SETTINGS lightweight_deletes_sync = 2");
        pipeline.execute(&delete).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("replay.json");
    let offsets = topic_offsets(&pipeline.kafka).await.expect("an answer of the brokers");
    let mut replay = pipeline.start_replay(source, &state, offsets.resource_records / 5);
    eventually("the middle of the replay", DEADLINE, async || {
        replayed_and_planned(&state).filter(|(replayed, planned)| replayed * 2 >= *planned)
    })
    .await;
    match end {
        ReplayEnd::Killed => replay.kill(),
        ReplayEnd::Terminated => assert_eq!(replay.terminate().await.code(), Some(1), "it ended whole"),
    }
    let (replayed, planned) = replayed_and_planned(&state).expect("a replay that is not whole leaves its state file");
    assert!(replayed < planned, "the replay had ended before it was {end}");
    let report = pipeline.replay(source, &state).await;
    let repaired = |table: &str| report["repaired"][table].as_u64().unwrap();
    assert_eq!(report["records"], planned - replayed, "the replay did not continue where it was {end}: {report:#}");
    for (table, _) in source.repaired() {
        assert!(repaired(table) > 0, "the replay repaired nothing of {table}: {report:#}");
    }
}

/// Counts the records that the state file of a replay tells of.
fn replayed_and_planned(state: &Path) -> Option<(i64, i64)> {
    let state: Value = serde_json::from_slice(&std::fs::read(state).ok()?).ok()?;
    let parts = state["parts"].as_array()?;
    let sum = |from: &str, to: &str| {
        parts.iter().map(|part| Some(part[to].as_i64()? - part[from].as_i64()?)).sum::<Option<i64>>()
    };
    Some((sum("start", "next")?, sum("start", "end")?))
}
