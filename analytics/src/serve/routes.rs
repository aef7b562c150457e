//! The routes of the listener, and the document that describes them.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use hookline_service::admin::Admin;
use prometheus::TextEncoder;
use time::OffsetDateTime;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa::openapi::Server;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answers;
use super::dashboard::dashboard;
use super::guard::{Guard, HEADERS, guard};
use super::problem::Problem;
use super::state::ServeState;
use super::{api, gauges};
use crate::query::timestamp::Timestamp;

/// The head of the document.
#[derive(OpenApi)]
#[openapi(info(
    title = "Hookline analytics",
    description = "What became of the jobs: every figure is the same in the tables, in the terminal and here. Bodies of webhooks are \
                   not to be had.",
    license(name = "Apache-2.0")
))]
struct Head;

/// What `/metrics` and health show.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub admin: Admin,
    /// Gauges are asked for as answers are, so that several who scrape cost one question.
    pub gauges: Answers,
}

fn api_routes() -> OpenApiRouter<ServeState> {
    OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(api::summary))
        .routes(routes!(api::series))
        .routes(routes!(api::errors))
        .routes(routes!(api::durations))
        .routes(routes!(api::distribution))
        .routes(routes!(api::jobs))
        .routes(routes!(api::job))
        .routes(routes!(api::credits))
        .routes(routes!(api::webhook_delays))
        .routes(routes!(api::dead_letters))
        .routes(routes!(api::pipeline))
}

fn other_routes() -> OpenApiRouter<(ServeState, Metrics)> {
    OpenApiRouter::new().routes(routes!(metrics)).routes(routes!(live)).routes(routes!(ready)).routes(routes!(openapi))
}

/// The document, as it is in git.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = api_routes().split_for_parts().1;
    document.merge(other_routes().split_for_parts().1);
    document
}

pub fn router(state: ServeState, shown: Metrics, guarded: Guard, base_path: &str) -> Router {
    let mut document = document();
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    let (others, _) = other_routes().split_for_parts();
    let (api, _) = api_routes().split_for_parts();
    let routes = api
        .with_state(state.clone())
        .merge(others.with_state((state, shown)))
        .merge(dashboard())
        .layer(axum::Extension(std::sync::Arc::new(document)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    let routes = if base_path.is_empty() {
        routes
    } else {
        // With the slash, the addresses that a page names are below it.
        let root = format!("{base_path}/");
        let redirect = Redirect::permanent(&root);
        Router::new()
            .nest(&root, routes)
            .route(base_path, get(move || std::future::ready(redirect)))
            .fallback(not_found)
    };
    let guarded = routes.layer(middleware::from_fn_with_state(guarded, guard)).layer(CompressionLayer::new());
    HEADERS
        .into_iter()
        .fold(guarded, |router, (name, value)| router.layer(SetResponseHeaderLayer::if_not_present(name, value)))
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path: /openapi.json lists those that there are")
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "every path is to be read alone: use GET")
}

/// The figures of this process, and gauges of the jobs that ended in the last minutes and hours.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn metrics(State((state, shown)): State<(ServeState, Metrics)>) -> Result<Response, Problem> {
    let mut text = TextEncoder::new()
        .encode_to_string(&shown.admin.registry.gather())
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let as_of = Timestamp::of_seconds(OffsetDateTime::now_utc().unix_timestamp());
    // Without ClickHouse the figures of the process are shown alone.
    if let Ok(kept) = shown.gauges.get("gauges".to_owned(), true, as_of, gauges::text(&state)).await {
        text.push_str(kept.text());
    }
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT))], text).into_response())
}

/// 200 while the process runs.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn live() -> &'static str {
    "live\n"
}

/// 200 while ClickHouse can be asked, and 503 with what is missing while it cannot.
#[utoipa::path(get, path = "/health/ready", tag = "operation", responses(
    (status = 200, body = serde_json::Value), (status = 503, body = serde_json::Value),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn ready(State((_, shown)): State<(ServeState, Metrics)>) -> Response {
    let readiness = &shown.admin.readiness;
    let missing = readiness.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": missing.is_empty(), "missing": missing, "warnings": readiness.warnings() });
    (status, Json(body)).into_response()
}

/// This API as an OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses((status = 200, body = serde_json::Value),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn openapi(
    axum::Extension(document): axum::Extension<std::sync::Arc<utoipa::openapi::OpenApi>>,
) -> Json<utoipa::openapi::OpenApi> {
    Json(utoipa::openapi::OpenApi::clone(&document))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set by `make docs`: the document is then written, not compared.
    const UPDATE: &str = "HOOKLINE_UPDATE_DOCS";

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi-analytics.json");
        let document = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(path, document).unwrap();
        } else {
            assert_eq!(
                std::fs::read_to_string(path).unwrap(),
                document,
                "{path} is not what the code says: run `make docs`"
            );
        }
    }
}
