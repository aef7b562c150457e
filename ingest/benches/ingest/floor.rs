//! The floor of the comparison: reads the body and computes its signature, which every receiver of signed webhooks has
//! to do.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hookline_schemas::provider;
use hookline_schemas::signature::SigningKey;
use hookline_service::{admin, shutdown, telemetry};

use crate::webhooks::SECRET;

/// Serves until it is terminated.
pub async fn serve() -> anyhow::Result<()> {
    telemetry::init();
    let listener = admin::bind("server", ([127, 0, 0, 1], 0).into()).await?;
    let router = Router::new().route("/webhooks/{source}", post(sign)).with_state(SigningKey::new(SECRET));
    // Not by `admin::serve`, which bounds connections and times for the sake of an admin listener.
    Ok(axum::serve(listener, router).with_graceful_shutdown(shutdown::on_signal()?.cancelled_owned()).await?)
}

async fn sign(State(key): State<SigningKey>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let timestamp = headers.get(provider::TIMESTAMP_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    std::hint::black_box(key.sign(timestamp, &body));
    StatusCode::OK
}
