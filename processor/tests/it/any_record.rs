//! Whatever a producer writes into a topic is read, and ends as a row: a delivery, or a dead letter with its position.

use std::collections::{BTreeMap, BTreeSet};

use hookline_schemas::ids::Resource;
use hookline_schemas::record::{DeliveryMetadata, encode_headers};
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topic;
use hookline_service::kafka_raw::add_header;
use hookline_testkit::{Grant, KafkaCluster, Servers, eventually, grant};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, WebhookRecord, now, records_of_job};

const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";
const PARTITIONS: i32 = 2;
/// Each of these records is produced: enough that every kind of header, codec and transaction is there.
const RECORDS: usize = 160;

/// What the brokers take, and librdkafka's producers refuse by default.
const LARGEST: usize = 1_048_300;

/// A record as bytes. `None` is null.
#[derive(Clone, Debug)]
struct RawRecord {
    topic: Topic,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    producer: Producer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Producer {
    Codec(&'static str),
    Committed,
    Aborted,
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::collection::vec(any::<u8>(), 0..longest)
}

/// Headers as ingest writes them, of which one may be replaced.
fn headers_of_ingest() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let strange = prop_oneof![
        Just(None),
        bytes(20).prop_map(Some),
        any::<i64>().prop_map(|number| Some(number.to_string().into_bytes())),
        Just(Some(b"9223372036854775807".to_vec())),
        Just(Some(b"0".to_vec())),
        Just(Some(u32::MAX.to_string().into_bytes())),
    ];
    (prop::option::of((0_usize..10, strange)), 0_u32..1_000).prop_map(|(replaced, second)| {
        let record = records_of_job(Resource::Video, 1, now() - 2_000 + second).remove(0);
        let mut headers = headers_of(&record);
        if let Some((index, value)) = replaced {
            headers[index].1 = value;
        }
        headers
    })
}

fn headers_of(record: &WebhookRecord) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let text = record.signed_at.to_string();
    let metadata = DeliveryMetadata {
        source: "test",
        received_at: ReceivedAt(record.received_ms),
        signed_at: SignedAt(record.signed_at),
        signed_at_text: &text,
        signature: HexSignature::parse(&[b'a'; 64]).unwrap(),
        key_name: "default",
        first_signed_at: None,
    };
    let mut headers = Vec::new();
    encode_headers(&metadata, Some(record.event), &record.job, None, |name, value| {
        headers.push((name.as_bytes().to_vec(), Some(value.as_bytes().to_vec())));
    });
    headers
}

fn any_record() -> impl Strategy<Value = RawRecord> {
    let topic =
        prop_oneof![4 => prop::sample::select(Topic::ALL.to_vec()), 4 => Just(Topic::Resource(Resource::Video))];
    let any_headers = prop::collection::vec((bytes(12), prop::option::of(bytes(300))), 0..6);
    let headers = prop_oneof![
        any_headers.clone(),
        headers_of_ingest(),
        (headers_of_ingest(), any_headers).prop_map(|(ingest, strange)| [strange, ingest].concat()),
    ];
    let body = |second: u32| {
        let records = records_of_job(Resource::Video, second as usize, now() - 600);
        records[0].body.clone().into_bytes()
    };
    let value = prop_oneof![
        4 => prop::option::of(bytes(200)),
        4 => (0_u32..1_000).prop_map(move |second| Some(body(second))),
        // Bytes that no codec makes smaller, up to what a topic takes.
        1 => (1_usize..LARGEST - 5_000).prop_map(|length| Some(noise(length))),
        1 => (1_usize..LARGEST - 5_000).prop_map(|length| Some(vec![b'0'; length])),
    ];
    let producer = prop_oneof![
        5 => prop::sample::select(vec!["none", "gzip", "snappy", "lz4", "zstd"]).prop_map(Producer::Codec),
        1 => Just(Producer::Committed),
        1 => Just(Producer::Aborted),
    ];
    (topic, 0..PARTITIONS, prop::option::of(bytes(200)), value, headers, producer).prop_map(
        |(topic, partition, key, value, headers, producer)| RawRecord {
            topic,
            partition,
            key,
            value,
            headers,
            producer,
        },
    )
}

fn noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    rand::fill(&mut noise[..]);
    noise
}

/// The position of a record: topic, partition and offset.
type At = (String, i32, i64);

