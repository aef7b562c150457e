//! What a replay says: its plan, how far it is, and what it repaired.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hookline_service::cli::print_line;
use hookline_service::kafka::KafkaContext;
use hookline_service::telemetry;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::TIMEOUT;
use super::plan::PartitionRange;
use super::progress::{Progress, Repaired};
use super::read::Position;
use super::source::SourceKind;

/// The bar of the records.
pub const RECORDS: &str = "{bar:30} {human_pos} of {human_len} records, {speed}";
/// How often a replay without a terminal says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A dry run estimates the size of the records from this many.
const SAMPLE: usize = 500;

/// Writes a number with its noun.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

fn records(number: u64) -> String {
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

    /// Says every few seconds how far the replay is, where no terminal shows the bar.
    pub fn lines(&self, bar: &ProgressBar, done_before: u64, runtime: &Handle) -> JoinHandle<()> {
        let (bar, is_silent, began) = (bar.clone(), self.json || !bar.is_hidden(), Instant::now());
        runtime.spawn(async move {
            if is_silent {
                return;
            }
            loop {
                tokio::time::sleep(LINE_EVERY).await;
                let (done, length) = (bar.position(), bar.length().unwrap_or_default());
                let speed = Speed { done_before, done, records: length, took: began.elapsed() };
                telemetry::print_line(format_args!("{} of {}, {speed}", HumanCount(done), records(length)));
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

    /// Prints a plan; `consumer` is there where Kafka is read from.
    pub fn print_plan(&self, consumer: Option<&BaseConsumer<KafkaContext>>, progress: &Progress) -> anyhow::Result<()> {
        let left = progress.records() - progress.done();
        let of_kafka = progress.parts.iter().filter(|part| part.source == SourceKind::Kafka);
        let sample = of_kafka.max_by_key(|part| part.records()).zip(consumer);
        let size = sample.map_or(Ok(0), |(part, consumer)| mean_size(consumer, part))?;
        let bytes = left * size;
        let seconds = (self.rate > 0).then(|| left.div_ceil(u64::from(self.rate)));
        if self.json {
            let part = |part: &PartitionRange| json!({ "topic": part.topic, "partition": part.partition, "start": part.next, "end": part.end });
            let parts: Vec<_> = progress.parts.iter().map(part).collect();
            print_line(json!({
                "records": left, "bytes": bytes, "seconds_at_least": seconds, "expired": progress.repaired.expired, "parts": parts,
            }));
            return Ok(());
        }
        for part in &progress.parts {
            print_line(format_args!(
                "{}/{}  {}..{}  {}",
                part.topic,
                part.partition.0,
                part.next.0,
                part.end.0,
                records(part.records() - part.done())
            ));
        }
        self.print_expired(progress);
        let time = seconds.map_or("as fast as ClickHouse takes them".to_owned(), |seconds| {
            let (least, rate) = (HumanDuration(Duration::from_secs(seconds)), HumanCount(u64::from(self.rate)));
            format!("at least {least} at the limit of {rate}/s")
        });
        print_line(format_args!(
            "{}, about {}, {time}; ClickHouse may take longer, and a replay that runs tells the time left by its own speed; nothing \
             was written",
            records(left),
            HumanBytes(bytes)
        ));
        Ok(())
    }

    fn print_expired(&self, progress: &Progress) {
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

    pub fn print_result(&self, progress: &Progress, stopped: &[Position], read: u64, took: Duration) {
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
                "expired": expired, "hours": progress.refreshed_hours.len(), "changed": !progress.repaired.is_nothing(),
                "stopped": stopped,
            });
            print_line(result);
            return;
        }
        let speed = HumanCount(speed.round() as u64);
        print_line(format_args!("{} in {}, {speed}/s", records(read), HumanDuration(took)));
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
            print_line(format_args!(
                "jobs that were absent: {}; jobs whose facts changed: {}",
                HumanCount(jobs),
                HumanCount(jobs_changed)
            ));
        }
    }
}

/// Reads the first records of a part for the mean of their bytes.
fn mean_size(consumer: &BaseConsumer<KafkaContext>, part: &PartitionRange) -> anyhow::Result<u64> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&part.topic, part.partition.0, Offset::Offset(part.next.0))?;
    consumer.assign(&from)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut sizes = Vec::with_capacity(SAMPLE);
    while sizes.len() < SAMPLE && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => sizes.push((message.key_len() + message.payload_len()) as u64),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1))
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
