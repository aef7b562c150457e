//! The arguments that select what a replay reads.

use std::str::FromStr;

use clap::Args;
use clap::builder::TypedValueParser as _;
use hookline_schemas::topics::{Offset, Partition, Topic};
use hookline_service::cli::TimePoint;
use serde::{Deserialize, Serialize};

/// Selects records; without an argument, everything that the topics hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct Selection {
    /// Records appended at or after this time: 2026-11-25T10:00:00Z, an age such as 2h or -24h, or now
    #[arg(long, value_name = "TIME", conflicts_with = "offsets", allow_hyphen_values = true)]
    pub from: Option<TimePoint>,
    /// Records appended before this time
    #[arg(long, value_name = "TIME", conflicts_with = "offsets", allow_hyphen_values = true)]
    pub to: Option<TimePoint>,
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

/// Offsets from `start` up to `end`, which is not included.
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
