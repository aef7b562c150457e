//! Fresh topics and a fresh database with tables, for a processor that a test starts, and records to put into the topics.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::Output;
use std::time::Duration;

use clickhouse::Client;
use hookline_schemas::ids::{EventType, Resource};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::record::{DeadLetter, DeliveryMetadata};
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, LogPipe, Servers, eventually, record_headers, run, with};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

/// Counts the rows that a repeated insert cannot double.
pub const DELIVERIES: &str = "SELECT count() FROM deliveries FINAL";

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct ProcessorUnderTest {
    pub servers: Servers,
    pub topics: Topics,
    pub client: Client,
    partitions: i32,
    producer: ThreadedProducer<DefaultProducerContext>,
}

/// A record of a resource topic, as ingest would produce it for a webhook.
#[derive(Clone, Debug)]
pub struct WebhookRecord {
    pub event: EventType,
    pub job: String,
    pub body: String,
    pub signed_at: u32,
    pub received_ms: i64,
}

impl WebhookRecord {
    /// A signature that no other record has: 64 hex digits.
    pub fn signature(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.body.hash(&mut hasher);
        format!("{:064x}", u128::from(self.signed_at) << 64 | u128::from(hasher.finish()))
    }

    /// The headers that it has in the topic of its resource or, as `dead` says, in that of the dead letters.
    pub fn headers(&self, first_signed_at: Option<u32>, dead: Option<&DeadLetter<'_>>) -> OwnedHeaders {
        let signature = self.signature();
        let metadata = DeliveryMetadata {
            source: "test",
            received_at: ReceivedAt(self.received_ms),
            signed_at: SignedAt(self.signed_at),
            signed_at_text: &self.signed_at.to_string(),
            signature: HexSignature::parse(signature.as_bytes()).unwrap(),
            key_name: "default",
            first_signed_at: first_signed_at.map(SignedAt),
        };
        record_headers(&metadata, Some(self.event), &self.job, dead)
    }
}

impl ProcessorUnderTest {
    pub async fn new(name: &str, partitions: i32) -> Self {
        Self::on(Servers::fresh(name).await, partitions).await
    }

