//! Ends a redrive at some step, or takes a server away from it, and continues it. The letters are of webhooks that come an hour late, beside the live ones.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::SigningKey;
use hookline_testkit::{Daemon, NetworkState, Signal, eventually, run_successfully, with};
use serde_json::Value;
use tokio::time::sleep;

use super::traffic::SECRET;
use super::{DEADLINE, PROCESSOR, Pipeline};
use crate::ledger::{Answer, Attempt, sha256_hex};
use crate::plan::{Settings, Timing, plan};
use crate::provider_time::ProviderTime;

/// More than a page of letters.
const JOBS: usize = 150;
/// How long a server is away.
const AWAY: Duration = Duration::from_secs(3);

/// The server that is away while letters are redriven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Away {
    ClickHouse,
    Kafka,
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClickHouse => "ClickHouse",
            Self::Kafka => "Kafka",
        })
    }
}

/// SIGKILL at a fail point.
pub async fn kill(pipeline: &Pipeline, fail_point: &str) -> Vec<Attempt> {
    let attempts = send_late(pipeline).await;
    let folder = tempfile::tempdir().unwrap();
    let state = planned(pipeline, folder.path(), attempts.len()).await;
    let mut redrive = start(pipeline, &state, "0", &[("HOOKLINE_FAIL_POINT", fail_point)]);
    assert!(!redrive.wait().await.success(), "the redrive was to be killed at {fail_point}, but ended by itself");
    finish(pipeline, &state, attempts.len()).await;
    attempts
}

/// SIGTERM once a page is done.
pub async fn terminate(pipeline: &Pipeline) -> Vec<Attempt> {
    let (attempts, mut redrive, plan) = under_way(pipeline).await;
    redrive.signal(Signal::SIGTERM);
    assert_eq!(redrive.wait().await.code(), Some(1), "a redrive that is not finished says so");
    finish(pipeline, &plan.state(), attempts.len()).await;
    attempts
}

/// A server is away for some seconds once a page is done. The redrive waits for it, and leaves nothing to send.
pub async fn outage(pipeline: &mut Pipeline, away: Away) -> Vec<Attempt> {
    let (attempts, mut redrive, plan) = under_way(pipeline).await;
    match away {
        Away::ClickHouse => {
            pipeline.proxy.set(NetworkState::Cut);
            sleep(AWAY).await;
            pipeline.proxy.set(NetworkState::Open);
        }
        Away::Kafka => {
            pipeline.own_kafka().kill(1).await;
            sleep(AWAY).await;
            pipeline.own_kafka().restart(1).await;
        }
    }
    let status = redrive.wait().await;
    assert!(status.success(), "the redrive ended with {status}:\n{}", redrive.log().join("\n"));
    planned(pipeline, plan.0.path(), 0).await;
    attempts
}

/// The folder of a plan.
struct Plan(tempfile::TempDir);

impl Plan {
    fn state(&self) -> PathBuf {
        self.0.path().join("plan.json")
    }
}

/// A slow redrive that has done a page.
async fn under_way(pipeline: &Pipeline) -> (Vec<Attempt>, Daemon, Plan) {
    let attempts = send_late(pipeline).await;
    let plan = Plan(tempfile::tempdir().unwrap());
    let state = planned(pipeline, plan.0.path(), attempts.len()).await;
    let redrive = start(pipeline, &state, "20", &[]);
    eventually("a page of the redrive", DEADLINE, async || {
        let plan: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        let sent = plan["done"]["redriven"].as_object()?.values().filter_map(Value::as_u64).sum::<u64>();
        (sent > 0).then_some(())
    })
    .await;
    (attempts, redrive, plan)
}

/// Sends the webhooks of some jobs an hour after they were signed. Each is a dead letter then.
async fn send_late(pipeline: &Pipeline) -> Vec<Attempt> {
    let now = ProviderTime::now();
    let settings = Settings {
        jobs: JOBS,
        // Other jobs each time.
        seed: u64::try_from(now.0).unwrap(),
        timing: Timing::Past(Duration::from_secs(120)),
        duplicates: 0.0,
        shuffle: 0.0,
        missing_started: 0.0,
        foreign: 0.0,
    };
    let before = stale(pipeline).await.unwrap();
    let (client, key) = (reqwest::Client::new(), SigningKey::new(SECRET));
    let mut attempts = Vec::new();
    for delivery in plan(&settings, now.before(Duration::from_secs(3_600))) {
        let signed_at_text = delivery.signed_at.second().to_string();
        let signature = key.sign(&signed_at_text, &delivery.body).to_hex().to_string();
        let body_sha256 = sha256_hex(&delivery.body);
        let request = client.post(pipeline.url.clone()).body(delivery.body);
        let request = request.header(TIMESTAMP_HEADER, &signed_at_text).header(SIGNATURE_HEADER, &signature);
        let answer = Answer::Status(request.send().await.unwrap().status().as_u16());
        assert_eq!(answer, Answer::Status(401), "what is signed an hour ago is refused");
        attempts.push(Attempt {
            source: "magichour".into(),
            event_type: delivery.event_type,
            job_id: delivery.job_id,
            created_at: delivery.created_at,
            event_at: delivery.event_at,
            attempt: 1,
            sent_at: ProviderTime::now(),
            signed_at_text,
            signature,
            body_sha256,
            answer,
        });
    }
    let wanted = before + attempts.len() as u64;
    eventually("the late webhooks as dead letters", DEADLINE, async || {
        stale(pipeline).await.filter(|letters| *letters == wanted)
    })
    .await;
    attempts
}

async fn stale(pipeline: &Pipeline) -> Option<u64> {
    pipeline.count("dead_letters FINAL WHERE reason = 'stale'").await
}

/// Plans to send all letters that came too late and gives the plan's file.
async fn planned(pipeline: &Pipeline, folder: &Path, letters: usize) -> PathBuf {
    let state = folder.join("plan.json");
    let arguments = ["redrive", "--json", "--reason", "stale", "--state", state.to_str().unwrap()];
    let planned: Value =
        serde_json::from_slice(&run_successfully(PROCESSOR, &arguments, &pipeline.environment).await).unwrap();
    assert_eq!(planned["sent"], letters, "{planned:#}");
    state
}

fn start(pipeline: &Pipeline, state: &Path, rate: &str, more: &[(&str, &str)]) -> Daemon {
    let arguments = ["redrive", "--execute", "--rate", rate, "--state", state.to_str().unwrap()];
    Daemon::start(PROCESSOR, &arguments, &with(&pipeline.environment, more))
}

/// Continues the redrive to its end, and asserts that a new plan finds nothing to send.
async fn finish(pipeline: &Pipeline, state: &Path, letters: usize) {
    let arguments = ["redrive", "--execute", "--json", "--rate", "0", "--state", state.to_str().unwrap()];
    let executed: Value =
        serde_json::from_slice(&run_successfully(PROCESSOR, &arguments, &pipeline.environment).await).unwrap();
    let outcomes = &executed["outcomes"];
    let (sent, there) = (executed["sent"].as_u64().unwrap(), outcomes["already_there"].as_u64().unwrap());
    assert!(sent + there >= letters as u64, "not every letter was looked at: {executed:#}");
    planned(pipeline, state.parent().unwrap(), 0).await;
    std::fs::remove_file(state).unwrap();
}
