//! Errors as problem+json (RFC 9457): what is wrong, with which parameter, and what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clickhouse::error::Error;
use hookline_service::clickhouse::exception_code;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// The parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

/// The seconds after which a server that was busy or away may be asked again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            parameter: None,
        }
    }

    /// A parameter that cannot be used.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { parameter: Some(name.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// What an error of ClickHouse means to the one who asked. The cause is logged, and not shown.
    pub fn of_clickhouse(error: &Error) -> Self {
        let code = if let Error::BadResponse(text) = error { exception_code(text) } else { None };
        let (status, detail) = match code {
            Some(TIMEOUT_EXCEEDED | QUERY_WAS_CANCELLED) => return Self::timed_out(),
            Some(MEMORY_LIMIT_EXCEEDED | TOO_MANY_ROWS | TOO_MANY_ROWS_OR_BYTES) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "the answer or what it is made of is larger than the limits of the reading user: ask for a shorter range, a longer \
                 step, fewer dimensions or more filters",
            ),
            Some(TOO_MANY_SIMULTANEOUS_QUERIES) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ClickHouse has too many questions under way: ask again in some seconds",
            ),
            Some(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "ClickHouse refused the question; the log of this server says why")
            }
            None => (StatusCode::SERVICE_UNAVAILABLE, "ClickHouse does not answer: ask again in some seconds"),
        };
        tracing::warn!(%error, status = status.as_u16(), "a question was not answered by ClickHouse");
        Self::new(status, detail)
    }

    pub fn timed_out() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the question took longer than serve.query_timeout_ms and was cancelled: ask for a shorter range or more filters",
        )
    }
}

const TIMEOUT_EXCEEDED: u32 = 159;
const TOO_MANY_ROWS: u32 = 158;
const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
const MEMORY_LIMIT_EXCEEDED: u32 = 241;
const QUERY_WAS_CANCELLED: u32 = 394;
const TOO_MANY_ROWS_OR_BYTES: u32 = 396;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, body).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_clickhouse_has_its_status() {
        let status = |text: &str| Problem::of_clickhouse(&Error::BadResponse(text.into())).status;
        for (text, expected) in [
            ("Code: 159. DB::Exception: Timeout exceeded", 504),
            ("Code: 394. DB::Exception: Query was cancelled", 504),
            ("Code: 241. DB::Exception: memory", 422),
            ("Code: 158. DB::Exception: rows", 422),
            ("Code: 396. DB::Exception: result", 422),
            ("Code: 202. DB::Exception: too many", 503),
            ("Code: 497. DB::Exception: no right", 500),
            ("something else", 503),
            // A gateway's page says nothing of the question.
            ("<html>Error Code: 159 Bad Gateway</html>", 503),
        ] {
            assert_eq!(status(text), expected, "{text}");
        }
        assert_eq!(Problem::of_clickhouse(&Error::TimedOut).status, 503);
        let shown = serde_json::to_string(&Problem::of_clickhouse(&Error::BadResponse(
            "Code: 60. DB::Exception: secret".into(),
        )))
        .unwrap();
        assert!(!shown.contains("secret"), "{shown}");
    }
}
