//! Which offsets of which partitions a replay reads, and where from. It ends where the plan ends, whatever is appended meanwhile.

use hookline_schemas::topics::{Offset, Partition};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::select::Selection;
use super::source::SourceKind;
use super::source::archive_plan::ArchivePlanner;
use super::source::kafka_plan::KafkaPlanner;

/// The offsets of one partition of a log that a replay reads, from one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRange {
    pub source: SourceKind,
    /// `{cluster id}/{topic id}`: the offsets mean other records in another cluster, and in a topic that was made anew.
    pub log_id: String,
    /// The topic's name with its prefix, so that a state file belongs to one prefix.
    pub topic: String,
    pub partition: Partition,
    pub start: Offset,
    /// The offset after the last one that is read.
    pub end: Offset,
    /// The next offset to be read; the records before it are in the tables.
    pub next: Offset,
}

impl PartitionRange {
    pub fn records(&self) -> u64 {
        offsets(self.start, self.end)
    }

    pub fn done(&self) -> u64 {
        offsets(self.start, self.next)
    }

    /// The part of the topic's name before what it carries.
    pub fn prefix(&self) -> &str {
        self.topic.rsplit_once('.').map_or("", |(prefix, _)| prefix)
    }

    /// Whether both are read from the same source of the same partition, so that one of them is a piece of the other.
    pub fn is_part_of(&self, other: &Self) -> bool {
        let identity = |part: &Self| (part.source, part.partition);
        identity(self) == identity(other) && self.log_id == other.log_id && self.topic == other.topic
    }
}

/// Counts the offsets from `start` up to `end`.
pub fn offsets(start: Offset, end: Offset) -> u64 {
    u64::try_from(end.0 - start.0).unwrap_or(0)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub parts: Vec<PartitionRange>,
    /// Offsets that the selection names and that are in none of the sources.
    pub expired: u64,
}

/// The offsets that Kafka has of a partition, and what the plan misses there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRange {
    pub log_id: String,
    pub topic: String,
    pub partition: Partition,
    /// The first offset that Kafka still has.
    pub begin: Offset,
    /// The offsets of the selection that lie before that.
    pub expired: Option<(Offset, Offset)>,
    pub part: Option<PartitionRange>,
}

/// Plans what the selection means now in the sources that it names. Either planner is there where its source is.
pub async fn plan(
    kafka: Option<&KafkaPlanner<'_>>,
    archive: Option<&ArchivePlanner>,
    selection: &Selection,
    now: OffsetDateTime,
) -> anyhow::Result<Plan> {
    let ranges = kafka.map_or(Ok(Vec::new()), |kafka| kafka.plan(selection, now))?;
    let archived = match archive {
        Some(archive) => archive.plan(selection, now).await?,
        None => Vec::new(),
    };
    Ok(join(ranges, archived))
}

/// Reads from Kafka what it has, and from the archive what lies before that or in other logs.
fn join(ranges: Vec<KafkaRange>, archived: Vec<PartitionRange>) -> Plan {
    let mut plan = Plan::default();
    for mut part in archived {
        let same = |range: &&KafkaRange| {
            range.log_id == part.log_id && range.topic == part.topic && range.partition == part.partition
        };
        if let Some(range) = ranges.iter().find(same) {
            part.end = part.end.min(range.begin);
        }
        if part.start < part.end {
            plan.parts.push(part);
        }
    }
    for range in &ranges {
        let Some((start, end)) = range.expired else { continue };
        let archived = plan.parts.iter().filter(|part| {
            part.log_id == range.log_id && part.topic == range.topic && part.partition == range.partition
        });
        let archived: u64 = archived.map(|part| offsets(part.start.max(start), part.end.min(end))).sum();
        plan.expired += offsets(start, end).saturating_sub(archived);
    }
    plan.parts.extend(ranges.into_iter().filter_map(|range| range.part));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(source: SourceKind, log_id: &str, start: i64, end: i64) -> PartitionRange {
        PartitionRange {
            source,
            log_id: log_id.into(),
            topic: "t".into(),
            partition: Partition(0),
            start: Offset(start),
            end: Offset(end),
            next: Offset(start),
        }
    }

    fn range(begin: i64, end: i64, expired: Option<(i64, i64)>) -> KafkaRange {
        KafkaRange {
            log_id: "new".into(),
            topic: "t".into(),
            partition: Partition(0),
            begin: Offset(begin),
            expired: expired.map(|(start, end)| (Offset(start), Offset(end))),
            part: (begin < end).then(|| part(SourceKind::Kafka, "new", begin, end)),
        }
    }

    fn planned(ranges: Vec<KafkaRange>, archived: &[(&str, i64, i64)]) -> (Vec<(SourceKind, String, i64, i64)>, u64) {
        let archived = archived.iter().map(|(log, start, end)| part(SourceKind::Deliveries, log, *start, *end));
        let plan = join(ranges, archived.collect());
        let parts = plan.parts.into_iter().map(|part| (part.source, part.log_id, part.start.0, part.end.0));
        (parts.collect(), plan.expired)
    }

    #[test]
    fn the_archive_is_read_below_what_kafka_has() {
        let kafka = (SourceKind::Kafka, "new".to_owned(), 10, 20);
        let archive = |log: &str, start, end| (SourceKind::Deliveries, log.to_owned(), start, end);
        assert_eq!(planned(vec![range(10, 20, None)], &[]), (vec![kafka.clone()], 0));
        let found = planned(vec![range(10, 20, None)], &[("new", 0, 18), ("old", 5, 30)]);
        assert_eq!(found, (vec![archive("new", 0, 10), archive("old", 5, 30), kafka.clone()], 0));
        assert_eq!(planned(vec![range(10, 20, None)], &[("new", 12, 18)]), (vec![kafka], 0), "Kafka has all of it");
        assert_eq!(planned(vec![], &[("new", 12, 18)]), (vec![archive("new", 12, 18)], 0), "without Kafka");
        assert_eq!(
            planned(vec![range(10, 10, None)], &[("new", 0, 10)]),
            (vec![archive("new", 0, 10)], 0),
            "all expired"
        );
    }

    #[test]
    fn what_is_in_neither_is_counted() {
        assert_eq!(planned(vec![range(10, 20, Some((5, 10)))], &[]).1, 5);
        assert_eq!(planned(vec![range(10, 20, Some((5, 10)))], &[("new", 7, 18)]).1, 2);
        assert_eq!(planned(vec![range(10, 20, Some((5, 10)))], &[("old", 0, 18)]).1, 5);
    }
}
