//! What a rebuild says: how far it is, what it found, and what can be done next.

use std::time::Duration;

use hookline_service::cli::{print_line, printable};
use indicatif::{HumanCount, HumanDuration};
use serde_json::json;

use super::comparison::JobName;
use super::state::{Live, State, Step, diff_path};
use super::tables::Names;
use super::verify::Verdict;
use crate::replay::report::{Took, count, records};
use crate::state_file::StateFile;

/// What was done last, and what can be done next.
pub fn next(state: &State) -> &'static str {
    match state.step {
        Step::Filling => "the rebuild is being filled: `replay --rebuild` goes on",
        Step::Filled => "the rebuild is filled and not verified: `replay --rebuild` goes on",
        Step::Verified => {
            "the rebuild is verified, and the old table is live: `--swap` makes the new one live, `--drop` gives it up, and without a step it is \
             verified again"
        }
        Step::Swapping => "a swap has begun and not ended: `--swap` goes on, `--undo` takes it back",
        Step::Swapped => {
            "the new table is live: `--undo` brings the old one back, `--drop` drops it and ends the rebuild"
        }
        Step::Undoing => "an undo has begun and not ended: `--undo` goes on",
        Step::Undone => {
            "the old table is live again: `replay --rebuild` brings the new one up to date and verifies it again, `--drop` gives it up"
        }
        Step::Dropping => "the table that is not live is being dropped: `--drop` goes on",
    }
}

pub fn print_status(json: bool, file: &StateFile, state: Option<&State>, names: &Names) {
    let Some(state) = state else {
        if json {
            print_line(json!({ "step": null }));
        } else {
            print_line(format_args!("{file} does not exist: no rebuild has begun, or it has ended"));
        }
        return;
    };
    let live = state.named_jobs(names);
    if json {
        print_line(json!({
            "step": state.step, "live": live, "records": state.records(), "done": state.done(),
            "fold_version": state.fold_version, "verdict": state.verdict,
        }));
        return;
    }
    print_line(next(state));
    let (done, records) = (HumanCount(state.done()), count(state.records(), "record", "records"));
    print_line(format_args!("read: {done} of {records}, folded with version {}", state.fold_version));
    if let Some(verdict) = &state.verdict {
        print_verdict(false, file, verdict, None);
    }
}

/// How many records this process read into the shadow, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    pub records: u64,
    pub took: Took,
}

impl Filled {
    fn per_second(self) -> f64 {
        self.records as f64 / self.took.took.as_secs_f64().max(0.001)
    }
}

/// `filled` is told where this process filled the shadow.
pub fn print_verdict(json: bool, file: &StateFile, verdict: &Verdict, filled: Option<Filled>) {
    if json {
        let filled = filled.map(|filled| {
            let Filled { records, took: Took { took, waited } } = filled;
            json!({
                "records": records, "seconds": took.as_secs_f64(), "records_per_second": filled.per_second(),
                "waited_seconds": waited.as_secs_f64(),
            })
        });
        print_line(json!({
            "verdict": verdict, "changes": !verdict.changes_nothing(), "loses": verdict.loses(), "diff": diff_path(file),
            "filled": filled,
        }));
        return;
    }
    if let Some(filled) = filled {
        let (read, took) = (records(filled.records), HumanDuration(filled.took.took));
        print_line(format_args!("{read} in {took}, {}/s", HumanCount(filled.per_second().round() as u64)));
        if filled.took.waited >= Duration::from_secs(1) {
            print_line(format_args!("of that, {} were waited for live work", HumanDuration(filled.took.waited)));
        }
    }
    let Verdict { counts, jobs, moving, changed, added, lost, emptied, .. } = verdict;
    let Verdict { outcome, finished_at, durations, numbers, roll_up_hours, .. } = verdict;
    let number = HumanCount;
    print_line(format_args!(
        "deliveries: {} of {} jobs; {} jobs in the new table",
        number(counts.deliveries),
        number(counts.jobs),
        number(*jobs)
    ));
    if counts.repeated_deliveries > 0 {
        print_line(format_args!(
            "{} deliveries are there at more than one position",
            number(counts.repeated_deliveries)
        ));
    }
    if counts.absent > 0 {
        let (absent, examples) = (number(counts.absent), names(&counts.absent_examples));
        print_line(format_args!("jobs of deliveries that the new table does not have: {absent}, such as {examples}"));
    }
    if *moving > 0 {
        print_line(format_args!(
            "jobs with webhooks that one of the tables did not have yet: {}, not counted",
            number(*moving)
        ));
    }
    if verdict.changes_nothing() {
        print_line("the table was right: nothing changes");
        return;
    }
    print_line(format_args!(
        "jobs that change: {} (outcome {}, time of the end {}, durations {}, images or credits {}); new jobs: {}",
        number(*changed),
        number(*outcome),
        number(*finished_at),
        number(*durations),
        number(*numbers),
        number(*added)
    ));
    if verdict.loses() {
        print_line(format_args!("jobs that are lost: {}; jobs that lose a fact: {}", number(*lost), number(*emptied)));
    }
    print_line(format_args!("created hours whose roll-up changes: {}", number(*roll_up_hours)));
    print_line(format_args!("by day and column, with examples: {}", diff_path(file).display()));
}

fn names(jobs: &[JobName]) -> String {
    let name = |job: &JobName| printable(&format!("{}/{}/{}", job.source, job.resource, job.job_id));
    jobs.iter().map(name).collect::<Vec<_>>().join(", ")
}

pub fn print_exchanged(json: bool, state: &State) {
    if json {
        print_line(json!({ "step": state.step, "refreshed_hours": state.differing_hours.len() }));
        return;
    }
    let hours = count(state.differing_hours.len() as u64, "created hour", "created hours");
    print_line(format_args!("{}; the roll-up of {hours} is refreshed", next(state)));
}

pub fn print_not_exchanged(json: bool) {
    if json {
        print_line(json!({ "step": Step::Verified }));
    } else {
        print_line("the tables had not been exchanged yet: the old one is live, and the new one stays as it is");
    }
}

pub fn print_dropped(json: bool, live: Live) {
    if json {
        print_line(json!({ "step": "dropped", "live": live }));
    } else if live == Live::New {
        print_line("the old table is dropped: the rebuild is done");
    } else {
        print_line("the new table is dropped: the rebuild is given up, and the old table stays live");
    }
}
