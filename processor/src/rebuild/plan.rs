//! What a rebuild will read, how long that takes at the speed of a sample, and whether there is room for a second table.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use hookline_schemas::topics::Offset;
use hookline_service::cli::print_line;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::json;

use super::positions::{extend, from_committed};
use super::state::State;
use super::tables::Room;
use super::{BOTH, Rebuild};
use crate::replay::plan::{PartitionRange, offsets};
use crate::replay::report::{Display, count};
use crate::replay::source::SourceKind;

/// The speed and the size of records are measured on so many.
const SAMPLE: i64 = 20_000;

#[derive(Clone, Debug)]
pub struct Plan {
    pub ranges: Vec<PartitionRange>,
    records: u64,
    bytes: u64,
    seconds: u64,
    room: Room,
}

/// What reading and folding some records took.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    records: u64,
    bytes: u64,
    took: Duration,
}

impl Sample {
    fn of(self, records: u64) -> (u64, Duration) {
        let share = records as f64 / self.records.max(1) as f64;
        ((self.bytes as f64 * share) as u64, self.took.mul_f64(share))
    }
}

impl Rebuild {
    /// Plans what is left to read: all that the topics hold, for a rebuild that has not begun.
    pub fn plan(&self, known: Option<&State>) -> anyhow::Result<Plan> {
        let mut ranges = match known {
            Some(state) => state.ranges.clone(),
            None => self.first_ranges()?,
        };
        extend(&mut ranges, self.planned(&BOTH)?);
        let records = ranges.iter().map(|range| range.records() - range.done()).sum();
        let (bytes, took) = self.sample(&ranges)?.of(records);
        let at_rate = if self.display.rate == 0 { 0 } else { records.div_ceil(u64::from(self.display.rate)) };
        let seconds = at_rate.max(took.as_secs_f64().ceil() as u64 / u64::from(self.parallel.max(1)));
        let room = self.wait(self.tables.room())?;
        Ok(Plan { ranges, records, bytes, seconds, room })
    }

    /// What a rebuild that begins reads. Without Kafka as a source, the archive alone tells of what is in it, and the topics of the rest.
    fn first_ranges(&self) -> anyhow::Result<Vec<PartitionRange>> {
        if self.sources.contains(&SourceKind::Kafka) {
            return self.planned(&self.sources);
        }
        let in_topics = from_committed(&self.consumer, &self.planned(&[SourceKind::Kafka])?)?;
        Ok([self.planned(&self.sources)?, in_topics].concat())
    }

    fn sample(&self, ranges: &[PartitionRange]) -> anyhow::Result<Sample> {
        let Some(largest) = ranges.iter().max_by_key(|range| offsets(range.next, range.end)) else {
            return Ok(Sample::default());
        };
        let part = PartitionRange { end: Offset((largest.next.0 + SAMPLE).min(largest.end.0)), ..largest.clone() };
        let (sample, began) = (Mutex::new(Sample::default()), Instant::now());
        self.filler().fold(&[part], &|batch, _| {
            let mut sample = sample.lock().unwrap_or_else(PoisonError::into_inner);
            sample.records += batch.len() as u64;
            sample.bytes += batch.bytes() as u64;
        })?;
        let sample = sample.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Sample { took: began.elapsed(), ..sample })
    }
}

impl Plan {
    pub fn check_room(&self) -> anyhow::Result<()> {
        if !self.room.is_enough() {
            bail!(
                "there is no room for a second table: jobs takes {}, so {} are needed while it is built and merged, and the disks of jobs \
                 have {} left",
                HumanBytes(self.room.taken_bytes),
                HumanBytes(self.room.needed_bytes()),
                HumanBytes(self.room.free_bytes)
            );
        }
        Ok(())
    }

    pub fn print(&self, display: &Display) -> anyhow::Result<()> {
        let Self { ranges, records, bytes, seconds, room } = self;
        if display.json {
            let part = |part: &PartitionRange| json!({ "source": part.source, "log_id": part.log_id, "topic": part.topic, "partition": part.partition, "start": part.next, "end": part.end });
            print_line(json!({
                "records": records, "bytes": bytes, "seconds_at_least": seconds,
                "disk": { "needed_bytes": room.needed_bytes(), "free_bytes": room.free_bytes },
                "parts": ranges.iter().map(part).collect::<Vec<_>>(),
            }));
        } else {
            for part in ranges {
                let left = count(offsets(part.next, part.end), "record", "records");
                print_line(format_args!(
                    "{}/{}  {}..{}  {left}",
                    part.topic, part.partition.0, part.next.0, part.end.0
                ));
            }
            let (records, time) = (count(*records, "record", "records"), HumanDuration(Duration::from_secs(*seconds)));
            let rate = if display.rate == 0 {
                "without a limit".to_owned()
            } else {
                format!("at the limit of {}/s", HumanCount(u64::from(display.rate)))
            };
            print_line(format_args!(
                "{records}, about {}, at least {time} by the speed of a sample {rate}; disk: {} needed, {} free; nothing was written",
                HumanBytes(*bytes),
                HumanBytes(room.needed_bytes()),
                HumanBytes(room.free_bytes)
            ));
        }
        self.check_room()
    }
}
