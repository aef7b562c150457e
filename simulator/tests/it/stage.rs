//! Ingest and processors on topics and tables of their own.

use std::path::Path;
use std::process::{Command, Stdio};

use clickhouse::Client;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, Servers};
use reqwest::Url;

use crate::traffic::SECRET;

pub struct Stage {
    pub url: Url,
    pub ingest: Daemon,
    pub kafka: KafkaConfig,
    pub clickhouse: Client,
    pub clickhouse_url: String,
    /// What points programs at the servers, the topics and the database.
    pub environment: Vec<(String, String)>,
    /// Drops the database.
    _servers: Option<Servers>,
}

impl Stage {
    /// On the servers that the whole test run shares.
    pub async fn shared(name: &str) -> Self {
        let servers = Servers::fresh(name).await;
        let (kafka, clickhouse) = (servers.kafka.clone(), servers.clickhouse.clone());
        Self { _servers: Some(servers), ..Self::on(kafka, &clickhouse).await }
    }

    /// On servers that the test may break.
    pub async fn on(kafka: KafkaConfig, clickhouse: &ClickHouseConfig) -> Self {
        let environment = environment(&kafka, clickhouse);
        migrate(&environment).await;
        let own = [
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_SOURCE", "magichour"),
            ("HOOKLINE_WEBHOOK_SECRET", SECRET),
        ];
        let mut ingest = Daemon::start("hookline-ingest", &[], &with(&environment, &own));
        ingest.wait_ready().await;
        let url = format!("http://{}/webhooks/magichour", ingest.address("server").await);
        let url = Url::parse(&url).unwrap();
        Self {
            url,
            ingest,
            kafka,
            clickhouse: clickhouse.client().unwrap(),
            clickhouse_url: clickhouse.url.clone(),
            environment,
            _servers: None,
        }
    }

    /// Starts a processor: small batches, so that a fault finds one under way. `settings` come last and win.
    pub fn processor(&self, instance: &str, settings: &[(&str, &str)]) -> Daemon {
        let own = [
            ("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", instance),
            ("HOOKLINE_PROCESSOR__GROUP__SESSION_TIMEOUT_MS", "6000"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "200"),
            ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "200"),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "500"),
        ];
        Daemon::start("hookline-processor", &[], &with(&with(&self.environment, &own), settings))
    }

    /// Starts to read everything again that the topics hold.
    pub fn start_replay(&self, state: &Path, records_per_second: u64) -> Daemon {
        let state = state.to_str().unwrap();
        let arguments = ["replay", "--state", state, "--rate", &records_per_second.to_string()];
        Daemon::start("hookline-processor", &arguments, &self.environment)
    }

    /// Reads everything again that the topics hold, or the rest of what was begun, and gives what the replay says of it.
    pub async fn replay(&self, state: &Path) -> serde_json::Value {
        let mut command = Command::new(Daemon::binary("hookline-processor"));
        command.args(["replay", "--json", "--rate", "0", "--state"]).arg(state);
        serde_json::from_slice(&output("replay", command, &self.environment).await).unwrap()
    }

    /// Rows of a table.
    pub async fn count(&self, from: &str) -> Option<u64> {
        self.clickhouse.query(&format!("SELECT count() FROM {from}")).fetch_one().await.ok()
    }
}

fn environment(kafka: &KafkaConfig, clickhouse: &ClickHouseConfig) -> Vec<(String, String)> {
    let names = [
        ("KAFKA_BOOTSTRAP_SERVERS", &*kafka.bootstrap_servers),
        ("HOOKLINE_TOPIC_PREFIX", &kafka.topic_prefix),
        ("CLICKHOUSE_URL", &clickhouse.url),
        ("CLICKHOUSE_DATABASE", &clickhouse.database),
        ("CLICKHOUSE_USER", &clickhouse.user),
        ("CLICKHOUSE_PASSWORD", clickhouse.password.as_ref().map_or("", Secret::expose)),
    ];
    with(&[], &names)
}

/// An environment with more in it.
pub fn with(environment: &[(String, String)], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.iter().cloned().chain(more).collect()
}

async fn migrate(environment: &[(String, String)]) {
    let mut command = Command::new(Daemon::binary("hookline-analytics"));
    command.arg("migrate");
    output("migrate", command, environment).await;
}

async fn output(name: &str, mut command: Command, environment: &[(String, String)]) -> Vec<u8> {
    command.envs(environment.iter().cloned()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
