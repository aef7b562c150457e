//! The whole pipeline from webhook to table, for tests and the soak: ingest and processors as child processes, simulated
//! traffic, a network that fails between processor and ClickHouse, faults to inject, and the assertions that must hold in the
//! end. Not part of the library unless the feature `pipeline` is on.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod answers;
pub mod assertions;
pub mod faults;
pub mod rebuilds;
pub mod redrives;
pub mod replays;
pub mod terminations;
pub mod traffic;

use std::path::Path;
use std::time::Duration;

use clickhouse::Client;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{
    ClickHouseServer, Daemon, Environment, KafkaCluster, NetworkProxy, Servers, clickhouse_environment, eventually,
    kafka_environment, run_successfully, with,
};
use reqwest::Url;

use self::replays::ReplaySource;
use self::traffic::SECRET;

/// Generous, because the machine may be compiling beside the tests.
const DEADLINE: Duration = Duration::from_secs(90);

const PROCESSOR: &str = "hookline-processor";

/// A running ingest on topics and tables of its own, to which processors are added.
pub struct Pipeline {
    /// The URL that ingest takes webhooks at.
    pub url: Url,
    pub ingest: Daemon,
    pub kafka: KafkaConfig,
    /// Connects directly, past the proxy.
    pub clickhouse: Client,
    /// Points a binary at the servers, the topics and the database, past the proxy.
    pub environment: Environment,
    /// Stands between every processor and ClickHouse.
    pub proxy: NetworkProxy,
    own_servers: Option<(KafkaCluster, ClickHouseServer)>,
    /// Drops the database together with the pipeline.
    _shared_servers: Option<Servers>,
}

impl Pipeline {
    /// Uses the servers that the whole test run shares.
    pub async fn on_shared_servers(name: &str) -> Self {
        let servers = Servers::fresh(name).await;
        let pipeline = Self::on(servers.kafka.clone(), &servers.clickhouse).await;
        Self { _shared_servers: Some(servers), ..pipeline }
    }

    /// Starts servers of its own, which a fault may stop and kill.
    pub async fn on_own_servers() -> Self {
        let (kafka, clickhouse) = tokio::join!(KafkaCluster::start(&[]), ClickHouseServer::start());
        let pipeline = Self::on(kafka.config("hookline"), &clickhouse.config()).await;
        Self { own_servers: Some((kafka, clickhouse)), ..pipeline }
    }

    /// Creates tables and topics on servers that somebody else minds, and starts ingest.
    pub async fn on(kafka: KafkaConfig, clickhouse: &ClickHouseConfig) -> Self {
        let environment = [kafka_environment(&kafka), clickhouse_environment(clickhouse)].concat();
        run_successfully("hookline-analytics", &["migrate"], &environment).await;
        let settings = [
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_SOURCE", "magichour"),
            ("HOOKLINE_WEBHOOK_SECRET", SECRET),
        ];
        let mut ingest = Daemon::start("hookline-ingest", &[], &with(&environment, &settings));
        ingest.wait_ready().await;
        let url = format!("http://{}/webhooks/magichour", ingest.address("server").await);
        let server = Url::parse(&clickhouse.url).unwrap().socket_addrs(|| None).unwrap()[0];
        Self {
            url: Url::parse(&url).unwrap(),
            ingest,
            kafka,
            clickhouse: clickhouse.client().unwrap(),
            environment,
            proxy: NetworkProxy::to(server).await,
            own_servers: None,
            _shared_servers: None,
        }
    }

    /// Starts a processor; those with different instances share the partitions. Its batches are small, so that a fault finds
    /// one in progress. `settings` are environment variables, and win.
    pub fn processor(&self, instance: &str, settings: &[(&str, &str)]) -> Daemon {
        let proxy = self.proxy.url();
        let own = [
            ("CLICKHOUSE_URL", &*proxy),
            ("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", instance),
            ("HOOKLINE_PROCESSOR__GROUP__SESSION_TIMEOUT_MS", "6000"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "200"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "200"),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "500"),
        ];
        Daemon::start(PROCESSOR, &[], &with(&with(&self.environment, &own), settings))
    }

    /// Starts a replay of everything that a source holds.
    pub fn start_replay(&self, source: ReplaySource, state: &Path, records_per_second: u64) -> Daemon {
        let (state, rate) = (state.to_str().unwrap(), records_per_second.to_string());
        let arguments = ["replay", "--source", source.as_str(), "--state", state, "--rate", &rate];
        Daemon::start(PROCESSOR, &arguments, &self.environment)
    }

    /// Replays everything that a source holds, or the rest of the replay that `state` tells of, and gives its report.
    pub async fn replay(&self, source: ReplaySource, state: &Path) -> serde_json::Value {
        let state = state.to_str().unwrap();
        let arguments = ["replay", "--json", "--source", source.as_str(), "--rate", "0", "--state", state];
        serde_json::from_slice(&run_successfully(PROCESSOR, &arguments, &self.environment).await).unwrap()
    }

    /// Counts the rows of a table; `None` while ClickHouse does not answer.
    pub async fn count(&self, from: &str) -> Option<u64> {
        self.clickhouse.query(&format!("SELECT count() FROM {from}")).fetch_one().await.ok()
    }

    /// Runs a statement on the tables, which no processor knows of.
    pub async fn execute(&self, statement: &str) {
        self.clickhouse.query(statement).execute().await.unwrap();
    }

    /// Waits until `deliveries` has this many rows, so that a fault comes when there is something to lose.
    pub async fn wait_for_rows(&self, wanted: u64) {
        let count = async || self.count("deliveries").await.filter(|rows| *rows >= wanted);
        eventually("rows in deliveries", DEADLINE, count).await;
    }

    fn own_kafka(&mut self) -> &mut KafkaCluster {
        &mut self.own_servers.as_mut().expect("a Kafka of its own").0
    }

    fn own_clickhouse(&mut self) -> &mut ClickHouseServer {
        &mut self.own_servers.as_mut().expect("a ClickHouse of its own").1
    }
}
