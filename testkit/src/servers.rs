//! The real Kafka and the real ClickHouse that the environment names, with topics and a database for one test alone.

use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use hookline_service::kafka::KafkaConfig;

/// A topic prefix and a database that nobody else uses; the database is dropped with it.
#[derive(Debug)]
pub struct Servers {
    /// The brokers and the prefix.
    pub kafka: KafkaConfig,
    /// The server and the database.
    pub clickhouse: ClickHouseConfig,
}

impl Servers {
    /// Makes the database; `name` shows in the names, for whoever looks into a failure.
    pub async fn fresh(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let servers = Self {
            kafka: KafkaConfig {
                bootstrap_servers: required("KAFKA_BOOTSTRAP_SERVERS"),
                topic_prefix: unique.clone(),
                ..KafkaConfig::default()
            },
            clickhouse: ClickHouseConfig {
                url: required("CLICKHOUSE_URL"),
                database: unique,
                user: required("CLICKHOUSE_USER"),
                password: Some(Secret::new(required("CLICKHOUSE_PASSWORD"))),
                ..ClickHouseConfig::default()
            },
        };
        servers.on_database("CREATE").await;
        servers
    }

    /// Makes topics on the brokers of `kafka`, with one replica.
    pub async fn create_topics(&self, topics: impl IntoIterator<Item = &str>, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            self.kafka.client().expect("a sound configuration").create().expect("an admin client");
        let topics: Vec<_> = topics
            .into_iter()
            .map(|topic| {
                NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
                    .set("message.timestamp.type", "LogAppendTime")
            })
            .collect();
        for result in admin.create_topics(&topics, &AdminOptions::new()).await.expect("an answer of the broker") {
            result.unwrap_or_else(|(topic, code)| panic!("cannot create the topic {topic}: {code}"));
        }
    }

    /// The names that point a daemon or a command at these servers.
    pub fn environment(&self) -> Vec<(String, String)> {
        let password = self.clickhouse.password.as_ref().map_or("", Secret::expose);
        [
            ("KAFKA_BOOTSTRAP_SERVERS", &*self.kafka.bootstrap_servers),
            ("HOOKLINE_TOPIC_PREFIX", &self.kafka.topic_prefix),
            ("CLICKHOUSE_URL", &self.clickhouse.url),
            ("CLICKHOUSE_DATABASE", &self.clickhouse.database),
            ("CLICKHOUSE_USER", &self.clickhouse.user),
            ("CLICKHOUSE_PASSWORD", password),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    async fn on_database(&self, verb: &str) {
        let client = self.clickhouse.client().expect("a sound configuration").with_database("system");
        let statement = format!("{verb} DATABASE {}", self.clickhouse.database);
        client.query(&statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let dropped = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                    runtime.block_on(self.on_database("DROP"));
                })
                .join()
        });
        assert!(dropped.is_ok() || std::thread::panicking(), "the test's database could not be dropped");
    }
}

fn required(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`, which starts the servers"))
}
