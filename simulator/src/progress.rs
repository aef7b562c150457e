//! Shows how far sending is: a bar on a terminal, a line every few seconds elsewhere.

use std::time::{Duration, Instant};

use hookline_service::telemetry;
use humantime::format_duration;
use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::Delivery;
use crate::provider_time::ProviderTime;

const BAR_INTERVAL: Duration = Duration::from_secs(1);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// When the webhooks of a plan are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Each when it is due, and the last one this long after the start.
    Due(Duration),
    /// One after the other, as fast as they are answered or as the rate allows.
    AtOnce,
}

impl Schedule {
    /// The schedule of `plan`, which is in the order of sending; jobs of the past are all due at once.
    pub fn of(plan: &[Delivery], is_past: bool, now: ProviderTime) -> Self {
        if is_past {
            return Self::AtOnce;
        }
        Self::Due(plan.last().map_or(Duration::ZERO, |last| last.due.since(now)))
    }

    /// The time that is left, as far as it is known: what remains of the plan, or as long as `done` of `all` webhooks took for
    /// each of the rest. Retries have no plan.
    fn left(self, elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
        match self {
            Self::Due(end) => Some(end.saturating_sub(elapsed)).filter(|left| !left.is_zero()),
            Self::AtOnce if done == 0 => None,
            Self::AtOnce => Some(elapsed.mul_f64(all.saturating_sub(done) as f64 / done as f64)),
        }
    }
}

/// What to say after `elapsed`.
fn message(schedule: Schedule, elapsed: Duration, done: u64, all: u64) -> String {
    let left = match schedule.left(elapsed, done, all) {
        Some(left) => format!("about {} left", format_duration(whole_seconds(left))),
        None if done == 0 => "none was acknowledged yet".to_owned(),
        None => "all were sent, the rest is tried again".to_owned(),
    };
    format!("{done} of {all} webhooks acknowledged or given up, {left}")
}

/// Rounds up, so that nothing has no time left before it is done.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

/// The bar whose position counts the webhooks that are done. It draws nothing where there is no terminal.
pub fn bar(webhooks: usize) -> ProgressBar {
    // The template is a constant.
    let style = ProgressStyle::with_template("{bar:24} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(webhooks as u64).with_style(style)
}

/// Tells until it is dropped.
pub async fn tell(bar: ProgressBar, schedule: Schedule) {
    let all = bar.length().unwrap_or(0);
    let began = Instant::now();
    if let Schedule::Due(end) = schedule {
        let end = format_duration(whole_seconds(end));
        telemetry::print_line(format_args!(
            "{all} webhooks, the last one in {end}; a larger --speed is faster, --past 4m takes seconds"
        ));
    }
    let interval = if bar.is_hidden() { LINE_INTERVAL } else { BAR_INTERVAL };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let text = message(schedule, began.elapsed(), bar.position(), all);
        if !bar.is_hidden() {
            bar.set_message(text);
        } else if began.elapsed() >= interval {
            telemetry::print_line(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_left_is_what_remains_of_the_plan() {
        let due = Schedule::Due(seconds(1_400));
        // A quarter of the webhooks is done after a tenth of the time: the longest job decides, not the average.
        assert_eq!(due.left(seconds(140), 1_000, 4_000), Some(seconds(1_260)));
        assert_eq!(due.left(seconds(1_400), 3_990, 4_000), None);
        assert_eq!(Schedule::AtOnce.left(seconds(2), 1_000, 4_000), Some(seconds(6)));
        assert_eq!(Schedule::AtOnce.left(seconds(2), 0, 4_000), None);
    }

    #[test]
    fn a_message_says_how_far_it_is() {
        let text = message(Schedule::Due(seconds(1_400)), Duration::from_millis(139_900), 1_000, 4_000);
        assert_eq!(text, "1000 of 4000 webhooks acknowledged or given up, about 21m 1s left");
        let text = message(Schedule::Due(seconds(10)), seconds(11), 3_999, 4_000);
        assert!(text.ends_with("all were sent, the rest is tried again"), "{text}");
        assert!(message(Schedule::AtOnce, seconds(5), 0, 1).ends_with("none was acknowledged yet"));
    }
}
