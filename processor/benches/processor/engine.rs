//! The engine's side: ClickHouse reads the topics itself, `engine.sql` fills the tables.

use std::time::Instant;

use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::ids::Resource;

use crate::scene::{Cost, Run, Scene};
use crate::tables;

const SQL: &str = include_str!("engine.sql");

/// Fills the tables, and says what that cost.
pub async fn run(scene: &Scene, run: &Run) -> anyhow::Result<Cost> {
    let before = scene.server.cpu()?;
    let began = Instant::now();
    let topics = Resource::ALL.map(|resource| scene.topics.resource(resource)).join(",");
    let sql = SQL
        .replace("{brokers}", &scene.servers.kafka.bootstrap_servers)
        .replace("{topics}", &topics)
        .replace("{group}", &run.servers.clickhouse.database)
        .replace("{log_id}", &scene.filled.log_id)
        .replace("{fold_version}", &FOLD_VERSION.to_string());
    for statement in sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        match run.clickhouse.query(statement).execute().await {
            // The embedded server of the local stack says so of every Kafka table, which is there all the same and works.
            Err(error) if error.to_string().contains("Shutdown was called") => {}
            result => result?,
        }
    }
    let elapsed = tables::until_filled(&run.clickhouse, scene.filled.records, began).await?;
    // Without its consumers, so that the waiting costs neither side anything.
    run.clickhouse.query("DROP TABLE records SYNC").execute().await?;
    tables::until_at_rest(&run.clickhouse).await?;
    Ok(Cost { elapsed, server: scene.server.cpu()? - before, client: None })
}
