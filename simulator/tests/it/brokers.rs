//! What the brokers show of Hookline: topics, headers of records, groups and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use hookline_schemas::record::header;
use hookline_schemas::topics::Topics;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, eventually, read_records, with};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The length of the UUID that the brokers add to the id of a member, with the hyphen before it.
const UUID: usize = 37;

/// The names of the headers of deliveries and of dead letters, in their order. `FIRST_SIGNED_AT` is left out: only a webhook
/// that was answered 503 before has it, and that depends on the brokers.
pub async fn record_headers(kafka: &KafkaConfig) -> String {
    let topics = Topics::new(&kafka.topic_prefix).unwrap();
    let mut found: BTreeMap<&str, BTreeSet<Vec<String>>> = BTreeMap::new();
    for record in read_records(kafka).await {
        let kind = if record.topic == topics.dead_letter() { "a dead letter" } else { "a delivery" };
        let names = record.headers.into_iter().map(|(name, _)| name);
        found.entry(kind).or_default().insert(names.filter(|name| name != header::FIRST_SIGNED_AT).collect());
    }
    let mut text = String::new();
    for (kind, lists) in found {
        for names in lists {
            writeln!(text, "{kind}\n    {}", names.join("\n    ")).unwrap();
        }
    }
    text
}

/// The topics whose names begin with the prefix.
pub fn topics(kafka: &KafkaConfig) -> String {
    let metadata = consumer(kafka).fetch_metadata(None, TIMEOUT).unwrap();
    let names: BTreeSet<_> = metadata.topics().iter().map(MetadataTopic::name).collect();
    names.into_iter().filter(|name| name.starts_with(&kafka.topic_prefix)).fold(String::new(), |mut text, name| {
        writeln!(text, "topic {name}").unwrap();
        text
    })
}

/// The groups whose names begin with the prefix, and their members. The id of a static member begins with its
/// `group.instance.id`.
pub fn groups(kafka: &KafkaConfig) -> String {
    let consumer = consumer(kafka);
    let all = consumer.fetch_group_list(None, TIMEOUT).unwrap();
    let mut text = String::new();
    for group in all.groups().iter().filter(|group| group.name().starts_with(&kafka.topic_prefix)) {
        writeln!(text, "group {}, {}, {}", group.name(), group.protocol_type(), group.protocol()).unwrap();
        for member in group.members() {
            let (instance, _) = member.id().split_at(member.id().len() - UUID);
            writeln!(text, "    client.id {}, group.instance.id {instance}", member.client_id()).unwrap();
        }
    }
    text
}

/// The client id in the first request that a program sends to a broker. The broker here is a listener that never answers.
pub async fn client_id(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> String {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = broker.local_addr().unwrap().to_string();
    let _program = Daemon::start(binary, arguments, &with(environment, &[("KAFKA_BOOTSTRAP_SERVERS", &address)]));
    let request = async {
        let (mut connection, _) = broker.accept().await.unwrap();
        // Size, kind, version and number of the request come before the client id.
        connection.read_exact(&mut [0; 12]).await.unwrap();
        let mut name = vec![0; connection.read_u16().await.unwrap().into()];
        connection.read_exact(&mut name).await.unwrap();
        String::from_utf8(name).unwrap()
    };
    timeout(TIMEOUT, request).await.expect("a request")
}

/// Waits until the processor has the lag of this many partitions among its metrics.
pub async fn has_partitions(processor: &mut Daemon, count: usize) {
    eventually("the lag of every partition", TIMEOUT, async || {
        (processor.metric_labels("hookline_processor_lag_records").await.len() == count).then_some(())
    })
    .await;
}

fn consumer(kafka: &KafkaConfig) -> BaseConsumer {
    kafka.client().unwrap().set("group.id", "none").create().unwrap()
}
