//! What a replay says: its plan, how far it is, and what it repaired.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hookline_service::cli::print_line;
use hookline_service::telemetry;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::progress::{LeftOut, Progress, Repaired};
use super::read::Position;

/// The bar of the records.
pub const RECORDS: &str = "{bar:30} {human_pos} of {human_len} records, {speed}{msg}";
/// How often a replay without a terminal says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Writes a number with its noun.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

pub fn records(number: u64) -> String {
    count(number, "record", "records")
}

/// How fast a replay has been since this process began.
#[derive(Clone, Copy, Debug)]
struct Speed {
    /// What an earlier process did says nothing about this one.
    done_before: u64,
    done: u64,
    records: u64,
    took: Duration,
}

impl Speed {
    fn per_second(self) -> f64 {
        self.done.saturating_sub(self.done_before) as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// The time that the rest takes at the speed so far; `None` before anything is done.
    fn left(self) -> Option<Duration> {
        let speed = self.per_second();
        let seconds = self.records.saturating_sub(self.done) as f64 / speed;
        (speed > 0.0).then(|| Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(Duration::MAX))
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.left() {
            Some(left) => {
                write!(formatter, "{}/s, {} left", HumanCount(self.per_second().round() as u64), HumanDuration(left))
            }
            None => formatter.write_str("nothing is written yet"),
        }
    }
}

/// How long a replay took, and how much of that it waited for live work.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub took: Duration,
    pub waited: Duration,
}

/// How the replay speaks: for people or for programs.
#[derive(Clone, Copy, Debug)]
pub struct Display {
    pub json: bool,
    /// The most records a second; 0 means no limit.
    pub rate: u32,
}

