//! Records that letters were made from, for what the table lacks: a body that ClickHouse refused, and the headers of a record
//! that ingest did not write.

use std::time::{Duration, Instant};

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::kafka_raw::header_bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset as Position, TopicPartitionList};

use super::identity::parse_position;
use super::letter::{HeaderList, Letter};
use crate::log_ids::LogIds;

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

pub struct Originals {
    pub consumer: BaseConsumer<KafkaContext>,
    pub topics: Topics,
    pub log_ids: LogIds,
}

struct Original {
    headers: HeaderList,
    body: Vec<u8>,
}

impl Originals {
    /// Completes letters whose row may lack something, from their record in the dead-letter topic or from the one before that.
    pub fn complete(&self, letters: &mut [Letter]) -> anyhow::Result<()> {
        for letter in letters {
            let is_bad_record = letter.reason == DeadLetterReason::BadRecord.as_str();
            if !letter.body().is_empty() && !is_bad_record {
                continue;
            }
            let position = letter.position.clone();
            let own = self.record(&position.log_id, &position.topic, position.partition, position.offset)?;
            let origin = match parse_position(&letter.origin) {
                Some((topic, partition, offset)) if own.as_ref().is_none_or(|own| own.body.is_empty()) => {
                    self.record(&letter.origin_log_id, topic, partition, offset)?
                }
                Some(_) | None => None,
            };
            match origin.or(own) {
                Some(Original { headers, body }) => {
                    letter.take_headers(headers);
                    letter.body = Some(body);
                }
                None if letter.body().is_empty() => letter.body = None,
                None => {}
            }
        }
        Ok(())
    }

    /// Reads one record, if its log still has it.
    fn record(
        &self,
        log_id: &str,
        topic: &str,
        Partition(partition): Partition,
        Offset(offset): Offset,
    ) -> anyhow::Result<Option<Original>> {
        if Topic::named(topic, &self.topics).is_none_or(|topic| self.log_ids.of(topic) != log_id) {
            return Ok(None);
        }
        let consumer = &self.consumer;
        let (low, high) = ask(consumer, |consumer| consumer.fetch_watermarks(topic, partition, TIMEOUT))?;
        if !(low..high).contains(&offset) {
            return Ok(None);
        }
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(topic, partition, Position::Offset(offset))?;
        consumer.assign(&start)?;
        let began = Instant::now();
        let mut found = None;
        while began.elapsed() < TIMEOUT {
            match consumer.poll(POLL_TIMEOUT) {
                Some(Ok(message)) if message.topic() == topic && message.partition() == partition => {
                    if message.offset() == offset {
                        let own = |(name, value): (&[u8], Option<&[u8]>)| (name.to_vec(), value.map(<[u8]>::to_vec));
                        let headers = header_bytes(&message).map(own).collect();
                        found = Some(Original { headers, body: message.payload().unwrap_or_default().to_vec() });
                    }
                    consumer.unassign()?;
                    return Ok(found);
                }
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => break,
                Some(_) | None => {}
            }
        }
        anyhow::bail!("the record {topic}/{partition}/{offset} could not be read within {TIMEOUT:?}")
    }
}
