//! What a dry run prints: which ranges each source has of the selection, and what the tables lack of them.

use std::time::{Duration, Instant};

use hookline_service::cli::print_line;
use hookline_service::kafka::KafkaContext;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::TIMEOUT;
use super::lacking::{Lacking, lacking, mean_body};
use super::plan::PartitionRange;
use super::progress::Progress;
use super::report::{Display, count, records};
use super::source::SourceKind;
use crate::clickhouse::inserter::ClickHouse;

/// The size of the records is estimated from this many.
const SAMPLE: usize = 500;

/// Whom a dry run asks.
pub struct DryRun<'a> {
    pub display: Display,
    pub clickhouse: &'a ClickHouse,
    /// Where Kafka is read from.
    pub consumer: Option<&'a BaseConsumer<KafkaContext>>,
}

struct Part<'p> {
    range: &'p PartitionRange,
    lacking: Lacking,
}

impl DryRun<'_> {
    /// Prints the plan; `not_read` is what only the archive has, where it is not read from.
    pub async fn print(&self, progress: &Progress, not_read: &[PartitionRange]) -> anyhow::Result<()> {
        let left = progress.records() - progress.done();
        let bytes = left * self.mean_size(progress).await?;
        let rate = self.display.rate;
        let seconds = (rate > 0).then(|| left.div_ceil(u64::from(rate)));
        let (parts, not_read) = (self.judged(&progress.parts).await?, self.judged(not_read).await?);
        if self.display.json {
            let list = |parts: &[Part<'_>]| -> Vec<Value> { parts.iter().map(Part::json).collect() };
            print_line(json!({
                "records": left, "bytes": bytes, "seconds_at_least": seconds, "expired": progress.repaired.expired,
                "parts": list(&parts), "only_in_deliveries": list(&not_read),
            }));
            return Ok(());
        }
        for part in &parts {
            print_line(part.line());
        }
        for part in &not_read {
            print_line(format_args!("not read: {}", part.line()));
        }
        if !not_read.is_empty() {
            print_line("what is not read is only in the archive: --source kafka,deliveries reads it, too");
        }
        self.display.print_expired(progress);
        let time = seconds.map_or("as fast as ClickHouse takes them".to_owned(), |seconds| {
            let (least, rate) = (HumanDuration(Duration::from_secs(seconds)), HumanCount(u64::from(rate)));
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

    async fn judged<'p>(&self, ranges: &'p [PartitionRange]) -> anyhow::Result<Vec<Part<'p>>> {
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            parts.push(Part { range, lacking: lacking(self.clickhouse, range).await? });
        }
        Ok(parts)
    }

    /// The mean of the bytes of a record, from the largest part.
    async fn mean_size(&self, progress: &Progress) -> anyhow::Result<u64> {
        let largest = progress.parts.iter().max_by_key(|part| part.records());
        match (largest, self.consumer) {
            (None, _) => Ok(0),
            (Some(part), Some(consumer)) if part.source == SourceKind::Kafka => mean_message(consumer, part),
            (Some(part), _) => Ok(mean_body(self.clickhouse, part).await?),
        }
    }
}

impl Part<'_> {
    fn json(&self) -> Value {
        let PartitionRange { source, log_id, topic, partition, next, end, .. } = self.range;
        json!({
            "source": source, "log_id": log_id, "topic": topic, "partition": partition, "start": next, "end": end,
            "lacking": self.lacking,
        })
    }

    fn line(&self) -> String {
        let PartitionRange { source, log_id, topic, partition, next, end, .. } = self.range;
        let Lacking { records: missing, jobs, jobs_incomplete } = self.lacking;
        let number = records(self.range.records() - self.range.done());
        let log = if *source == SourceKind::Deliveries { format!(" of log {log_id}") } else { String::new() };
        let lacking = if self.lacking == Lacking::default() {
            "the tables lack nothing of it".to_owned()
        } else {
            let (jobs, incomplete) = (count(jobs, "job", "jobs"), count(jobs_incomplete, "job", "jobs"));
            format!("the tables lack {} of it, {jobs}, and an event of {incomplete}", records(missing))
        };
        format!("{topic}/{}  {source}{log}  {}..{}  {number}; {lacking}", partition.0, next.0, end.0)
    }
}

/// Reads the first records of a part for the mean of their bytes.
fn mean_message(consumer: &BaseConsumer<KafkaContext>, part: &PartitionRange) -> anyhow::Result<u64> {
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
