//! A rebuild of `jobs` beside live traffic that is ended at one of its steps, goes on, and is taken back and forth in the end.

use std::fmt;
use std::path::Path;

use hookline_testkit::{Daemon, run_successfully, with};

use super::{PROCESSOR, Pipeline};

/// The signal that ends a rebuild at a fail point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// SIGKILL.
    Killed,
    /// SIGTERM.
    Terminated,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Terminated => "terminated",
        })
    }
}

/// The steps as an operator takes them.
const STEPS: [&[&str]; 5] = [&[], &["--swap"], &["--undo"], &[], &["--swap"]];

/// Runs the steps, the first one that comes to the fail point twice: it is ended there, and then goes on.
pub async fn end_rebuild(pipeline: &Pipeline, ending: Ending, fail_point: &str) {
    // No event tells this, and no later one takes it back: only a table that is built anew is right again.
    let wrong = "ALTER TABLE jobs UPDATE first_received_at = first_received_at - INTERVAL 1 SECOND WHERE cityHash64(job_id) % 4 = 0 \
                 SETTINGS mutations_sync = 2";
    pipeline.execute(wrong).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("rebuild.json");
    let plan = match ending {
        Ending::Killed => fail_point.to_owned(),
        Ending::Terminated => format!("{fail_point}:1:terminate"),
    };
    let environment = with(&pipeline.environment, &[("HOOKLINE_FAIL_POINT", &plan)]);
    let mut was_ended = false;
    for step in STEPS {
        if !was_ended {
            was_ended = !Daemon::start(PROCESSOR, &arguments(&state, step), &environment).wait().await.success();
        }
        if was_ended {
            run_successfully(PROCESSOR, &arguments(&state, step), &pipeline.environment).await;
        }
    }
    assert!(was_ended, "no step of the rebuild came to {fail_point}");
    run_successfully(PROCESSOR, &arguments(&state, &["--drop"]), &pipeline.environment).await;
}

fn arguments<'a>(state: &'a Path, step: &[&'a str]) -> Vec<&'a str> {
    let always = ["replay", "--rebuild", "--json", "--rate", "0", "--state", state.to_str().unwrap()];
    [&always, step].concat()
}
