//! Reads the records of a part from its topic.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::topics::{Offset, Topic};
use hookline_service::kafka::KafkaContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, TopicPartitionList};

use super::{Page, Reading, Source};
use crate::batch::Batch;
use crate::batch::position::RecordPosition;
use crate::expired::expired;
use crate::replay::plan::{PartitionRange, offsets};

pub const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the brokers may take to say where a log begins.
const TIMEOUT: Duration = Duration::from_secs(10);

pub struct KafkaSource<'s> {
    /// A consumer outside of any group, which commits nothing.
    consumer: BaseConsumer<KafkaContext>,
    reading: Reading<'s>,
    next: Offset,
    /// The leader has named an end that the plan does not pass, before the fetch that is under way began.
    is_end_confirmed: bool,
}

impl<'s> KafkaSource<'s> {
    pub fn new(consumer: BaseConsumer<KafkaContext>, reading: Reading<'s>) -> Self {
        Self { consumer, reading, next: Offset(0), is_end_confirmed: false }
    }

    fn assign(&self, part: &PartitionRange, next: Offset) -> anyhow::Result<()> {
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&part.topic, part.partition.0, rdkafka::Offset::Offset(next.0))?;
        Ok(self.consumer.assign(&start)?)
    }

    /// Waits until the leader knows the records up to the end of the plan.
    fn wait_for_end(&self, part: &PartitionRange) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let (_, end) = self.watermarks(part)?;
            if end >= part.end {
                return Ok(());
            }
            if began.elapsed() > TIMEOUT || self.reading.stop.is_cancelled() {
                bail!(
                    "the log ends at {}, before the end of the plan, {}: its leader does not know the records between, or the brokers \
                     truncated it; run the same command again to continue, or remove {} to begin again",
                    end.0,
                    part.end.0,
                    self.reading.state
                );
            }
            std::thread::sleep(POLL_TIMEOUT);
        }
    }

    /// The offsets at which the log begins and ends.
    fn watermarks(&self, part: &PartitionRange) -> anyhow::Result<(Offset, Offset)> {
        let watermarks = self.consumer.fetch_watermarks(&part.topic, part.partition.0, TIMEOUT);
        let (start, end) = watermarks.map_err(|error| anyhow::anyhow!(self.consumer.context().explain(&error)))?;
        Ok((Offset(start), Offset(end)))
    }

    /// Counts the offsets of the gaps that lie before the log's start: the others are control records, or were compacted.
    fn expired(&self, part: &PartitionRange, gaps: &[(Offset, Offset)]) -> anyhow::Result<u64> {
        if gaps.is_empty() {
            return Ok(0);
        }
        let (start, _) = self.watermarks(part)?;
        let expired = gaps.iter().filter_map(|(from, to)| expired(*from, *to, start));
        Ok(expired.map(|range| offsets(Offset(range.start), Offset(range.end))).sum())
    }
}

impl Source for KafkaSource<'_> {
    fn begin(&mut self, part: &PartitionRange) -> anyhow::Result<()> {
        (self.next, self.is_end_confirmed) = (part.next, false);
        self.assign(part, part.next)
    }

    fn read_page(&mut self, part: &PartitionRange, batch: &mut Batch) -> anyhow::Result<Page> {
        let topic = Topic::named(&part.topic, self.reading.topics)
            .context("this is no topic of the configured prefix, kafka.topic_prefix")?;
        // Offsets that were not read, before records of the batch.
        let mut gaps: Vec<(Offset, Offset)> = Vec::new();
        let mut next = self.next;
        while next < part.end && !batch.is_full(self.reading.limits) && !self.reading.stop.is_cancelled() {
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) if message.offset() < next.0 => bail!(
                    "the log begins anew at {}, though the records before {} had been there: the brokers truncated it, and the \
                     plan means other records now; remove {} to begin again",
                    message.offset(),
                    next.0,
                    self.reading.state
                ),
                Some(Ok(message)) if message.offset() < part.end.0 => {
                    self.is_end_confirmed = false;
                    let position = RecordPosition::of(&message, topic);
                    if next < position.offset {
                        gaps.push((next, position.offset));
                    }
                    batch.push_message(position, &message);
                    next = Offset(position.offset.0 + 1);
                }
                // A leader that is new may not know the end yet up to which records were acknowledged. So an end is believed only from a
                // fetch that began after the leader had named one that the plan does not pass.
                Some(Err(KafkaError::PartitionEOF(_))) if !self.is_end_confirmed => {
                    self.wait_for_end(part)?;
                    self.assign(part, next)?;
                    self.is_end_confirmed = true;
                }
                // Retention or compaction removed the last records of the plan, or control records end it.
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => {
                    gaps.push((next, part.end));
                    next = part.end;
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => bail!("the consumer cannot go on: {code}"),
                // librdkafka tries again, and the consumer's context has logged why.
                Some(Err(_)) | None => {}
            }
        }
        self.next = next;
        Ok(Page { expired: self.expired(part, &gaps)?, ..Page::up_to(next) })
    }
}
