//! Migrations, views and reports on a real Kafka and a real ClickHouse, which `make test` starts.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod dashboard;
mod documentation;
mod migrate;
mod pipeline;
mod report;
mod retention;
mod rollup;
mod serve;
mod top;
mod views;

use clickhouse::Client;

use hookline_analytics::config::AnalyticsConfig;
use hookline_analytics::migrate::MigrateArgs;
use hookline_testkit::Servers;

/// Configures the topics and the database of one test alone.
fn config(servers: &Servers) -> AnalyticsConfig {
    AnalyticsConfig {
        kafka: servers.kafka.clone(),
        clickhouse: servers.clickhouse.clone(),
        ..AnalyticsConfig::default()
    }
}

async fn migrated(name: &str) -> Servers {
    let servers = Servers::fresh(name).await;
    hookline_analytics::migrate::run(config(&servers), MigrateArgs::default()).await.unwrap();
    servers
}

async fn execute(client: &Client, statement: &str) {
    client.query_raw(statement).execute().await.unwrap_or_else(|error| panic!("{error}\n{statement}"));
}

async fn number(client: &Client, question: &str) -> u64 {
    client.query_raw(question).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{question}"))
}
