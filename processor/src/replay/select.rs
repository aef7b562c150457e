//! The arguments that select what a replay reads.

use std::str::FromStr;

use clap::Args;
use clap::builder::TypedValueParser as _;
use hookline_schemas::topics::{Offset, Partition, Topic};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Selects records; without an argument, everything that the topics hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct Selection {
    /// Records appended at or after this time: RFC 3339, or an age such as 90m, 2h, 7d
    #[arg(long, value_name = "TIME", conflicts_with = "offsets")]
    pub from: Option<Moment>,
    /// Records appended before this time: RFC 3339, or an age such as 90m, 2h, 7d
    #[arg(long, value_name = "TIME", conflicts_with = "offsets")]
    pub to: Option<Moment>,
    /// Only these offsets of each selected partition, START included and END not, such as 1000..2000
    #[arg(long, value_name = "START..END")]
    pub offsets: Option<OffsetRange>,
    /// Only this resource: video, image, audio, or dead-letter; may be given several times
    #[arg(long = "resource", value_name = "RESOURCE")]
    pub resources: Vec<Topic>,
    /// Only this partition; may be given several times
    #[arg(long = "partition", value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..).map(Partition))]
    pub partitions: Vec<Partition>,
}

impl Selection {
    pub fn wants_topic(&self, topic: Topic) -> bool {
        self.resources.is_empty() || self.resources.contains(&topic)
    }

    pub fn wants_partition(&self, partition: Partition) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }
}

/// A point in time, Unix milliseconds, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Unix milliseconds.
    At(i64),
    /// Seconds before now.
    Ago(i64),
}

impl Moment {
    /// Unix milliseconds.
    pub fn as_millis(self, now: OffsetDateTime) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::Ago(seconds) => (now.unix_timestamp() - seconds) * 1000,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(at.unix_timestamp() * 1000 + i64::from(at.millisecond())));
        }
        let expected = || format!("{text:?} is neither RFC 3339 nor an age such as 30s, 90m, 2h, 7d");
        let age = humantime::parse_duration(text).map_err(|_| expected())?;
        i64::try_from(age.as_secs()).map(Self::Ago).map_err(|_| expected())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    pub start: Offset,
    /// The offset after the last one that is selected.
    pub end: Offset,
}

impl FromStr for OffsetRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once("..").and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
        match parsed {
            Some((start, end)) if 0 <= start && start < end => Ok(Self { start: Offset(start), end: Offset(end) }),
            _ => Err(format!("{text:?} is not START..END with START before END")),
        }
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::Resource;

    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-08-14 09:26:53 UTC);

    #[test]
    fn times_are_points_or_ages() {
        let millis = |text: &str| text.parse::<Moment>().map(|moment| moment.as_millis(NOW));
        assert_eq!(millis("2026-08-14T09:26:53.589Z"), Ok(NOW.unix_timestamp() * 1000 + 589));
        assert_eq!(millis("2h"), Ok((NOW.unix_timestamp() - 7_200) * 1000));
        assert!(millis("yesterday").unwrap_err().contains("90m"));
    }

    #[test]
    fn offsets_are_a_range() {
        assert_eq!("5..7".parse(), Ok(OffsetRange { start: Offset(5), end: Offset(7) }));
        for bad in ["5", "7..5", "5..5", "-1..5", "a..b"] {
            assert!(bad.parse::<OffsetRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_named_means_everything() {
        let all = Selection::default();
        assert!(all.wants_topic(Topic::DeadLetter) && all.wants_partition(Partition(7)));
        let some = Selection {
            resources: vec![Topic::Resource(Resource::Audio)],
            partitions: vec![Partition(1)],
            ..Selection::default()
        };
        assert!(some.wants_topic(Topic::Resource(Resource::Audio)) && !some.wants_topic(Topic::DeadLetter));
        assert!(some.wants_partition(Partition(1)) && !some.wants_partition(Partition(0)));
        assert_eq!("dead-letter".parse(), Ok(Topic::DeadLetter));
        assert!("vdieo".parse::<Topic>().is_err());
    }
}
