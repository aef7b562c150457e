//! Ingest while its broker stops and starts again: every webhook that it acknowledged is in a topic, exactly as signed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hookline_schemas::topics::Topics;
use hookline_simulator::ledger::{Answer, Attempt, sha256_hex};
use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::traffic::Traffic;
use hookline_simulator::report::Counts;
use hookline_testkit::{KafkaCluster, Process, Record, Servers, eventually, read_records};

/// An outage after which no acknowledged webhook was missing.
pub struct Outage {
    pub counts: Counts,
    pub seconds: f64,
    /// Bytes of ingest before, at the peak, and after.
    pub memory: [u64; 3],
    /// Counted over all topics.
    pub records: usize,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { webhooks, attempts, acknowledged, retries, answers, .. } = &self.counts;
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
pub async fn stop_broker_thrice(traffic: Traffic) -> Outage {
    let servers = Servers::fresh("outage").await;
    let mut cluster = KafkaCluster::start(&[]).await;
    let mut pipeline = Pipeline::on(cluster.config("hookline"), &servers.clickhouse).await;
    let process = Process(pipeline.ingest.pid());
    let before = process.memory("VmRSS");
    let began = Instant::now();
    let expected = traffic.jobs as f64 * 2.0;
    let sending = traffic.send(pipeline.url.clone());
    for quarter in 1..=3_u32 {
        let wanted = expected * f64::from(quarter) / 5.0;
        eventually("enough acknowledged", Duration::from_secs(600), async || {
            (pipeline.ingest.metric("hookline_ingest_verified_total", &[]).await >= wanted).then_some(())
        })
        .await;
        cluster.terminate(1).await;
        cluster.restart(1).await;
    }
    let (counts, attempts) = sending.await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let memory = [before, process.memory("VmHWM"), process.memory("VmRSS")];
    assert!(pipeline.ingest.terminate().await.success(), "ingest did not end in order");

    let topics = Topics::new(&pipeline.kafka.topic_prefix).unwrap();
    let mut records = BTreeMap::new();
    for record in read_records(&pipeline.kafka).await {
        *records.entry(stored(&record, &topics)).or_insert(0) += 1;
    }
    assert_eq!(missing(&attempts, &records), Vec::<&Attempt>::new(), "acknowledged, but not in its topic as signed");
    // Negative control: without one of the records, its attempt and no other is missing.
    let mut fewer = records.clone();
    let lost = attempts.iter().find(|attempt| attempt.answer == Answer::Status(200)).unwrap();
    fewer.remove(&sent(lost));
    assert!(missing(&attempts, &fewer).iter().all(|attempt| sent(attempt) == sent(lost)));
    assert!(!missing(&attempts, &fewer).is_empty(), "the negative control found nothing");
    Outage { counts, seconds, memory, records: records.values().sum() }
}

/// What must be the same: source, signed time, signature, hash of the body, and whether it is a dead letter.
type Webhook = (String, String, String, String, bool);

fn sent(attempt: &Attempt) -> Webhook {
    let Attempt { source, signed_at_text, signature, body_sha256, answer, .. } = attempt;
    let is_dead_letter = *answer == Answer::Status(202);
    (source.clone(), signed_at_text.clone(), signature.clone(), body_sha256.clone(), is_dead_letter)
}

fn stored(record: &Record, topics: &Topics) -> Webhook {
    let metadata = record.decoded().metadata;
    let body_sha256 = sha256_hex(record.value.as_bytes());
    let is_dead_letter = record.topic == topics.dead_letter();
    let [source, signed_at_text] = [metadata.source, metadata.signed_at_text].map(str::to_owned);
    (source, signed_at_text, metadata.signature.to_string(), body_sha256, is_dead_letter)
}

fn missing<'a>(attempts: &'a [Attempt], records: &BTreeMap<Webhook, usize>) -> Vec<&'a Attempt> {
    let mut left = records.clone();
    let acknowledged = attempts.iter().filter(|attempt| attempt.answer.acknowledges());
    acknowledged
        .filter(|attempt| match left.get_mut(&sent(attempt)) {
            Some(count @ 1..) => {
                *count -= 1;
                false
            }
            _ => true,
        })
        .collect()
}
