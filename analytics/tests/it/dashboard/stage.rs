//! What the pages are shown on: the whole pipeline with two days of jobs and fresh webhooks, and a listener by which a page's test
//! stops ClickHouse and sends more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_testkit::{
    ClickHouseServer, Daemon, Environment, Servers, clickhouse_environment, eventually, kafka_environment,
    run_successfully, with,
};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::execute;

const DEADLINE: Duration = Duration::from_secs(90);
const SECRET: &str = "mhw_test_0123456789abcdef";
/// The hours before now that have jobs.
const HOURS: i64 = 52;
/// User and password of the guarded page.
pub const LOGIN: &str = "viewer:s3cret";

pub struct Stage {
    pub url: String,
    /// The same figures below a base path, for who has the password.
    pub guarded_url: String,
    pub control_url: String,
    _daemons: Vec<Daemon>,
    _password: tempfile::NamedTempFile,
    _servers: Servers,
}

#[derive(Clone)]
struct Control {
    clickhouse: Arc<Mutex<ClickHouseServer>>,
    sender: Environment,
}

impl Stage {
    pub async fn set() -> Self {
        // Kafka is that of the whole run; ClickHouse is the stage's own, to be stopped.
        let servers = Servers::fresh("dashboard").await;
        let clickhouse = ClickHouseServer::start().await;
        let config = clickhouse.config();
        let environment = [kafka_environment(&servers.kafka), clickhouse_environment(&config)].concat();
        run_successfully("hookline-analytics", &["migrate"], &environment).await;
        fill(&config).await;

        let source = [("HOOKLINE_SOURCE", "magichour"), ("HOOKLINE_WEBHOOK_SECRET", SECRET)];
        let listen =
            [("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"), ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0")];
        let mut ingest = Daemon::start("hookline-ingest", &[], &with(&with(&environment, &source), &listen));
        ingest.wait_ready().await;
        let own =
            [("HOOKLINE_PROCESSOR__ADMIN__LISTEN", "127.0.0.1:0"), ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "500")];
        let mut processor = Daemon::start("hookline-processor", &[], &with(&environment, &own));
        processor.wait_ready().await;
        let webhooks = format!("http://{}/webhooks/magichour", ingest.address("server").await);
        let sender = with(&with(&[], &source), &[("HOOKLINE_WEBHOOK_URL", &webhooks)]);
        send(&sender, "300", &["--foreign", "0.02", "--duplicates", "0.02"]).await;
        let client = config.client().unwrap();
        eventually("every webhook in ClickHouse", DEADLINE, async || {
            let rows: u64 = client.query("SELECT count() FROM deliveries").fetch_one().await.ok()?;
            (rows > 100 && processor.metric("hookline_processor_lag_records", &[]).await == 0.0).then_some(())
        })
        .await;

        let admin_urls =
            format!("http://{},http://{}", ingest.address("admin").await, processor.address("admin").await);
        let reader = with(
            &environment,
            &[
                ("CLICKHOUSE_READER_USER", "reader"),
                ("CLICKHOUSE_READER_PASSWORD", "test"),
                ("HOOKLINE_ANALYTICS__SERVE__LISTEN", "127.0.0.1:0"),
                ("HOOKLINE_ANALYTICS__SERVE__ADMIN_URLS", &admin_urls),
            ],
        );
        let mut serve = Daemon::start("hookline-analytics", &["serve"], &reader);
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), LOGIN).unwrap();
        let guarded = [
            ("HOOKLINE_ANALYTICS__SERVE__BASE_PATH", "/behind/hookline"),
            ("HOOKLINE_ANALYTICS__SERVE__BASIC_AUTH_FILE", password.path().to_str().unwrap()),
        ];
        let mut guarded = Daemon::start("hookline-analytics", &["serve"], &with(&reader, &guarded));
        Self {
            url: format!("http://{}", serve.address("serve").await),
            guarded_url: format!("http://{}/behind/hookline", guarded.address("serve").await),
            control_url: format!("http://{}", control(clickhouse, sender).await),
            _daemons: vec![ingest, processor, serve, guarded],
            _password: password,
            _servers: servers,
        }
    }
}

async fn fill(config: &ClickHouseConfig) {
    let client = config.client().unwrap();
    execute(&client, include_str!("history.sql")).await;
    let now = OffsetDateTime::now_utc().unix_timestamp() / 3_600;
    let hours: Vec<_> = (now - HOURS..=now).map(|hour| CreatedHour(hour * 3_600)).collect();
    execute(&client, &refresh_statement(&hours)).await;
}

/// Sends webhooks of jobs that ended in the last minutes, and waits until all are acknowledged.
async fn send(sender: &Environment, jobs: &str, more: &[&str]) {
    run_successfully("hookline-simulator", &[&["--past", "4m", "--jobs", jobs], more].concat(), sender).await;
}

/// Starts the listener: `POST /clickhouse/stop`, `/clickhouse/start` and `/jobs`.
async fn control(clickhouse: ClickHouseServer, sender: Environment) -> SocketAddr {
    let control = Control { clickhouse: Arc::new(Mutex::new(clickhouse)), sender };
    let router = Router::new()
        .route("/clickhouse/stop", post(stop))
        .route("/clickhouse/start", post(start))
        .route("/jobs", post(send_some))
        .with_state(control);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn stop(State(control): State<Control>) {
    control.clickhouse.lock().await.kill();
}

async fn start(State(control): State<Control>) {
    let mut clickhouse = control.clickhouse.lock().await;
    // The future of a restart is not one that a handler may wait for.
    tokio::task::block_in_place(|| Handle::current().block_on(clickhouse.restart()));
}

async fn send_some(State(control): State<Control>) {
    send(&control.sender, "20", &[]).await;
}