impl Display {
    pub fn bar(&self, length: u64, done: u64, template: &str) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length).with_position(done);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.with_style(style.with_key("speed", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let (records, took) = (state.len().unwrap_or_default(), state.elapsed());
            let _ = write!(out, "{}", Speed { done_before: done, done: state.pos(), records, took });
        }))
    }

    /// Says every few seconds how far it is, where no terminal shows the bar, and what it waits for, if that is anything.
    pub fn lines(
        &self,
        bar: &ProgressBar,
        waits_for: impl Fn() -> Option<String> + Send + 'static,
        done_before: u64,
        runtime: &Handle,
    ) -> JoinHandle<()> {
        let (bar, json, began) = (bar.clone(), self.json, Instant::now());
        runtime.spawn(async move {
            if json {
                return;
            }
            loop {
                tokio::time::sleep(LINE_EVERY).await;
                let waiting = waits_for().map_or(String::new(), |what| format!("; waiting, for {what}"));
                if bar.is_hidden() {
                    let (done, length) = (bar.position(), bar.length().unwrap_or_default());
                    let speed = Speed { done_before, done, records: length, took: began.elapsed() };
                    let done = HumanCount(done);
                    telemetry::print_line(format_args!("{done} of {}, {speed}{waiting}", records(length)));
                }
                bar.set_message(waiting);
            }
        })
    }

    pub fn print_resumed(&self, state: &Path, progress: &Progress) {
        if !self.json {
            let (done, all) = (HumanCount(progress.done()), records(progress.records()));
            print_line(format_args!("continuing from {}: {done} of {all} are done", state.display()));
        }
    }

    pub fn note(&self, note: &str) {
        telemetry::print_line(format_args!("note: {note}"));
    }

    pub fn print_expired(&self, progress: &Progress) {
        let expired = progress.repaired.expired;
        if expired > 0 {
            print_line(format_args!(
                "{} of the range that was asked for, or of the plan, are no longer in the topics",
                records(expired)
            ));
        }
    }

    /// The error of a replay that did not reach its end: why, how far it came, and what is stale.
    pub fn not_finished(&self, why: Option<anyhow::Error>, progress: &Progress, stale: usize) -> anyhow::Error {
        let (done, all) = (HumanCount(progress.done()), records(progress.records()));
        let mut text = format!("stopped after {done} of {all}");
        if progress.repaired.expired > 0 {
            let _ = write!(text, ", of which the topics no longer have {}", HumanCount(progress.repaired.expired));
        }
        if stale > 0 {
            let hours = count(stale as u64, "created hour", "created hours");
            let _ = write!(text, "; the roll-up of {hours} could not be refreshed and is stale until then");
        }
        text.push_str(": run the same command again to continue");
        match why {
            Some(why) => anyhow::anyhow!("{why:#}; {text}"),
            None => anyhow::Error::msg(text),
        }
    }

    /// The error of a replay that is done, and made nothing of some records.
    pub fn left_out(&self, left_out: &LeftOut) -> anyhow::Error {
        let mut text =
            "the replay is done, and nothing was made of some records; what stands of them in the tables stays"
                .to_owned();
        let LeftOut { signature_invalid, key_not_configured, unreadable, refused } = left_out;
        if *signature_invalid > 0 {
            let _ = write!(text, "; {} with a wrong signature, which the log names", records(*signature_invalid));
        }
        for (key, number) in key_not_configured {
            let number = records(*number);
            let _ = write!(
                text,
                "; {number} signed with the key {key}, which is not configured: add its secret to `sources`"
            );
        }
        if *unreadable > 0 {
            let _ = write!(text, "; {} of the archive that cannot be read, which the log names", records(*unreadable));
        }
        if *refused > 0 {
            let _ = write!(text, "; {} that ClickHouse refuses, which the log names", count(*refused, "row", "rows"));
        }
        anyhow::Error::msg(text)
    }

    pub fn print_result(&self, progress: &Progress, stopped: &[Position], read: u64, took: Took) {
        let Took { took, waited } = took;
        let Repaired { deliveries, deliveries_changed, dead_letters, jobs, jobs_changed, expired, .. } =
            progress.repaired;
        let speed = read as f64 / took.as_secs_f64().max(0.001);
        if self.json {
            let result = json!({
                "records": read, "seconds": took.as_secs_f64(), "records_per_second": speed,
                "repaired": {
                    "deliveries": deliveries, "deliveries_changed": deliveries_changed, "dead_letters": dead_letters, "jobs": jobs,
                    "jobs_changed": jobs_changed,
                },
                "left_out": progress.left_out, "waited_seconds": waited.as_secs_f64(),
                "expired": expired, "hours": progress.refreshed_hours.len(), "changed": !progress.repaired.is_nothing(),
                "stopped": stopped,
            });
            print_line(result);
            return;
        }
        let speed = HumanCount(speed.round() as u64);
        print_line(format_args!("{} in {}, {speed}/s", records(read), HumanDuration(took)));
        if waited >= Duration::from_secs(1) {
            print_line(format_args!("of that, {} were waited for live work", HumanDuration(waited)));
        }
        self.print_expired(progress);
        for Position { topic, partition, offset } in stopped {
            print_line(format_args!("{topic}/{}: stopped at {}", partition.0, offset.0));
        }
        if progress.repaired.is_nothing() && !stopped.is_empty() {
            print_line("inserted nothing");
        } else if progress.repaired.is_nothing() && progress.records() == 0 {
            print_line("the topics have no records of that range: nothing changed");
        } else if progress.repaired.is_nothing() {
            print_line("the tables were right: nothing changed");
        } else {
            print_line(format_args!(
                "inserted what was missing: {}, {}",
                count(deliveries, "delivery", "deliveries"),
                count(dead_letters, "dead letter", "dead letters")
            ));
            if deliveries_changed > 0 {
                let rows = count(deliveries_changed, "delivery", "deliveries");
                print_line(format_args!("written anew, because their bodies are read otherwise today: {rows}"));
            }
            print_line(format_args!(
                "jobs that were absent: {}; jobs whose facts changed: {}",
                HumanCount(jobs),
                HumanCount(jobs_changed)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_speed_so_far() {
        let speed = |done_before, done, seconds| {
            Speed { done_before, done, records: 9_497, took: Duration::from_secs(seconds) }.to_string()
        };
        assert_eq!(speed(0, 0, 3), "nothing is written yet");
        assert_eq!(speed(0, 2_670, 2), "1,335/s, 6 seconds left");
        assert_eq!(speed(4_000, 4_000, 9), "nothing is written yet", "an earlier process says nothing of this one");
        assert_eq!(speed(9_000, 9_010, 10), "1/s, 8 minutes left");
        assert_eq!(speed(0, 9_497, 7), "1,357/s, 0 seconds left");
    }

    #[test]
    fn numbers_have_separators_and_nouns_their_number() {
        let deliveries = |number| count(number, "delivery", "deliveries");
        assert_eq!([0, 1, 9_497].map(deliveries), ["0 deliveries", "1 delivery", "9,497 deliveries"]);
    }
}
