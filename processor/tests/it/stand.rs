//! A fresh database with tables, fresh topics, and deliveries to put into them.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use clickhouse::Client;
use hookline_schemas::ids::{EventType, Resource};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::record::{DeliveryMetadata, encode_headers};
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use hookline_testkit::{Daemon, Servers, eventually};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Stand {
    pub servers: Servers,
    pub topics: Topics,
    pub client: Client,
    partitions: i32,
    producer: ThreadedProducer<DefaultProducerContext>,
}

/// A delivery to be produced.
#[derive(Clone, Debug)]
pub struct Sent {
    pub event: EventType,
    pub job: String,
    pub body: String,
    pub signed_at: u32,
    pub received_ms: i64,
}

impl Stand {
    pub async fn new(name: &str, partitions: i32) -> Self {
        Self::on(Servers::fresh(name).await, partitions).await
    }

    /// On brokers that the test may break.
    pub async fn on(servers: Servers, partitions: i32) -> Self {
        let topics = Topics::new(&servers.kafka.topic_prefix).unwrap();
        servers.create_topics(topics.all(), partitions).await;
        let client = servers.clickhouse.client().unwrap();
        for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
            client.query(statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let producer = servers.kafka.client().unwrap().set("partitioner", "murmur2_random").create().unwrap();
        Self { servers, topics, client, partitions, producer }
    }

    pub fn daemon(&self, extra: &[(&str, &str)]) -> Daemon {
        let mut environment = self.servers.environment();
        environment.push(("HOOKLINE_PROCESSOR__ADMIN__LISTEN".into(), "127.0.0.1:0".into()));
        environment.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Daemon::start("hookline-processor", &[], &environment)
    }

    pub fn send(&self, sent: &Sent) {
        let signature = format!("{:064x}", u128::from(sent.signed_at) << 64 | sent.body.len() as u128);
        let metadata = DeliveryMetadata {
            source: "test",
            received_at: ReceivedAt(sent.received_ms),
            signed_at: SignedAt(sent.signed_at),
            signed_at_text: &sent.signed_at.to_string(),
            signature: HexSignature::parse(signature.as_bytes()).unwrap(),
            key_name: "default",
            first_signed_at: None,
        };
        let mut headers = OwnedHeaders::new();
        encode_headers(&metadata, Some(sent.event), &sent.job, None, |key, value| {
            headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
        });
        self.send_raw(self.topics.resource(sent.event.resource), &sent.job, sent.body.as_bytes(), headers);
    }

    pub fn send_raw(&self, topic: &str, key: &str, body: &[u8], headers: OwnedHeaders) {
        let mut record = BaseRecord::to(topic).key(key).payload(body).headers(headers);
        while let Err((_, back)) = self.producer.send(record) {
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }

    pub fn flush(&self) {
        self.producer.flush(DEADLINE).unwrap();
    }

    /// Sends all events of so many jobs.
    pub fn send_jobs(&self, numbers: std::ops::Range<usize>, created: u32) {
        for number in numbers {
            for sent in job(Resource::ALL[number % 3], number, created) {
                self.send(&sent);
            }
        }
        self.flush();
    }

    /// Runs a command of the processor to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(Daemon::binary("hookline-processor"))
            .args(arguments)
            .envs(self.servers.environment())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The committed offset of each partition of the live group, in order.
    pub fn committed(&self) -> Vec<Offset> {
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

    /// Waits until a processor has committed everything.
    pub async fn until_no_lag(&self, daemon: &mut Daemon) {
        const LAG: &str = "hookline_processor_lag_records";
        eventually("no lag", DEADLINE, async || (daemon.metric_if_there(LAG, &[]).await == Some(0.0)).then_some(()))
            .await;
    }

    pub async fn execute(&self, statement: &str) {
        self.client.query(statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub async fn number(&self, query: &str) -> u64 {
        self.client.query(query).fetch_one().await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub async fn until(&self, query: &str, expected: u64) {
        let mut last = 0;
        eventually(&format!("{query} = {expected}"), DEADLINE, async || {
            let number = self.number(query).await;
            if number != last {
                eprintln!("{query}: {number} of {expected}");
                last = number;
            }
            (number == expected).then_some(())
        })
        .await;
    }
}

/// The three deliveries of one job of `resource`.
pub fn job(resource: Resource, number: usize, created: u32) -> Vec<Sent> {
    let id = format!("c{number:024}");
    let date = SignedAt(created).to_string();
    EventType::all()
        .filter(|event| event.resource == resource)
        .enumerate()
        // Two of three complete, the third fails.
        .filter(|(index, _)| *index == 0 || (*index == 2) == number.is_multiple_of(3))
        .map(|(index, event)| {
            let signed_at = created + 2 + index as u32;
            Sent {
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

/// Now, in Unix seconds.
pub fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u32::try_from(since.as_secs()).unwrap()
}
