//! The arguments that select what a replay reads.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use clap::builder::TypedValueParser as _;
use hookline_schemas::topics::{Offset, Partition, Topic};
use hookline_service::cli::TimePoint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::source::SourceKind;

/// Selects records; without an argument, everything that the topics hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct Selection {
    /// Read from this source; given twice, from Kafka what it has and from the archive what lies before that or in other logs, as a rebuild does by default
    #[arg(
        long = "source",
        value_name = "SOURCE",
        value_delimiter = ',',
        default_value = "kafka",
        default_value_if("rebuild", "true", "kafka,deliveries")
    )]
    pub sources: Vec<SourceKind>,
    /// Records appended at or after this time, or received then where they are read from the archive: 2026-11-25T10:00:00Z, an
    /// age such as 2h or -24h, or now
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
    /// Check the signature of each delivery with the secrets of `sources`, and make nothing of those that none confirms
    #[arg(long)]
    pub verify: bool,
}

impl Selection {
    /// Refuses a selection in which nothing can lie.
    pub fn check(&self, now: OffsetDateTime) -> anyhow::Result<()> {
        if self.resources == [Topic::DeadLetter] && !self.reads(SourceKind::Kafka) {
            bail!(
                "--source deliveries has no dead letters: their rows in dead_letters are the archive of themselves, and nothing \
                 else follows from them; hookline-processor redrive sends them again"
            );
        }
        let Some(from) = self.from else { return Ok(()) };
        let to = self.to.unwrap_or(TimePoint::Ago(0));
        if from.as_millis(now) < to.as_millis(now) {
            return Ok(());
        }
        let to = if self.to.is_some() { format!("--to {}", to.shown(now)) } else { to.shown(now) };
        bail!(
            "nothing lies between --from {} and {to}: the first must be the earlier one; an age counts back from now, so the \
             two hours before the last one are --from 3h --to 1h",
            from.shown(now)
        )
    }

    pub fn reads(&self, source: SourceKind) -> bool {
        self.sources.contains(&source)
    }

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
    fn a_range_of_time_that_is_empty_or_reversed_is_refused_with_both_ends() {
        let now = OffsetDateTime::from_unix_timestamp(1_786_699_613).unwrap();
        let check = |from: Option<&str>, to: Option<&str>| {
            let point = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            Selection { from: point(from), to: point(to), ..Selection::default() }.check(now)
        };
        for (from, to) in [
            (None, None),
            (None, Some("99d")),
            (Some("2h"), None),
            (Some("2h"), Some("1h")),
            (Some("2026-08-14T09:00:00Z"), Some("now")),
        ] {
            assert!(check(from, to).is_ok(), "{from:?} {to:?}");
        }
        for (from, to, both) in [
            (Some("1h"), Some("2h"), ["--from 1h (2026-08-14T08:26:53Z)", "--to 2h (2026-08-14T07:26:53Z)"]),
            (Some("90m"), Some("90m"), ["--from 1h30m (", "--to 1h30m ("]),
            (Some("now"), None, ["--from now (", "now (2026-08-14T09:26:53Z)"]),
            (Some("2026-08-15T00:00:00Z"), None, ["--from 2026-08-15T00:00:00Z", "now (2026"]),
        ] {
            let error = check(from, to).unwrap_err().to_string();
            for end in both {
                assert!(error.contains(end), "{error}");
            }
            assert!(error.contains("--from 3h --to 1h"), "{error}");
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
