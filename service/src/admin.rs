//! The second listener: `/metrics`, `/health/live`, `/health/ready`.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

pub use crate::readiness::Readiness;
use crate::shutdown::CancellationToken;
use crate::{telemetry, version};

/// Connections that are open at a time.
const CONNECTIONS: usize = 32;
/// A head must be there within this time, also the next one on a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After this time a connection is closed as soon as its response is out, or [`DRAIN_TIMEOUT`] later in any case.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// The time that a response has to be read by the client when its connection is closed.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause after a connection that could not be accepted, mostly because the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The answer to `/` and to paths that do not exist.
const PATHS: &str = "the paths are /metrics, /health/live and /health/ready, and of ingest also /openapi.json\n";

/// The section `[admin]` of every daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// The address to listen on, such as `127.0.0.1:9081`; port 0 takes a free one, which the log names. Anybody who
    /// reaches it can read the metrics, so it should not be public.
    pub listen: SocketAddr,
}

/// What the admin listener shows: the metrics, and whether the daemon is ready.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The registry whose metrics `/metrics` shows.
    pub registry: Registry,
    /// The state that `/health/ready` shows.
    pub readiness: Readiness,
}

impl Admin {
    /// Makes a registry with the metrics that every daemon has: CPU, memory and file descriptors of the process, its version with
    /// `more` labels, what it waits for, lines of the log that were lost.
    pub fn new(readiness: Readiness, more: &[(&str, String)]) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        registry.register(Box::new(version::info(more)?))?;
        registry.register(Box::new(readiness.gauges()?))?;
        registry.register(Box::new(telemetry::lines_lost()))?;
        Ok(Self { registry, readiness })
    }

    /// The routes of the listener; a daemon may merge its own into them.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/health/live", get(async || "live\n"))
            .route("/health/ready", get(ready))
            .route("/", get(async || PATHS))
            .fallback(async || (StatusCode::NOT_FOUND, PATHS))
            .with_state(self)
    }
}

/// Binds `address` and logs it: with port 0 the log is the only place that names the port.
pub async fn bind(listener: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound =
        TcpListener::bind(address).await.with_context(|| format!("{listener}.listen: cannot bind {address}"))?;
    tracing::info!(listener, address = %bound.local_addr()?, "listening");
    Ok(bound)
}

/// Serves `router` until `shutdown` is cancelled, and what is in flight then for at most a second. `axum::serve` has no
/// time limit for a head and waits at shutdown for whoever has sent half of one.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    serve_connections(listener, router, CONNECTIONS, shutdown).await
}

/// The same for as many connections at a time.
pub async fn serve_connections(
    listener: TcpListener,
    router: Router,
    connections: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(connections));
    let connections = TaskTracker::new();
    let accept = async {
        loop {
            // The semaphore is never closed. Connections beyond its permits wait in the kernel's queue.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        serve_connection(stream, router, &shutdown).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the listener cannot accept a connection; it tries again in a second");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await;
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: &CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // Errors are those of the client: it sent broken HTTP, was too slow or has gone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        // A client that never reads its response would keep its place for ever.
        () = sleep(CONNECTION_LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(DRAIN_TIMEOUT, connection).await;
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let missing = admin.readiness.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let warnings = admin.readiness.warnings();
    let body = serde_json::json!({ "ready": missing.is_empty(), "missing": missing, "warnings": warnings });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing() {
        let admin = Admin::new(Readiness::waiting_for(&["kafka"]), &[]).unwrap();
        let router = admin.clone().router();
        assert_eq!(get(&router, "/health/live").await.0, StatusCode::OK);
        assert_eq!(get(&router, "/").await, (StatusCode::OK, PATHS.into()));
        assert_eq!(get(&router, "/healthz").await, (StatusCode::NOT_FOUND, PATHS.into()));
        assert_eq!(
            get(&router, "/health/ready").await,
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"missing":{"kafka":"starting"},"ready":false,"warnings":[]}"#.into())
        );
        let gauge = async |value: u8| {
            let page = get(&router, "/metrics").await.1;
            assert!(page.contains(&format!("hookline_ready{{part=\"kafka\"}} {value}\n")), "{page}");
        };
        gauge(0).await;
        admin.readiness.ready("kafka");
        gauge(1).await;
        assert_eq!(get(&router, "/health/ready").await.0, StatusCode::OK);
        admin.readiness.not_ready("kafka", "no broker answers");
        assert!(get(&router, "/health/ready").await.1.contains("no broker answers"));
        admin.readiness.ready("kafka");
        admin.readiness.set_warnings(vec!["look".into()]);
        let warned = (StatusCode::OK, r#"{"missing":{},"ready":true,"warnings":["look"]}"#.into());
        assert_eq!(get(&router, "/health/ready").await, warned, "a warning does not make it unready");
    }

    #[tokio::test]
    async fn the_process_shows_its_own_metrics() {
        let admin = Admin::new(Readiness::waiting_for(&[]), &[]).unwrap();
        assert!(get(&admin.router(), "/metrics").await.1.contains("process_cpu_seconds_total"));
    }
}