impl ProcessorUnderTest {
    fn any_producer(&self, settings: &[(&str, &str)]) -> FutureProducer {
        let mut config = self.servers.kafka.client().unwrap();
        config.set("message.max.bytes", "10000000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    /// Produces records a few at a time, so that some share a batch, and returns where they are.
    async fn produce_any(&self, producer: &FutureProducer, records: &[RawRecord]) -> Vec<At> {
        let mut positions = Vec::new();
        for records in records.chunks(4) {
            let mut sent = Vec::new();
            for record in records {
                let headers = record
                    .headers
                    .iter()
                    .fold(OwnedHeaders::new(), |headers, (name, value)| add_header(headers, name, value.as_deref()));
                let mut out: FutureRecord<'_, [u8], [u8]> =
                    FutureRecord::to(record.topic.name(&self.topics)).partition(record.partition).headers(headers);
                (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
                sent.push((record, producer.send_result(out).map_err(|(error, _)| error).unwrap()));
            }
            for (record, sent) in sent {
                let delivery = sent.await.unwrap().map_err(|(error, _)| error).unwrap();
                positions.push((record.topic.name(&self.topics).to_owned(), delivery.partition, delivery.offset));
            }
        }
        positions
    }

    /// The positions that are neither a row of their own nor the origin of a dead letter.
    async fn without_row(&self, positions: &BTreeSet<At>) -> BTreeSet<At> {
        let query = "SELECT topic, partition, offset FROM deliveries FINAL \
            UNION ALL SELECT topic, partition, offset FROM dead_letters FINAL \
            UNION ALL SELECT splitByChar('/', origin)[1], toInt32OrZero(splitByChar('/', origin)[2]), \
            toInt64OrZero(splitByChar('/', origin)[3]) FROM dead_letters FINAL WHERE origin LIKE '%/%/%'";
        let rows: Vec<At> = self.client.query(query).fetch_all().await.unwrap();
        let rows: BTreeSet<_> = rows.into_iter().collect();
        positions.difference(&rows).cloned().collect()
    }

    /// Changes settings of the dead-letter topic.
    async fn configure_dead_letter_topic(&self, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.servers.kafka.client().unwrap().create().unwrap();
        let topic = AlterConfig::new(ResourceSpecifier::Topic(self.topics.dead_letter()));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        for altered in admin.alter_configs([&topic], &AdminOptions::new()).await.unwrap() {
            altered.unwrap();
        }
    }

    fn webhooks(&self, jobs: std::ops::Range<usize>) {
        for number in jobs {
            for record in records_of_job(Resource::Video, number, now() - 600) {
                self.produce(&record);
            }
        }
        self.flush();
    }
}

#[tokio::test]
async fn every_record_that_brokers_take_becomes_a_row() {
    let under_test = ProcessorUnderTest::new("any_record", PARTITIONS).await;
    let mut runner = TestRunner::default();
    let records = prop::collection::vec(any_record(), RECORDS).new_tree(&mut runner).unwrap().current();
    let mut by_producer: BTreeMap<Producer, Vec<RawRecord>> = BTreeMap::new();
    for record in records {
        by_producer.entry(record.producer).or_default().push(record);
    }
    let mut positions = BTreeSet::new();
    for (kind, records) in &by_producer {
        match kind {
            Producer::Codec(codec) => {
                let producer = under_test.any_producer(&[("compression.type", codec)]);
                positions.extend(under_test.produce_any(&producer, records).await);
            }
            Producer::Committed | Producer::Aborted => {
                let id = format!("{}-{kind:?}", under_test.servers.kafka.topic_prefix);
                let producer = under_test.any_producer(&[("transactional.id", &id), ("compression.type", "zstd")]);
                producer.init_transactions(DEADLINE).unwrap();
                for records in records.chunks(3) {
                    producer.begin_transaction().unwrap();
                    let sent = under_test.produce_any(&producer, records).await;
                    if *kind == Producer::Committed {
                        producer.commit_transaction(DEADLINE).unwrap();
                        positions.extend(sent);
                    } else {
                        producer.abort_transaction(DEADLINE).unwrap();
                    }
                }
            }
        }
    }
    assert!(positions.len() > RECORDS / 2, "{} records", positions.len());
    // Behind all of them in every partition, so that what is committed can be told from here.
    let last: Vec<_> = Topic::ALL
        .into_iter()
        .flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
        .map(|(topic, partition)| RawRecord {
            topic,
            partition,
            key: None,
            value: None,
            headers: vec![(b"\xff".to_vec(), None)],
            producer: Producer::Codec("none"),
        })
        .collect();
    let last = under_test.produce_any(&under_test.any_producer(&[]), &last).await;
    positions.extend(last.iter().cloned());

    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    eventually("a row for each record", DEADLINE, async || {
        let missing = under_test.without_row(&positions).await;
        eprintln!("{} without a row, such as {:?}", missing.len(), missing.first());
        missing.is_empty().then_some(())
    })
    .await;
    eventually("every partition committed", DEADLINE, async || {
        let committed = under_test.committed_offsets();
        let behind = |(committed, at): (&rdkafka::Offset, &At)| committed.to_raw().is_some_and(|next| next > at.2);
        committed.iter().zip(&last).all(behind).then_some(())
    })
    .await;
    assert!(daemon.terminate().await.success());

    // The check finds a record that is not there, and a row that was removed.
    let mut invented = positions.clone();
    let nowhere = (under_test.topics.resource(Resource::Video).to_owned(), 0, 1_000_000);
    invented.insert(nowhere.clone());
    assert_eq!(under_test.without_row(&invented).await, BTreeSet::from([nowhere]));
    under_test.execute("TRUNCATE TABLE dead_letters").await;
    assert!(under_test.without_row(&positions).await.len() >= last.len());
}

#[tokio::test]
async fn a_header_whose_name_is_no_text_stops_nothing() {
    let under_test = ProcessorUnderTest::new("header_name", 1).await;
    let video = under_test.topics.resource(Resource::Video);
    let strange = add_header(OwnedHeaders::new(), b"\xff", Some(b"x"));
    under_test.produce_raw(video, "k", b"body", strange);
    under_test.webhooks(0..10);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 20).await;
    under_test.wait_until(&format!("{DEAD_LETTERS} WHERE reason = 'bad_record' AND body = 'body'"), 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
    let state = tempfile::tempdir().unwrap();
    let replayed = under_test.run(&["replay", "--state", state.path().join("s").to_str().unwrap()]).await;
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

#[tokio::test]
async fn a_signed_time_within_nobodys_tolerance_is_no_delivery() {
    let under_test = ProcessorUnderTest::new("signed_at", 1).await;
    let record = |signed_at: u32| {
        let mut record = records_of_job(Resource::Video, 100, now() - 600).remove(0);
        record.signed_at = signed_at;
        RawRecord {
            topic: Topic::Resource(Resource::Video),
            partition: 0,
            key: Some(record.job.clone().into_bytes()),
            value: Some(record.body.clone().into_bytes()),
            headers: headers_of(&record),
            producer: Producer::Codec("none"),
        }
    };
    let bad = [0, 946_684_799, 4_102_444_800, u32::MAX].map(record);
    under_test.produce_any(&under_test.any_producer(&[]), &bad).await;
    // The first and the last second that may be: the tables hold them, and they stop nothing.
    let good = [946_684_800, 4_102_444_799].map(record);
    under_test.produce_any(&under_test.any_producer(&[]), &good).await;
    under_test.webhooks(0..5);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 12).await;
    let named = "reason = 'bad_record' AND detail LIKE '%hookline-signed-at%'";
    under_test.wait_until(&format!("{DEAD_LETTERS} WHERE {named}"), 4).await;
    for (month, rows) in [(200_001, 1), (209_912, 1), (197_001, 0), (210_602, 0)] {
        let query = format!("{DELIVERIES} WHERE toYYYYMM(signed_at) = {month}");
        assert_eq!(under_test.query_number(&query).await, rows, "{month}");
    }
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_dead_letter_that_does_not_fit_is_cut() {
    let under_test = ProcessorUnderTest::new("cut", 1).await;
    let producer = under_test.any_producer(&[]);
    let video = |value: Vec<u8>| RawRecord {
        topic: Topic::Resource(Resource::Video),
        partition: 0,
        key: None,
        value: Some(value),
        headers: Vec::new(),
        producer: Producer::Codec("none"),
    };
    under_test.produce_any(&producer, &[video(noise(1_040_000)), video(noise(LARGEST + 150))]).await;
    under_test.webhooks(0..5);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 10).await;
    let whole = format!("{DEAD_LETTERS} WHERE origin LIKE '%/0/0' AND length(body) = 1040000");
    under_test.wait_until(&whole, 1).await;
    let cut = format!(
        "{DEAD_LETTERS} WHERE origin LIKE '%/0/1' AND body = '' AND detail LIKE '%cut%{} bytes of body%'",
        LARGEST + 150
    );
    under_test.wait_until(&cut, 1).await;

    under_test.configure_dead_letter_topic(&[("max.message.bytes", "100000")]).await;
    under_test.produce_any(&producer, &[video(noise(200_000))]).await;
    under_test.webhooks(5..10);
    under_test.wait_until(DELIVERIES, 20).await;
    under_test.wait_until(&format!("{DEAD_LETTERS} WHERE detail LIKE '%cut%200000 bytes%'"), 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_published_stops_its_own_partition() {
    let under_test = ProcessorUnderTest::new("not_published", 1).await;
    under_test.configure_dead_letter_topic(&[("max.message.bytes", "100")]).await;
    let image = under_test.topics.resource(Resource::Image);
    under_test.produce_raw(image, "k", &[b'x'; 500], OwnedHeaders::new());
    under_test.flush();
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    eventually("a stopped partition", DEADLINE, async || {
        let stopped = daemon.metric_if_there("hookline_processor_partition_stopped", &[image]).await;
        (stopped == Some(1.0)).then_some(())
    })
    .await;
    let ready = format!("http://{}/health/ready", daemon.address("admin").await);
    let answer = reqwest::get(&ready).await.unwrap();
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("dead_letter_topic") && text.contains(&format!("{image}/0/0")), "{text}");
    under_test.webhooks(0..5);
    under_test.wait_until(DELIVERIES, 10).await;
    eventually("the other partition committed", DEADLINE, async || {
        under_test.committed_offsets().contains(&rdkafka::Offset::Offset(10)).then_some(())
    })
    .await;

    // It goes on in the same process.
    under_test.configure_dead_letter_topic(&[("max.message.bytes", "1048588")]).await;
    under_test.wait_until(&format!("{DEAD_LETTERS} WHERE origin = '{image}/0/0'"), 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    daemon.wait_ready().await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_made_anew() {
    let cluster = KafkaCluster::start(&[
        "--sasl-ssl",
        "--set",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "--set",
        "super.users=User:ANONYMOUS",
    ])
    .await;
    let mut servers = Servers::fresh("made_anew").await;
    servers.kafka = cluster.config("hookline");
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    let sasl = cluster.layout().sasl.unwrap();
    let dead_letter = under_test.topics.dead_letter();
    let mut grants: Vec<_> = under_test.topics.all().map(Grant::ReadTopic).collect();
    grants.push(Grant::ReadGroup("hookline.processor"));
    grant(&under_test.servers.kafka, &sasl.plain.user, &grants).await;
    let [image, audio] = [Resource::Image, Resource::Audio].map(|resource| under_test.topics.resource(resource));
    under_test.produce_raw(image, "k", b"first", OwnedHeaders::new());
    under_test.webhooks(0..5);
    let mut daemon = under_test.daemon(&[
        ("KAFKA_BOOTSTRAP_SERVERS", &*sasl.bootstrap_servers),
        ("HOOKLINE_PROCESSOR__KAFKA__SECURITY_PROTOCOL", "sasl_ssl"),
        ("HOOKLINE_PROCESSOR__KAFKA__SASL_MECHANISM", "PLAIN"),
        ("HOOKLINE_PROCESSOR__KAFKA__SASL_USERNAME", &sasl.plain.user),
        ("HOOKLINE_PROCESSOR__KAFKA__SASL_PASSWORD", &sasl.plain.password),
        ("HOOKLINE_PROCESSOR__KAFKA__SSL_CA_LOCATION", sasl.ca.to_str().unwrap()),
    ]);
    // Without any right to write, a producer gets no id, which is fatal to it.
    eventually("a stopped partition", DEADLINE, async || {
        let stopped = daemon.metric_if_there("hookline_processor_partition_stopped", &[image]).await;
        (stopped == Some(1.0)).then_some(())
    })
    .await;
    under_test.wait_until(DELIVERIES, 10).await;
    grant(&under_test.servers.kafka, &sasl.plain.user, &[Grant::WriteTopic(dead_letter)]).await;
    under_test.produce_raw(audio, "k", b"second", OwnedHeaders::new());
    under_test.flush();
    under_test.wait_until(&format!("{DEAD_LETTERS} WHERE body = 'second'"), 1).await;
    daemon.wait_ready().await;
    assert!(daemon.terminate().await.success());
}
