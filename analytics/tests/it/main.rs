//! Against the real Kafka and the real ClickHouse; `make test` starts both.

mod migrate;
mod rollup;

use hookline_analytics::config::{Config, TopicsConfig};
use hookline_analytics::migrate::MigrateArgs;
use hookline_service::testing::Servers;

/// The configuration of a test's own topics and database.
fn config(servers: &Servers) -> Config {
    Config { kafka: servers.kafka.clone(), clickhouse: servers.clickhouse.clone(), topics: TopicsConfig::default() }
}

async fn migrated(name: &str) -> Servers {
    let servers = Servers::fresh(name).await;
    hookline_analytics::migrate::run(config(&servers), MigrateArgs::default()).await.unwrap();
    servers
}
