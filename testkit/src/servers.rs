//! The Kafka and the ClickHouse that a whole test run shares, with topics and a database for one test alone.

use std::sync::atomic::{AtomicU32, Ordering};

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use hookline_service::kafka::KafkaConfig;

use super::environment::{Environment, clickhouse_environment, kafka_environment, required};
use super::topics::create_topics;

/// A topic prefix and a database that nobody else uses. The database is dropped together with the value; topics stay until
/// the servers end.
#[derive(Debug)]
pub struct Servers {
    pub kafka: KafkaConfig,
    pub clickhouse: ClickHouseConfig,
}

impl Servers {
    /// Creates the database. `name` is the beginning of its name and of the topics' names, so that a failure can be traced
    /// to its test.
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

    /// Creates topics with one replica, whose records have the broker's time, as `hookline-analytics migrate` makes them.
    pub async fn create_topics(&self, topics: impl IntoIterator<Item = &str>, partitions: i32) {
        create_topics(&self.kafka, topics, (partitions, 1), &[("message.timestamp.type", "LogAppendTime")]).await;
    }

    /// Points a binary at these servers.
    pub fn environment(&self) -> Environment {
        [kafka_environment(&self.kafka), clickhouse_environment(&self.clickhouse)].concat()
    }

    async fn on_database(&self, verb: &str) {
        let client = self.clickhouse.client().expect("a sound configuration").with_database("system");
        let statement = format!("{verb} DATABASE {}", self.clickhouse.database);
        client.query(&statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A thread of its own, because a runtime cannot be entered from within another.
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
