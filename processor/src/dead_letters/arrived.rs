//! What has been sent back already and may be in no table yet: the records that the live group has not committed. Together with
//! the tables this tells of every redrive, whoever did it, and however it ended.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::record::decode_headers;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::kafka_raw::header_bytes;
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Message as _, Offset as Position, TopicPartitionList};

use super::identity::{Identity, LogPosition, parse_position};
use super::tables::Landing;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::LogIds;
use crate::retry::Cancelled;

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Where redriven deliveries are that the tables may lack.
#[derive(Debug, Default)]
pub struct Arrived(HashMap<Identity, Landing>);

impl Arrived {
    /// Reads all four topics from what the live group has committed to their ends. What is committed is in the tables, so these
    /// must be asked afterwards and not before.
    pub fn read(
        config: &ProcessorConfig,
        topics: &Topics,
        log_ids: &LogIds,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        // The live group's id, for its committed offsets. The consumer does not join it.
        let consumer: BaseConsumer<_> = settings::replay(config)?
            .set("group.id", config.group_id())
            .create_with_context(KafkaContext::new("redrive"))?;
        let mut arrived = Self::default();
        for topic in Topic::ALL {
            let name = topic.name(topics);
            for (partition, next) in uncommitted(&consumer, name)? {
                let part = Part { consumer: &consumer, topic: name, partition, shutdown };
                part.read(next, |message| arrived.add_message(message, topics, log_ids))?;
            }
        }
        Ok(arrived)
    }

    /// Where the delivery is, if it was sent back more often than `redrives` times.
    pub fn landing(&self, identity: &Identity, redrives: u16) -> Option<&LogPosition> {
        self.0.get(identity).filter(|landing| landing.redrives > redrives).map(|landing| &landing.position)
    }

    /// Adds where a delivery is; the one that was sent back most often counts.
    pub fn add(&mut self, identity: Identity, landing: Landing) {
        let known = self.0.get(&identity).is_some_and(|known| known.redrives >= landing.redrives);
        if !known {
            self.0.insert(identity, landing);
        }
    }

    fn add_message(&mut self, message: &BorrowedMessage<'_>, topics: &Topics, log_ids: &LogIds) {
        let Ok(headers) = decode_headers(header_bytes(message)) else { return };
        if headers.redrives == 0 {
            return;
        }
        let of_origin = headers.dead.and_then(|dead| parse_position(dead.origin));
        let (topic, partition, offset) =
            of_origin.unwrap_or((message.topic(), Partition(message.partition()), Offset(message.offset())));
        let log_id = Topic::named(topic, topics).map_or("", |topic| log_ids.of(topic));
        let position = LogPosition { log_id: log_id.into(), topic: topic.into(), partition, offset };
        self.add(Identity::of(&headers.metadata), Landing { redrives: headers.redrives, position });
    }
}

/// The offset of each partition up to which the live group has committed.
fn uncommitted(consumer: &BaseConsumer<KafkaContext>, topic: &str) -> anyhow::Result<Vec<(Partition, Offset)>> {
    let metadata = ask(consumer, |consumer| consumer.fetch_metadata(Some(topic), TIMEOUT))?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        asked.add_partition(topic, partition.id());
    }
    let committed = ask(consumer, |consumer| consumer.committed_offsets(asked, TIMEOUT))
        .context("Kafka does not tell the committed offsets of the live group")?;
    let next = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let committed = if let Position::Offset(committed) = element.offset() { committed } else { 0 };
        (Partition(element.partition()), Offset(committed))
    };
    Ok(committed.elements().iter().map(next).collect())
}

struct Part<'p> {
    consumer: &'p BaseConsumer<KafkaContext>,
    topic: &'p str,
    partition: Partition,
    shutdown: &'p CancellationToken,
}

impl Part<'_> {
    /// Reads the records from `next` to the end that the leader names now.
    fn read(&self, next: Offset, mut each: impl FnMut(&BorrowedMessage<'_>)) -> anyhow::Result<()> {
        let (low, end) = self.watermarks()?;
        let mut next = Offset(next.0.max(low.0));
        if next >= end {
            return Ok(());
        }
        self.begin_at(next)?;
        let mut is_end_confirmed = false;
        while next < end {
            if self.shutdown.is_cancelled() {
                return Err(Cancelled.into());
            }
            match self.consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) if message.partition() == self.partition.0 && message.topic() == self.topic => {
                    is_end_confirmed = false;
                    next = Offset(message.offset() + 1);
                    if message.offset() < end.0 {
                        each(&message);
                    }
                }
                // A leader that is new may not know the end yet. So an end before it is believed only from a fetch that began
                // after the leader had named an end that is not: then control records or compaction left a gap.
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == self.partition.0 => {
                    if is_end_confirmed {
                        break;
                    }
                    self.wait_for_end(end)?;
                    self.begin_at(next)?;
                    is_end_confirmed = true;
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    bail!("{}/{} cannot be read: {code}", self.topic, self.partition.0)
                }
                // A record or an end of the partition before; or librdkafka tries again, and the context has logged why.
                Some(_) | None => {}
            }
        }
        self.consumer.unassign()?;
        Ok(())
    }

    fn begin_at(&self, next: Offset) -> anyhow::Result<()> {
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(self.topic, self.partition.0, Position::Offset(next.0))?;
        Ok(self.consumer.assign(&start)?)
    }

    fn wait_for_end(&self, end: Offset) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.watermarks()?.1 < end {
            if began.elapsed() > TIMEOUT {
                bail!(
                    "{}/{} had ended at {} and ends before: its leader does not know the last records; run the same command again",
                    self.topic,
                    self.partition.0,
                    end.0
                );
            }
            std::thread::sleep(POLL_TIMEOUT);
        }
        Ok(())
    }

    fn watermarks(&self) -> anyhow::Result<(Offset, Offset)> {
        let watermarks = self.consumer.fetch_watermarks(self.topic, self.partition.0, TIMEOUT);
        let (low, high) = watermarks.map_err(|error| anyhow::anyhow!(self.consumer.context().explain(&error)))?;
        Ok((Offset(low), Offset(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_arrived_where_it_was_sent_back_more_often() {
        let identity = Identity { source: "prod".into(), signature: "a".repeat(64), received_ms: 1 };
        let position = |offset| LogPosition {
            log_id: "c/t".into(),
            topic: "h.video".into(),
            partition: Partition(0),
            offset: Offset(offset),
        };
        let mut arrived = Arrived::default();
        arrived.add(identity.clone(), Landing { redrives: 1, position: position(5) });
        assert_eq!(arrived.landing(&identity, 0), Some(&position(5)));
        assert_eq!(arrived.landing(&identity, 1), None, "that is the letter that the first redrive came back as");
        arrived.add(identity.clone(), Landing { redrives: 2, position: position(9) });
        arrived.add(identity.clone(), Landing { redrives: 1, position: position(6) });
        assert_eq!(arrived.landing(&identity, 0), Some(&position(9)));
        let later = Identity { received_ms: 2, ..identity };
        assert_eq!(arrived.landing(&later, 0), None, "another delivery of the same bytes");
    }
}
