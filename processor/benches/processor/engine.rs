//! The side of ClickHouse's own Kafka engine: ClickHouse reads the topics itself, and the views of `engine.sql` fill the
//! tables.

use std::time::Instant;

use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::ids::Resource;

use crate::bench_topics::{BenchTopics, Cost, Run};
use crate::tables;

const SQL: &str = include_str!("engine.sql");

/// Fills the tables and measures what that costs.
pub async fn run(bench: &BenchTopics, run: &Run) -> anyhow::Result<Cost> {
    let before = bench.used();
    let began = Instant::now();
    start(bench, run).await?;
    let elapsed = tables::until_filled(&run.clickhouse, bench.filled.records, began).await?;
    stop(run).await?;
    Ok(Cost { elapsed, used: bench.used().since(before), processor: None })
}

/// Makes the tables that read the topics.
pub async fn start(bench: &BenchTopics, run: &Run) -> anyhow::Result<()> {
    let topics = Resource::ALL.map(|resource| run.topics.resource(resource)).join(",");
    let sql = SQL
        .replace("{brokers}", &run.servers.kafka.bootstrap_servers)
        .replace("{topics}", &topics)
        .replace("{group}", &run.servers.clickhouse.database)
        .replace("{log_id}", &bench.filled.log_id)
        .replace("{fold_version}", &FOLD_VERSION.to_string());
    for statement in sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        match run.clickhouse.query(statement).execute().await {
            // The embedded server of the local stack answers this to every Kafka table; the table is created and works.
            Err(error) if error.to_string().contains("Shutdown was called") => {}
            result => result?,
        }
    }
    Ok(())
}

/// Ends the consumers first, so that the wait for the merges costs neither side anything.
pub async fn stop(run: &Run) -> anyhow::Result<()> {
    run.clickhouse.query("DROP TABLE records SYNC").execute().await?;
    tables::until_merged(&run.clickhouse).await
}