    /// Uses brokers that the test may break.
    pub async fn on(servers: Servers, partitions: i32) -> Self {
        let topics = Topics::new(&servers.kafka.topic_prefix).unwrap();
        servers.create_topics(topics.all(), partitions).await;
        let client = servers.clickhouse.client().unwrap();
        for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
            client.query(statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let producer = producer(&servers.kafka);
        Self { servers, topics, client, partitions, producer }
    }

    /// Goes on with other brokers, which have no topics yet.
    pub async fn move_to(&mut self, kafka: KafkaConfig) {
        self.producer = producer(&kafka);
        self.topics = Topics::new(&kafka.topic_prefix).unwrap();
        self.servers.kafka = kafka;
        self.servers.create_topics(self.topics.all(), self.partitions).await;
    }

    pub fn daemon(&self, extra: &[(&str, &str)]) -> Daemon {
        self.daemon_logging_into(LogPipe::Read, extra)
    }

    /// The same with a log that is not read to its end.
    pub fn daemon_logging_into(&self, pipe: LogPipe, extra: &[(&str, &str)]) -> Daemon {
        let environment = with(&self.servers.environment(), &[("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0")]);
        Daemon::start_logging_into(pipe, "hookline-processor", &[], &with(&environment, extra))
    }

    pub fn produce(&self, record: &WebhookRecord) {
        self.produce_attempt(record, None);
    }

    /// Produces a record whose first attempt, signed then, was refused with 503.
    pub fn produce_first_signed(&self, record: &WebhookRecord, first_signed_at: u32) {
        self.produce_attempt(record, Some(first_signed_at));
    }

    fn produce_attempt(&self, record: &WebhookRecord, first_signed_at: Option<u32>) {
        let headers = record.headers(first_signed_at, None);
        self.produce_raw(self.topics.resource(record.event.resource), &record.job, record.body.as_bytes(), headers);
    }

    pub fn produce_raw(&self, topic: &str, key: &str, body: &[u8], headers: OwnedHeaders) {
        let mut record = BaseRecord::to(topic).key(key).payload(body).headers(headers);
        while let Err((_, back)) = self.producer.send(record) {
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }

    pub fn flush(&self) {
        self.producer.flush(DEADLINE).unwrap();
    }

    /// Produces all records of the jobs with these numbers.
    pub fn produce_jobs(&self, numbers: std::ops::Range<usize>, created: u32) {
        for number in numbers {
            for record in records_of_job(Resource::ALL[number % 3], number, created) {
                self.produce(&record);
            }
        }
        self.flush();
    }

    /// Runs a command of the processor to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        run("hookline-processor", arguments, &self.servers.environment()).await
    }

    /// The committed offset of each partition of the live group, in order.
    pub fn committed_offsets(&self) -> Vec<Offset> {
        let kafka = &self.servers.kafka;
        let group = format!("{}.processor", kafka.topic_prefix);
        let consumer: BaseConsumer = kafka.client().unwrap().set("group.id", group).create().unwrap();
        let mut positions = TopicPartitionList::new();
        for topic in self.topics.all() {
            for partition in 0..self.partitions {
                positions.add_partition(topic, partition);
            }
        }
        let committed = consumer.committed_offsets(positions, DEADLINE).unwrap();
        committed.elements().iter().map(TopicPartitionListElem::offset).collect()
    }

    /// Waits until the processor has committed everything that was produced.
    pub async fn wait_until_no_lag(&self, daemon: &mut Daemon) {
        const LAG: &str = "hookline_processor_lag_records";
        eventually("no lag", DEADLINE, async || (daemon.metric_if_there(LAG, &[]).await == Some(0.0)).then_some(()))
            .await;
    }

    pub async fn execute(&self, statement: &str) {
        self.client.query(statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub async fn query_number(&self, query: &str) -> u64 {
        self.client.query(query).fetch_one().await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits until the number that `query` gives is `expected`.
    pub async fn wait_until(&self, query: &str, expected: u64) {
        let mut last = 0;
        eventually(&format!("{query} = {expected}"), DEADLINE, async || {
            let number = self.query_number(query).await;
            if number != last {
                eprintln!("{query}: {number} of {expected}");
                last = number;
            }
            (number == expected).then_some(())
        })
        .await;
    }
}

fn producer(kafka: &KafkaConfig) -> ThreadedProducer<DefaultProducerContext> {
    kafka.client().unwrap().set("partitioner", "murmur2_random").create().unwrap()
}

/// The two records of one job of `resource`: its start, and its completion or, of every third job, its failure.
pub fn records_of_job(resource: Resource, number: usize, created: u32) -> Vec<WebhookRecord> {
    let id = format!("c{number:024}");
    let date = SignedAt(created).to_string();
    EventType::all()
        .filter(|event| event.resource == resource)
        .enumerate()
        .filter(|(index, _)| *index == 0 || (*index == 2) == number.is_multiple_of(3))
        .map(|(index, event)| {
            let signed_at = created + 2 + index as u32;
            WebhookRecord {
                event,
                body: format!(
                    r#"{{"type":"{event}","payload":{{"id":"{id}","type":"KIND_{}","created_at":"{date}","credits_charged":{},"fps":30,"error":{},"downloads":[]}}}}"#,
                    number % 5,
                    if index == 2 { 0 } else { 10 },
                    if index == 2 { r#"{"code":"no_source_face","message":"none"}"# } else { "null" },
                ),
                job: id.clone(),
                signed_at,
                received_ms: i64::from(signed_at) * 1000 + 250,
            }
        })
        .collect()
}

/// The time, in Unix seconds.
pub fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}
