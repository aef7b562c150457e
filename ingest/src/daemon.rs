//! Builds the daemon, runs it, and ends it on SIGTERM: connections first, then records, the admin listener last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::admin::{self, Admin, Readiness};
use hookline_service::cli::ConfigArgs;
use hookline_service::config::ConfigError;
use hookline_service::kafka::errors as kafka_errors;
use hookline_service::shutdown::{self, CancellationToken, fits_shutdown};
use hookline_sources::Sources;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::IngestConfig;
use crate::http::openapi;
use crate::kafka::producer::{PRODUCER, Producer};
use crate::kafka::readiness::{self, ADMIN_CLIENT};
use crate::metrics::Metrics;
use crate::reload;
use crate::server::Server;
use crate::webhook::Webhooks;

/// The time that connections have at shutdown: enough for a body of 10 s and the broker's confirmation of 3.8 s.
const CONNECTIONS_DEADLINE: Duration = Duration::from_secs(15);
/// The time that librdkafka has after that for records whose senders did not wait.
const RECORDS_DEADLINE: Duration = Duration::from_secs(4);
/// The time that the admin listener has after that for its last responses.
const ADMIN_DEADLINE: Duration = Duration::from_secs(1);
/// The time that threads have after that for calls that block.
pub const BLOCKED_DEADLINE: Duration = Duration::from_secs(3);
const _: () = assert!(fits_shutdown(&[CONNECTIONS_DEADLINE, RECORDS_DEADLINE, ADMIN_DEADLINE, BLOCKED_DEADLINE]));
const GAUGES_INTERVAL: Duration = Duration::from_millis(500);

/// Reads the secrets that the configuration names.
pub fn read_sources(config: &IngestConfig) -> Result<Sources, ConfigError> {
    Sources::read(&config.sources, |name| std::env::var(name).ok())
}

/// Runs until SIGTERM or SIGINT. `source` is where `config` was read from, and is read again on SIGHUP.
pub async fn run(config: IngestConfig, source: ConfigArgs) -> anyhow::Result<()> {
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let sources = read_sources(&config)?;
    let client = config.kafka.client()?;
    let shutdown = shutdown::on_signal()?;

    let admin = Admin::new(Readiness::waiting_for(&[readiness::PART]), &[])?;
    kafka_errors::register(&admin.registry, &[PRODUCER, ADMIN_CLIENT])?;
    let metrics = Metrics::new(&admin.registry)?;
    let producer = Arc::new(Producer::new(client, &config.limits, metrics.producers_recreated.clone())?);
    let webhooks = Arc::new(Webhooks::new(
        &sources,
        topics.clone(),
        config.tolerance,
        config.limits,
        &config.server.trusted_proxies,
        Arc::clone(&producer),
        metrics.clone(),
    ));

    // SIGHUP is handled before anybody can learn from an open port that the process is there: unhandled, it ends a
    // process.
    let reloads = reload::on_hangup(source, config.clone(), Arc::clone(&webhooks), metrics.clone())?;
    let listener = admin::bind("server", config.server.listen).await?;
    let admin_listener = admin::bind("admin", config.admin.listen).await?;
    let cancel_admin = CancellationToken::new();
    let router = admin.clone().router().merge(openapi::router());
    let mut admin_task = tokio::spawn(admin::serve(admin_listener, router, cancel_admin.clone()));
    let check = readiness::watch(Arc::clone(&producer), topics, config.limits.body_bytes, admin.readiness.clone());
    let gauges = update_gauges(Arc::clone(&webhooks));
    // None of these tasks ends as long as it works, and without any one of them ingest is not whole: so the first end, be it
    // a panic, ends the process, whose supervisor starts another.
    let mut background = JoinSet::new();
    background.spawn(async move {
        reloads.await;
        anyhow::anyhow!("SIGHUP is not heard any more")
    });
    background.spawn(async move {
        check.await;
        anyhow::anyhow!("Kafka is not checked any more")
    });
    background.spawn(async move {
        gauges.await;
        anyhow::anyhow!("the gauges are not updated any more")
    });
    background.spawn({
        let producer = Arc::clone(&producer);
        async move { producer.run().await }
    });
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            admin.readiness.not_ready("service", "shutting down");
        }
    });

    let server =
        Server::new(webhooks, metrics, config.limits.connections, config.server.trusted_proxies.clone(), shutdown);
    let serve = async {
        let connections = server.run(listener, CONNECTIONS_DEADLINE).await;
        (connections, producer.flush(RECORDS_DEADLINE).await)
    };
    let (connections, records) = tokio::select! {
        unfinished = serve => unfinished,
        error = first_end(&mut background) => return Err(error),
        served = &mut admin_task => {
            served??;
            anyhow::bail!("the admin listener ended");
        }
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

/// Waits until one of `tasks`, none of which ends as long as it works, has ended; says why.
async fn first_end(tasks: &mut JoinSet<anyhow::Error>) -> anyhow::Error {
    match tasks.join_next().await {
        Some(Ok(error)) => error,
        Some(Err(panic)) => anyhow::Error::new(panic).context("a background task ended"),
        None => std::future::pending().await,
    }
}

async fn update_gauges(webhooks: Arc<Webhooks>) {
    loop {
        webhooks.update_load_gauges();
        webhooks.log_ended_troubles();
        sleep(GAUGES_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_is_noticed() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        assert!(timeout(Duration::from_millis(1), first_end(&mut tasks)).await.is_err());
        tasks.spawn(async { panic!("out of luck") });
        let error = format!("{:#}", first_end(&mut tasks).await);
        assert!(error.contains("a background task ended") && error.contains("panicked"), "{error}");
        tasks.spawn(async { anyhow::anyhow!("no more of it") });
        assert_eq!(first_end(&mut tasks).await.to_string(), "no more of it");
    }
}
