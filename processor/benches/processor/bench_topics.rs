//! The filled topics that all runs read, the database of one run, and what a run costs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hookline_schemas::topics::Topics;
use hookline_testkit::{Process, Servers, delete_topics};

use crate::fill::{self, Filled};
use crate::tables;

const PARTITIONS: i32 = 8;

/// Filled topics, and the ClickHouse whose work is measured.
pub struct BenchTopics {
    pub servers: Servers,
    pub topics: Topics,
    pub filled: Filled,
    pub clickhouse: Process,
}

impl BenchTopics {
    /// Creates the topics and produces `records` records into them.
    pub async fn fill(records: u64) -> anyhow::Result<Self> {
        let servers = Servers::fresh("bench").await;
        let port = servers.clickhouse.url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        let clickhouse = Process::listening_on(port.context("CLICKHOUSE_URL names no port")?);
        let topics = Topics::new(&servers.kafka.topic_prefix)?;
        servers.create_topics(topics.all(), PARTITIONS).await;
        let filled = fill::fill(&servers.kafka, &topics, records)?;
        let found = fill::records_in(&servers.kafka, &topics, PARTITIONS)?;
        ensure!(found == records, "the topics hold {found} records instead of {records}");
        Ok(Self { servers, topics, filled, clickhouse })
    }

    pub async fn delete(self) {
        delete_topics(&self.servers.kafka, self.topics.all()).await;
    }
}

/// What fills the tables in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The processor, without the roll-up: the engine has nothing like it.
    Processor,
    /// The processor as it is shipped, the roll-up included.
    WithRollUp,
    /// ClickHouse's own Kafka engine with materialized views.
    Engine,
    /// The processor without the roll-up, after these statements have changed the tables.
    Altered(String),
}

/// The bench's topics and a fresh database with empty tables.
pub struct Run {
    pub servers: Servers,
    pub clickhouse: clickhouse::Client,
}

impl Run {
    /// Creates the database and its tables.
    pub async fn prepare(bench: &BenchTopics, contender: &Contender) -> anyhow::Result<Self> {
        let mut servers = Servers::fresh("bench_run").await;
        servers.kafka = bench.servers.kafka.clone();
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

/// What one run of a contender cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time until the last row was in the tables.
    pub elapsed: Duration,
    /// CPU time of ClickHouse, merges included.
    pub clickhouse: Duration,
    /// None for the engine, which is a part of ClickHouse.
    pub processor: Option<ProcessorUsage>,
}

#[derive(Clone, Copy, Debug)]
pub struct ProcessorUsage {
    pub cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub peak_memory: u64,
}
