//! Produces traffic into fresh topics: signed, keyed, with every header, compressed, as fast as librdkafka takes it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use hookline_schemas::ids::Resource;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::SigningKey;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::record_headers;
use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::traffic::{Delivery, Traffic};

/// What was produced into the topics.
pub struct Filled {
    pub records: u64,
    /// Jobs created; of the last ones not every event was produced.
    pub jobs: u64,
    pub body_bytes: u64,
    pub log_id: String,
}

/// Produces `records` records into the resource topics.
pub fn fill(kafka: &KafkaConfig, topics: &Topics, records: u64) -> anyhow::Result<Filled> {
    let producer = producer(kafka)?;
    let log_id = producer.client().fetch_cluster_id(Duration::from_secs(10)).context("the cluster has no id")?;
    let key = SigningKey::new("mhw_live_bench");
    let mut traffic = Traffic::ending_at(now_ms()?, records);

    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")?;
    let progress = ProgressBar::new(records).with_style(style).with_message("filling the topics");
    let mut body_bytes = 0;
    for delivery in traffic.by_ref().take(usize::try_from(records)?) {
        body_bytes += delivery.body.len() as u64;
        produce(&producer, topics, &key, &delivery)?;
        progress.inc(1);
    }
    producer.flush(Duration::from_secs(60))?;
    progress.finish();
    Ok(Filled { records, jobs: traffic.jobs(), body_bytes, log_id })
}

/// Produces records as they would come now, so many a second, for so long. Gives how many they were.
pub fn fill_live(kafka: &KafkaConfig, topics: &Topics, per_second: u32, seconds: u32) -> anyhow::Result<u64> {
    let producer = producer(kafka)?;
    let key = SigningKey::new("mhw_live_bench");
    let mut traffic = Traffic::live(now_ms()?, per_second);
    let mut next = traffic.next();
    let (began, records) = (Instant::now(), u64::from(per_second * seconds));
    for number in 0..records {
        let due = began + Duration::from_secs_f64(number as f64 / f64::from(per_second));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        produce(&producer, topics, &key, &next.context("traffic has no end")?)?;
        next = traffic.next();
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(records)
}

fn producer(kafka: &KafkaConfig) -> anyhow::Result<BaseProducer<Failures>> {
    Ok(kafka
        .client()?
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "200000")
        .create_with_context(Failures)?)
}

fn now_ms() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn produce(
    producer: &BaseProducer<Failures>,
    topics: &Topics,
    key: &SigningKey,
    delivery: &Delivery,
) -> anyhow::Result<()> {
    let Delivery { event_type, job_id, signed_at, received_at, body } = delivery;
    let timestamp = signed_at.0.to_string();
    let metadata = DeliveryMetadata {
        source: "magichour",
        received_at: *received_at,
        signed_at: *signed_at,
        signed_at_text: &timestamp,
        signature: key.sign(&timestamp, body.as_bytes()).to_hex(),
        key_name: "default",
        first_signed_at: None,
    };
    let headers = record_headers(&metadata, Some(*event_type), job_id, None);
    let mut record = BaseRecord::to(topics.resource(event_type.resource)).key(job_id).payload(body).headers(headers);
    loop {
        match producer.send(record) {
            Ok(()) => {
                producer.poll(Duration::ZERO);
                return Ok(());
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(Duration::from_millis(10));
                record = refused;
            }
            Err((error, _)) => return Err(anyhow!(error).context("a record was not accepted")),
        }
    }
}

/// Counts the records of the resource topics by the offsets that the brokers report.
pub fn records_in(kafka: &KafkaConfig, topics: &Topics, partitions: u16) -> anyhow::Result<u64> {
    let producer: BaseProducer = kafka.client()?.create()?;
    let mut records = 0;
    for topic in Resource::ALL.map(|resource| topics.resource(resource)) {
        for partition in 0..partitions {
            let (low, high) = producer.client().fetch_watermarks(topic, partition.into(), Duration::from_secs(10))?;
            records += u64::try_from(high - low)?;
        }
    }
    Ok(records)
}

/// Prints which records did not reach their topic; the count at the end fails then.
struct Failures;

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("a record was not delivered: {error}");
        }
    }
}
