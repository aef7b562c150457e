//! `serve`: questions by HTTP, for the dashboard, Grafana and programs, and gauges for Prometheus. It reads as a user that may do
//! nothing else, and no answer has the body of a webhook.

mod answer;
mod api;
mod config;
mod cursor;
mod dashboard;
mod gauges;
mod guard;
mod parameters;
mod pipeline;
mod problem;
mod routes;
mod schema;
mod state;
mod values;

use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use hookline_service::admin::{self, Admin, Readiness};
use hookline_service::shutdown;
use prometheus::IntCounter;
use tokio::time::{sleep, timeout};

use self::answer::Answers;
pub use self::config::{AdminUrls, PrometheusUrl, ServeConfig};
use self::guard::Guard;
use self::pipeline::History;
pub(crate) use self::pipeline::MetricsSource;
pub use self::routes::document;
use self::routes::{Metrics, router};
use self::state::ServeState;
use crate::config::AnalyticsConfig;

/// What `serve` is not ready without.
const CLICKHOUSE: &str = "clickhouse";
const READINESS_INTERVAL: Duration = Duration::from_secs(5);
const READINESS_TIMEOUT: Duration = Duration::from_secs(4);

/// Serves the API until SIGTERM or SIGINT.
pub async fn run(config: AnalyticsConfig) -> anyhow::Result<()> {
    let serve = &config.serve;
    let shutdown = shutdown::on_signal()?;
    shutdown::ignore_hangup()?;
    let readiness = Readiness::waiting_for(&[CLICKHOUSE]);
    let admin = Admin::new(readiness.clone(), &[])?;
    let statements = statements()?;
    admin.registry.register(Box::new(statements.clone()))?;

    let reader = serve.reader(&config.clickhouse);
    if serve.reader_user.is_none() {
        tracing::warn!(
            user = reader.user,
            "serve.reader_user is not set: questions are asked by a user that may do more than read"
        );
    }
    let client = reader.client()?;
    let history = Arc::new(History::new(MetricsSource::new(serve)?));
    let answers = Answers::new(serve.query_timeout());
    let state = ServeState { client: client.clone(), answers, statements, history: Arc::clone(&history) };
    let guard = Guard {
        credentials: serve.credentials()?.map(Arc::new),
        loopback: serve.listen.ip().is_loopback(),
        base_path: serve.base_path.as_str().into(),
    };
    let router =
        router(state, Metrics { admin, gauges: Answers::new(serve.query_timeout()) }, guard, serve.base_path.as_str());
    let listener = admin::bind("serve", serve.listen).await?;
    tokio::select! {
        served = admin::serve_connections(listener, router, serve.connections.into(), shutdown) => Ok(served?),
        () = history.read_at_intervals(&client) => Ok(()),
        () = watch(&client, &reader.url, &readiness) => Ok(()),
    }
}

fn statements() -> prometheus::Result<IntCounter> {
    let help = "Statements that were sent to ClickHouse for questions and gauges";
    IntCounter::new("hookline_analytics_statements_total", help)
}

/// Asks the roll-up at intervals, for as long as it is polled. Readiness is for everybody and the log is not, so only that names
/// the server.
async fn watch(client: &Client, server: &str, readiness: &Readiness) {
    loop {
        let ask =
            client.query("SELECT count() FROM job_stats WHERE created_hour = toDateTime(0, 'UTC')").fetch_one::<u64>();
        match timeout(READINESS_TIMEOUT, ask).await {
            Ok(Ok(_)) => readiness.ready(CLICKHOUSE),
            Ok(Err(error)) => {
                tracing::debug!(server, %error, "ClickHouse cannot be asked");
                readiness.not_ready(CLICKHOUSE, "it cannot be asked for the roll-up; the log at debug says why");
            }
            Err(_) => readiness.not_ready(CLICKHOUSE, "it does not answer"),
        }
        sleep(READINESS_INTERVAL).await;
    }
}
