//! What all runs have in common, what is a run's own, and what a run has cost.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hookline_schemas::topics::Topics;
use hookline_testkit::Servers;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::fill::{self, Filled};
use crate::tables;
use crate::usage::Process;

const PARTITIONS: i32 = 8;

/// Filled topics, and the server whose work is measured.
pub struct Scene {
    pub servers: Servers,
    pub topics: Topics,
    pub filled: Filled,
    /// ClickHouse's process.
    pub server: Process,
}

impl Scene {
    /// Makes topics and fills them.
    pub async fn set(records: u64) -> anyhow::Result<Self> {
        let servers = Servers::fresh("bench").await;
        let port = servers.clickhouse.url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        let server = Process::listening_on(port.context("CLICKHOUSE_URL names no port")?)?;
        let topics = Topics::new(&servers.kafka.topic_prefix)?;
        servers.create_topics(topics.all(), PARTITIONS).await;
        let filled = fill::fill(&servers.kafka, &topics, records)?;
        let there = fill::records_in(&servers.kafka, &topics, PARTITIONS)?;
        ensure!(there == records, "the topics hold {there} records instead of {records}");
        Ok(Self { servers, topics, filled, server })
    }

    /// Removes the topics.
    pub async fn clear(self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.servers.kafka.client()?.create()?;
        let names: Vec<&str> = self.topics.all().collect();
        for result in admin.delete_topics(&names, &AdminOptions::new()).await? {
            result.map_err(|(topic, code)| anyhow::anyhow!("cannot remove the topic {topic}: {code}"))?;
        }
        Ok(())
    }
}

/// Who fills the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Our processor, into the tables as they are; without the roll-up, which the engine has nothing of.
    Processor,
    /// Our processor as it is shipped, the roll-up included.
    WithRollUp,
    /// ClickHouse's own Kafka engine.
    Engine,
    /// Our processor, after a statement has changed the tables.
    Altered(String),
}

/// The scene's topics and a fresh database with empty tables.
pub struct Run {
    pub servers: Servers,
    pub clickhouse: clickhouse::Client,
}

impl Run {
    /// Makes the database.
    pub async fn prepare(scene: &Scene, contender: &Contender) -> anyhow::Result<Self> {
        let mut servers = Servers::fresh("bench_run").await;
        servers.kafka = scene.servers.kafka.clone();
        let clickhouse = servers.clickhouse.client()?;
        tables::create(&clickhouse).await?;
        if let Contender::Altered(statements) = contender {
            for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
                clickhouse.query(statement).execute().await?;
            }
        }
        Ok(Self { servers, clickhouse })
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Until the last row was there.
    pub elapsed: Duration,
    /// CPU of ClickHouse, merges included.
    pub server: Duration,
    /// The processor, where one was used.
    pub client: Option<Client>,
}

/// What our process took.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub cpu: Duration,
    /// Bytes.
    pub peak_memory: u64,
}
