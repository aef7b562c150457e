//! Builds the daemon, runs it, and ends it on SIGTERM: connections first, then records, the admin listener last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::admin::{self, Admin, Readiness};
use hookline_service::config::ConfigError;
use hookline_service::shutdown::{self, CancellationToken};
use hookline_sources::Sources;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::config::IngestConfig;
use crate::http::openapi;
use crate::kafka::producer::Producer;
use crate::kafka::readiness;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::webhook::Webhooks;

/// The time that connections have at shutdown: enough for a body of 10 s and the broker's confirmation of 3.8 s.
const CONNECTIONS_DEADLINE: Duration = Duration::from_secs(15);
/// The time that librdkafka has after that for records whose senders did not wait.
const RECORDS_DEADLINE: Duration = Duration::from_secs(4);
/// The time that the admin listener has after that for its last responses.
const ADMIN_DEADLINE: Duration = Duration::from_secs(1);
const GAUGES_INTERVAL: Duration = Duration::from_millis(500);

/// Reads the secrets that the configuration names.
pub fn read_sources(config: &IngestConfig) -> Result<Sources, ConfigError> {
    Sources::read(&config.sources, |name| std::env::var(name).ok())
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: IngestConfig) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let sources = read_sources(&config)?;
    let client = config.kafka.client()?;
    let shutdown = shutdown::on_signal()?;

    let admin = Admin::new(Readiness::waiting_for(&[readiness::PART]))?;
    let metrics = Metrics::new(&admin.registry)?;
    let producer = Arc::new(Producer::new(client, &config.limits, metrics.producers_recreated.clone())?);
    let webhooks = Arc::new(Webhooks::new(
        &sources,
        topics.clone(),
        config.tolerance,
        config.limits,
        Arc::clone(&producer),
        metrics.clone(),
    ));

    // SIGHUP is handled before anybody can learn from an open port that the process is there: unhandled, it ends a
    // process.
    tokio::spawn(reload_on_hangup(config.clone(), Arc::clone(&webhooks), metrics.clone())?);
    let listener = admin::bind("server", config.server.listen).await?;
    let admin_listener = admin::bind("admin", config.admin.listen).await?;
    let cancel_admin = CancellationToken::new();
    let router = admin.clone().router().merge(openapi::router());
    let admin_task = tokio::spawn(admin::serve(admin_listener, router, cancel_admin.clone()));
    tokio::spawn(readiness::watch(Arc::clone(&producer), topics, config.limits.body_bytes, admin.readiness.clone()));
    tokio::spawn(update_gauges(Arc::clone(&webhooks)));
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            admin.readiness.not_ready("service", "shutting down");
        }
    });

    let server = Server::new(webhooks, metrics, config.limits.connections, shutdown);
    let serve = async {
        let connections = server.run(listener, CONNECTIONS_DEADLINE).await;
        (connections, producer.flush(RECORDS_DEADLINE).await)
    };
    let (connections, records) = tokio::select! {
        unfinished = serve => unfinished,
        error = producer.run() => return Err(error),
    };
    cancel_admin.cancel();
    // A client that has sent half a request and sends no more must not keep the process alive.
    if let Ok(served) = timeout(ADMIN_DEADLINE, admin_task).await {
        served?.context("the admin listener")?;
    }
    anyhow::ensure!(
        connections == 0 && records == 0,
        "shut down with {connections} connections and {records} records unfinished; none of them was acknowledged"
    );
    tracing::info!("shut down; no connection and no record is unfinished");
    Ok(())
}

fn reload_on_hangup(
    config: IngestConfig,
    webhooks: Arc<Webhooks>,
    metrics: Metrics,
) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            let read = read_sources(&config);
            metrics.reloaded(read.is_ok());
            match read {
                Ok(sources) => {
                    webhooks.use_secrets(&sources);
                    tracing::info!("SIGHUP: the secrets were reloaded");
                }
                Err(error) => {
                    tracing::error!("SIGHUP: the secrets were not reloaded, the previous ones stay in use: {error}");
                }
            }
        }
    })
}

async fn update_gauges(webhooks: Arc<Webhooks>) {
    loop {
        webhooks.update_load_gauges();
        sleep(GAUGES_INTERVAL).await;
    }
}
