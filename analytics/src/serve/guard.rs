//! Who may ask, and the headers that every answer has.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hookline_service::config::Secret;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// Digests of the values of `Authorization` that are let in. How long it takes to compare digests tells of a digest only, from which
/// no value can be made.
#[derive(Clone, Debug)]
pub struct Credentials(Vec<[u8; 32]>);

impl Credentials {
    pub fn new(token: Option<&Secret>, basic: Option<&Secret>) -> Option<Self> {
        let token = token.map(|token| format!("Bearer {}", token.expose()));
        let basic = basic.map(|basic| format!("Basic {}", base64(basic.expose().as_bytes())));
        let digests: Vec<_> = token.into_iter().chain(basic).map(|value| digest(value.as_bytes())).collect();
        (!digests.is_empty()).then_some(Self(digests))
    }

    fn let_in(&self, value: Option<&HeaderValue>) -> bool {
        value.is_some_and(|value| self.0.contains(&digest(value.as_bytes())))
    }
}

fn digest(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// The standard alphabet with padding, as RFC 7617 wants it.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Which requests are let through: their credentials, their `Host` and their path.
#[derive(Clone, Debug)]
pub struct Guard {
    pub credentials: Option<Arc<Credentials>>,
    /// Whether the listener is on loopback, where a page of another site may reach it under a name of its own (DNS rebinding).
    pub loopback: bool,
    pub base_path: Arc<str>,
}

pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.loopback && !names_loopback(&request) {
        return Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this listener is on loopback and answers to 127.0.0.1, [::1] and localhost alone, in the header Host",
        )
        .into_response();
    }
    let path = request.uri().path().strip_prefix(&*guard.base_path).unwrap_or_default();
    let health = matches!(path, "/health/live" | "/health/ready");
    match &guard.credentials {
        Some(credentials) if !health && !credentials.let_in(request.headers().get(AUTHORIZATION)) => {
            let problem = Problem::new(
                StatusCode::UNAUTHORIZED,
                "send the token of serve.bearer_token_file as `Authorization: Bearer …`, or user and password of \
                 serve.basic_auth_file as `Authorization: Basic …`",
            );
            let mut response = problem.into_response();
            // A header for each: browsers look at the first scheme of a header alone, and would not ask for a password.
            for scheme in ["Basic realm=\"hookline\", charset=\"UTF-8\"", "Bearer"] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
            response
        }
        _ => next.run(request).await,
    }
}

fn names_loopback(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host();
    host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
}

/// What a browser may do with an answer that has no policy of its own: nothing but show it. `no-store` is not among them, because an `ETag` is.
pub const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ),
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY")),
];

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_the_names_of_loopback_are_answered() {
        let named = |host: &str| names_loopback(&Request::get("/").header(HOST, host).body(Body::empty()).unwrap());
        for good in ["127.0.0.1", "127.0.0.1:9083", "localhost:1", "LOCALHOST", "[::1]:9083"] {
            assert!(named(good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:9083",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "a b",
            "127.0.0.2",
        ] {
            assert!(!named(bad), "{bad}");
        }
        assert!(!names_loopback(&Request::get("/").body(Body::empty()).unwrap()), "a request without Host");
    }

    #[test]
    fn a_token_or_a_password_is_let_in_and_nothing_else() {
        let credentials = Credentials::new(Some(&Secret::new("t0ken")), Some(&Secret::new("me:pass"))).unwrap();
        let let_in = |value: &'static str| credentials.let_in(Some(&HeaderValue::from_static(value)));
        assert!(let_in("Bearer t0ken") && let_in("Basic bWU6cGFzcw=="));
        for bad in ["Bearer t0ke", "Bearer t0ken ", "bearer", "", "Basic bWU6cGFzcg==", "t0ken"] {
            assert!(!let_in(bad), "{bad}");
        }
        assert!(!credentials.let_in(None));
        assert!(Credentials::new(None, None).is_none());
    }
}
