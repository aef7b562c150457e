//! What a redrive says: its plan, how far it is, and what became of the letters.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use hookline_service::cli::{print, print_line, printable};
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::plan::{Plan, Tally};
use crate::replay::report::{Display, count};

/// The width that every line keeps.
const WIDTH: usize = 80;

pub struct Report {
    pub json: bool,
    /// The most letters a second; 0 means no limit.
    pub rate: u32,
    pub state: PathBuf,
}

fn letters(number: u64) -> String {
    count(number, "letter", "letters")
}

/// Makes text from outside fit into what is left of a line after `used` columns, without control characters.
pub fn fitted(text: &str, used: usize) -> String {
    let text = printable(text);
    let room = WIDTH.saturating_sub(used);
    match text.char_indices().nth(room) {
        None => text,
        Some(_) => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
    }
}

impl Report {
    fn display(&self) -> Display {
        Display { json: self.json, rate: self.rate }
    }

    pub fn bar(&self, plan: &Plan) -> ProgressBar {
        const LETTERS: &str = "{bar:30} {human_pos} of {human_len} letters, {speed}";
        self.display().bar(plan.planned.letters(), plan.done.letters(), LETTERS)
    }

    pub fn lines(&self, bar: &ProgressBar, done_before: u64, runtime: &Handle) -> JoinHandle<()> {
        self.display().lines(bar, || None, done_before, runtime)
    }

    pub fn print_plan(&self, plan: &Plan) {
        let state = self.state.display();
        if self.json {
            return print_line(json!({
                "letters": plan.planned.letters(), "sent": plan.planned.sent(), "outcomes": plan.planned, "state": state.to_string(),
            }));
        }
        if plan.planned.letters() == 0 {
            print_line("no dead letter was selected; `hookline-processor dead-letters` lists all");
            return;
        }
        print(lines(&plan.planned, plan.max_redrives, "would be sent back"));
        if plan.planned.sent() == 0 {
            print_line("nothing is to be sent: the tables would not change");
            return;
        }
        let seconds = (self.rate > 0).then(|| plan.planned.sent().div_ceil(u64::from(self.rate)));
        let time = seconds.map_or("as fast as Kafka takes them".to_owned(), |seconds| {
            format!("in {} at least", HumanDuration(Duration::from_secs(seconds)))
        });
        print_line(format_args!("nothing was sent. To send {}, {time}:", letters(plan.planned.sent())));
        print_line(format_args!("  hookline-processor redrive --execute --state {state}"));
    }

    pub fn print_result(&self, plan: &Plan, looked_at: u64, took: Duration) {
        if self.json {
            return print_line(json!({
                "letters": plan.done.letters(), "sent": plan.done.sent(), "outcomes": plan.done, "changed": plan.done.sent() > 0,
                "seconds": took.as_secs_f64(), "letters_per_second": looked_at as f64 / took.as_secs_f64().max(0.001),
            }));
        }
        print(lines(&plan.done, plan.max_redrives, "were sent back"));
        print_line(match plan.done.sent() {
            0 => "nothing was sent: the tables did not change".to_owned(),
            sent => {
                let sent = letters(sent);
                format!("{sent} in {}; the live group reads them like any other", HumanDuration(took))
            }
        });
    }

    /// The error of a redrive that did not reach its end.
    pub fn not_finished(&self, why: Option<anyhow::Error>, plan: &Plan) -> anyhow::Error {
        let (done, all) = (HumanCount(plan.done.letters()), letters(plan.planned.letters()));
        let state = self.state.display();
        let text = format!(
            "stopped after {done} of {all}: `hookline-processor redrive --execute --state {state}` continues, and looks first for \
             what has arrived"
        );
        match why {
            Some(why) => anyhow::anyhow!("{why:#}; {text}"),
            None => anyhow::Error::msg(text),
        }
    }
}

/// One line for each outcome, and below it a sample.
fn lines(tally: &Tally, max_redrives: u16, sent: &str) -> String {
    let mut text = String::new();
    let mut add = |name: &str, number: u64, sample: &str, about: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:>11}  {}", HumanCount(number).to_string(), fitted(name, 13));
        for line in
            [about.to_owned(), tally.samples.get(sample).map(|sample| format!("such as {sample}")).unwrap_or_default()]
        {
            if !line.is_empty() {
                let _ = writeln!(text, "             {}", fitted(&line, 13));
            }
        }
    };
    for (event, number) in tally.redriven.iter().filter(|(_, number)| **number > 0) {
        add(&format!("{sent} as {event}"), *number, event, "");
    }
    if tally.refused_before > 0 {
        let about = "the live group finds out whether it takes them now";
        add("of these were refused by a table", tally.refused_before, "", about);
    }
    for (reason, number) in &tally.not_processable {
        add(&format!("still cannot be processed: {reason}"), *number, reason, "");
    }
    for (name, number, sample) in [
        ("are there already, as other records", tally.already_there, "already_there"),
        ("have lost their body", tally.body_lost, "body_lost"),
    ] {
        if number > 0 {
            add(name, number, sample, "");
        }
    }
    if tally.too_often > 0 {
        let name = format!("were sent back {max_redrives} times or more, see --max-redrives");
        add(&name, tally.too_often, "too_often", "");
    }
    if tally.sent() > 0 {
        let (absent, changed) = (HumanCount(tally.jobs_absent), HumanCount(tally.jobs_changed));
        let _ = writeln!(text, "of the jobs, {absent} were absent, and of {changed} a fact was missing");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_line_within_80_columns() {
        let long = "x".repeat(200);
        let tally = Tally {
            redriven: [("video.completed".into(), 1_200), ("audio.started".into(), 0)].into(),
            refused_before: 7,
            already_there: 2,
            not_processable: [("unknown_type".into(), 3)].into(),
            too_often: 1,
            body_lost: 4,
            jobs_absent: 5,
            jobs_changed: 6,
            samples: [("unknown_type".into(), format!("t/0/1: \u{1b}[2J{long}"))].into(),
        };
        let text = lines(&tally, 3, "would be sent back");
        for part in [
            "      1,200  would be sent back as video.completed\n",
            "          7  of these were refused by a table\n",
            "          3  still cannot be processed: unknown_type\n             such as t/0/1: \\u001b[2Jxxx",
            "          2  are there already",
            "          4  have lost their body\n",
            "          1  were sent back 3 times or more, see --max-redrives\n",
            "of the jobs, 5 were absent, and of 6 a fact was missing\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("audio.started"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
