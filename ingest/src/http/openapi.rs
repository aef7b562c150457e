//! The OpenAPI document of both listeners; each of them serves it.

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

pub const PATH: &str = "/openapi.json";

const DOCUMENT: &str = include_str!("../../openapi.json");

pub fn response(method: &Method) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(DOCUMENT.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The route of the admin listener, which is a router of axum; the listener of webhooks calls [`response`] itself.
pub fn router() -> Router {
    Router::new().route(PATH, any(async |method: Method| response(&method)))
}
