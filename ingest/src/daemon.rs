//! The daemon: everything wired together, until SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::admin::{self, Admin, Readiness};
use hookline_service::config::ConfigError;
use hookline_service::shutdown::{self, CancellationToken};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::http::openapi;
use crate::kafka::producer::Producer;
use crate::kafka::readiness;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::sources::Sources;
use crate::webhook::Webhooks;

/// What requests in flight may take after SIGTERM: a body and its confirmation.
const DRAIN: Duration = Duration::from_secs(15);
/// What librdkafka may take then for records that nobody waits for any more.
const FLUSH: Duration = Duration::from_secs(4);
/// What the last answers of the admin listener may take.
const ADMIN: Duration = Duration::from_secs(1);
/// How often gauges of the load are brought up to date.
const OBSERVE: Duration = Duration::from_millis(500);

/// Reads the secrets that the configuration names.
pub fn read_sources(config: &Config) -> Result<Sources, ConfigError> {
    Sources::read(&config.sources, |name| std::env::var(name).ok())
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
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

    // Before anybody can know that we are there: a signal that is not waited for ends the process.
    tokio::spawn(reload_on_hangup(config.clone(), Arc::clone(&webhooks), metrics.clone())?);
    let listener = bind("server", config.server.listen).await?;
    let admin_listener = bind("admin", config.admin.listen).await?;
    let ended = CancellationToken::new();
    let router = admin.clone().router().merge(openapi::router());
    let admin_task = tokio::spawn(admin::serve(admin_listener, router, ended.clone()));
    tokio::spawn(readiness::watch(Arc::clone(&producer), topics, config.limits.body_bytes, admin.readiness.clone()));
    tokio::spawn(observe(Arc::clone(&webhooks)));
    let readiness = admin.readiness;
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        readiness.not_ready("service", "shutting down");
    });

    let serving = Server::new(webhooks, metrics, config.limits.connections).run(listener, shutdown, DRAIN);
    let connections = tokio::select! {
        left = serving => left,
        pumped = async { producer.run().await } => {
            pumped.context("the event queue of the producer")?;
            0
        }
    };
    let records = tokio::select! {
        left = producer.flush(FLUSH) => left,
        pumped = async { producer.run().await } => {
            pumped.context("the event queue of the producer")?;
            0
        }
    };
    ended.cancel();
    // Somebody who has begun to ask and does not go on must not keep the process alive.
    if let Ok(served) = timeout(ADMIN, admin_task).await {
        served?.context("the admin listener")?;
    }
    anyhow::ensure!(
        connections == 0 && records == 0,
        "shut down with {connections} connections and {records} records unfinished; none of them was acknowledged"
    );
    tracing::info!("nothing left in flight");
    Ok(())
}

async fn bind(name: &'static str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({name})"))?;
    tracing::info!(listener = name, address = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn reload_on_hangup(
    config: Config,
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
                    tracing::info!("secrets read again");
                }
                Err(error) => tracing::error!("secrets not read again, the old ones stay: {error}"),
            }
        }
    })
}

async fn observe(webhooks: Arc<Webhooks>) {
    loop {
        webhooks.observe_load();
        sleep(OBSERVE).await;
    }
}
