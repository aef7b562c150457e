//! The filled topics that all runs read, the database of one run, and what a run costs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hookline_schemas::topics::Topics;
use hookline_testkit::{Process, Servers, delete_topics};

use crate::fill::{self, Filled};
use crate::tables;

/// Filled topics, and the ClickHouse and the broker whose work is measured.
pub struct BenchTopics {
    pub servers: Servers,
    pub topics: Topics,
    pub filled: Filled,
    pub clickhouse: Process,
    pub broker: Process,
}

impl BenchTopics {
    /// Creates the topics and produces `records` records into them.
    pub async fn fill(records: u64) -> anyhow::Result<Self> {
        let servers = Servers::fresh("bench").await;
        let listening_on = |address: &str| {
            let port = address.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
            port.map(Process::listening_on).with_context(|| format!("{address} names no port"))
        };
        let clickhouse = listening_on(&servers.clickhouse.url)?;
        let broker = listening_on(&servers.kafka.bootstrap_servers)?;
        let topics = created(&servers).await?;
        let filled = fill::fill(&servers.kafka, &topics, records)?;
        let found = fill::records_in(&servers.kafka, &topics, Topics::DEFAULT_PARTITIONS)?;
        ensure!(found == records, "the topics hold {found} records instead of {records}");
        Ok(Self { servers, topics, filled, clickhouse, broker })
    }

    pub async fn delete(self) {
        delete_topics(&self.servers.kafka, self.topics.all()).await;
    }

    /// What the servers have used so far.
    pub fn used(&self) -> Used {
        Used { clickhouse: self.clickhouse.cpu(), broker: self.broker.cpu() }
    }
}

/// Topics as `migrate` makes them where nothing is configured.
async fn created(servers: &Servers) -> anyhow::Result<Topics> {
    let topics = Topics::new(&servers.kafka.topic_prefix)?;
    servers.create_topics(topics.all(), Topics::DEFAULT_PARTITIONS.into()).await;
    Ok(topics)
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

/// The topics that a run reads and a fresh database with empty tables.
pub struct Run {
    pub servers: Servers,
    pub topics: Topics,
    pub clickhouse: clickhouse::Client,
}

impl Run {
    /// Creates the database and its tables, beside the filled topics.
    pub async fn prepare(bench: &BenchTopics, contender: &Contender) -> anyhow::Result<Self> {
        let mut servers = Servers::fresh("bench_run").await;
        servers.kafka = bench.servers.kafka.clone();
        let run = Self::with_tables(servers, bench.topics.clone()).await?;
        if let Contender::Altered(statements) = contender {
            for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
                run.clickhouse.query(statement).execute().await?;
            }
        }
        Ok(run)
    }

    /// The same beside empty topics of its own.
    pub async fn live() -> anyhow::Result<Self> {
        let servers = Servers::fresh("bench_live").await;
        let topics = created(&servers).await?;
        Self::with_tables(servers, topics).await
    }

    async fn with_tables(servers: Servers, topics: Topics) -> anyhow::Result<Self> {
        let clickhouse = servers.clickhouse.client()?;
        tables::create(&clickhouse).await?;
        Ok(Self { servers, topics, clickhouse })
    }
}

/// CPU time of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Merges included.
    pub clickhouse: Duration,
    pub broker: Duration,
}

impl Used {
    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { clickhouse: self.clickhouse - before.clickhouse, broker: self.broker - before.broker }
    }
}

/// What one run of a contender cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time until the last row was in the tables.
    pub elapsed: Duration,
    pub used: Used,
    /// None for the engine, which is a part of ClickHouse.
    pub processor: Option<ProcessorUsage>,
}

#[derive(Clone, Copy, Debug)]
pub struct ProcessorUsage {
    pub cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub peak_memory: u64,
}
