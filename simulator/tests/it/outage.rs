//! Ingest while its broker goes and comes back: what it acknowledged is in a topic, exactly as signed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hookline_schemas::record::decode_headers;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_simulator::ledger::{Answer, Attempt, sha256_hex};
use hookline_simulator::report::Tally;
use hookline_testkit::{KafkaCluster, Servers, eventually};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::stage::Stage;
use crate::traffic::Traffic;
use hookline_testkit::Process;

const PATIENCE: Duration = Duration::from_secs(10);

/// How it went.
pub struct Outcome {
    pub tally: Tally,
    pub seconds: f64,
    /// Bytes of ingest before, at the peak, and after.
    pub memory: [u64; 3],
    /// Records of all topics.
    pub records: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { webhooks, attempts, acknowledged, retries, answers, .. } = &self.tally;
        let answers: Vec<_> = answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
        let [before, peak, after] = self.memory.map(|bytes| bytes as f64 / 1_048_576.0);
        writeln!(f, "webhooks      {webhooks} in {:.0} s", self.seconds)?;
        writeln!(f, "attempts      {attempts}, {retries} of them again ({})", answers.join(", "))?;
        writeln!(f, "acknowledged  {acknowledged}")?;
        writeln!(f, "records       {}, every acknowledged webhook among them as signed", self.records)?;
        write!(f, "memory        {before:.1} MiB before, {peak:.1} at the peak, {after:.1} after")
    }
}

/// Stops and starts the broker three times under `traffic`, at even distances.
pub async fn broker_stopped_thrice(traffic: Traffic) -> Outcome {
    let servers = Servers::fresh("outage").await;
    let mut cluster = KafkaCluster::start(&[]).await;
    let mut stage = Stage::on(cluster.config("hookline"), &servers.clickhouse).await;
    let before = Process(stage.ingest.pid()).memory("VmRSS");
    let began = Instant::now();
    let expected = traffic.jobs as f64 * 2.0;
    let sending = traffic.send(stage.url.clone());
    for quarter in 1..=3_u32 {
        let wanted = expected * f64::from(quarter) / 5.0;
        eventually("enough acknowledged", Duration::from_secs(600), async || {
            (stage.ingest.metric("hookline_ingest_verified_total", &[]).await >= wanted).then_some(())
        })
        .await;
        cluster.terminate(1).await;
        cluster.restart(1).await;
    }
    let (tally, attempts) = sending.await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let memory = [before, Process(stage.ingest.pid()).memory("VmHWM"), Process(stage.ingest.pid()).memory("VmRSS")];
    assert!(stage.ingest.terminate().await.success(), "ingest did not end in good order");

    let kafka = stage.kafka.clone();
    let records = tokio::task::spawn_blocking(move || read_topics(&kafka)).await.unwrap();
    assert_eq!(missing(&attempts, &records), Vec::<&Attempt>::new(), "acknowledged, but not in its topic as signed");
    // Negative control: without one of the records, its attempt and no other is missing.
    let mut fewer = records.clone();
    let lost = attempts.iter().find(|attempt| attempt.answer == Answer::Status(200)).unwrap();
    fewer.remove(&key(lost));
    assert!(missing(&attempts, &fewer).iter().all(|attempt| key(attempt) == key(lost)));
    assert!(!missing(&attempts, &fewer).is_empty(), "the control found nothing");
    Outcome { tally, seconds, memory, records: records.values().sum() }
}

/// What must be the same: source, signed time, signature, body, and whether it is a dead letter.
type Key = (String, String, String, String, bool);

fn key(attempt: &Attempt) -> Key {
    let Attempt { source, signed_at_text, signature, body_sha256, answer, .. } = attempt;
    let dead = *answer == Answer::Status(202);
    (source.clone(), signed_at_text.clone(), signature.clone(), body_sha256.clone(), dead)
}

fn missing<'a>(attempts: &'a [Attempt], records: &BTreeMap<Key, usize>) -> Vec<&'a Attempt> {
    let mut left = records.clone();
    let acknowledged = attempts.iter().filter(|attempt| attempt.answer.acknowledges());
    acknowledged
        .filter(|attempt| match left.get_mut(&key(attempt)) {
            Some(count @ 1..) => {
                *count -= 1;
                false
            }
            _ => true,
        })
        .collect()
}

fn read_topics(kafka: &KafkaConfig) -> BTreeMap<Key, usize> {
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", "none").create().unwrap();
    let mut positions = TopicPartitionList::new();
    let mut left = 0;
    for topic in topics.all() {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            left += consumer.fetch_watermarks(topic, partition.id(), PATIENCE).unwrap().1;
            positions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&positions).unwrap();
    let mut records = BTreeMap::new();
    while left > 0 {
        let record = consumer.poll(PATIENCE).expect("a record").unwrap();
        let headers = record.headers().expect("headers");
        let headers = decode_headers(headers.iter().map(|header| (header.key, header.value))).unwrap();
        let metadata = headers.metadata;
        let body = sha256_hex(record.payload().unwrap());
        let dead = record.topic() == topics.dead_letter();
        let key = (metadata.source.into(), metadata.signed_at_text.into(), metadata.signature.to_string(), body, dead);
        *records.entry(key).or_insert(0) += 1;
        left -= 1;
    }
    records
}
