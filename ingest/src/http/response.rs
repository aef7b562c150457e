//! The responses to webhooks. One match gives the status and one the body, for every case there is.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::kafka::refusal::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResponse {
    /// Every in-sync replica has the record in the topic of its resource.
    Accepted,
    /// Every in-sync replica has the record in the dead-letter topic: another attempt would change nothing.
    DeadLettered,
    /// The webhook is not authentic, or stale. The response does not tell which.
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    /// The body is larger than `limits.body_bytes`.
    BodyTooLarge,
    BodyTooSlow,
    /// The body broke the rules of HTTP, or ended early.
    BodyBroken,
    /// The webhook may not be stored; the sender is asked to try again.
    Unavailable(Unavailable),
}

/// Why a webhook is answered 503. The sender is not told; `hookline_ingest_unavailable_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// More requests than `limits.in_flight` allows are under way.
    InFlight,
    /// The bodies of all requests would hold more than `limits.queued_bytes`, and no peer holds more than this one.
    QueuedBytes,
    /// The same for the share of webhooks outside the tolerance, or for their share of `limits.in_flight`.
    StaleShare,
    /// The bytes of the body, which was not whole yet, were needed for a peer that holds less.
    FairShare,
    /// The queue of librdkafka is full of records whose senders did not wait.
    QueueFull,
    /// The broker or librdkafka refused the record.
    Refused(Refusal),
    /// The broker did not confirm in time; it may have the record all the same.
    NotConfirmed,
    /// Another request is storing the same stale delivery at this moment.
    StalePending,
    /// The service is shutting down.
    Draining,
}

impl Unavailable {
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::InFlight,
            Self::QueuedBytes,
            Self::StaleShare,
            Self::FairShare,
            Self::QueueFull,
            Self::NotConfirmed,
            Self::StalePending,
            Self::Draining,
        ]
        .into_iter()
        .chain(Refusal::all().map(Self::Refused))
    }

    /// The label `code` in metrics: that of Kafka, where a record was refused.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::InFlight
            | Self::QueuedBytes
            | Self::StaleShare
            | Self::FairShare
            | Self::QueueFull
            | Self::NotConfirmed
            | Self::StalePending
            | Self::Draining => "",
        }
    }

    /// The label `reason` in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::QueuedBytes => "queued_bytes",
            Self::StaleShare => "stale_share",
            Self::FairShare => "fair_share",
            Self::QueueFull => "queue_full",
            Self::Refused(_) => "refused",
            Self::NotConfirmed => "not_confirmed",
            Self::StalePending => "stale_pending",
            Self::Draining => "draining",
        }
    }
}

macro_rules! problem {
    ($status:literal, $title:literal, $detail:literal) => {
        concat!(
            r#"{"type":"about:blank","title":""#,
            $title,
            r#"","status":"#,
            $status,
            r#","detail":""#,
            $detail,
            r#""}"#
        )
    };
}

/// The seconds in `retry-after` of a 503. The provider keeps to its own back-off; other senders may not.
pub const RETRY_AFTER_SECONDS: &str = "2";

impl WebhookResponse {
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Accepted => StatusCode::OK,
            Self::DeadLettered => StatusCode::ACCEPTED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A problem of RFC 9457, as JSON; nothing for a webhook that was stored.
    pub const fn body(self) -> Option<&'static str> {
        match self {
            Self::Accepted | Self::DeadLettered => None,
            Self::Unauthorized => Some(problem!("401", "Unauthorized", "the request is not authentic")),
            Self::NotFound => Some(problem!(
                "404",
                "Not Found",
                "no such source: webhooks are posted to /webhooks/SOURCE, without a slash at the end; health and metrics are on the admin listener"
            )),
            Self::MethodNotAllowed => Some(problem!("405", "Method Not Allowed", "webhooks are posted")),
            Self::BodyTooLarge => Some(problem!("413", "Content Too Large", "the body is over the limit")),
            Self::BodyTooSlow => Some(problem!("408", "Request Timeout", "the body did not arrive in time")),
            Self::BodyBroken => Some(problem!("400", "Bad Request", "the body could not be read")),
            Self::Unavailable(_) => Some(problem!("503", "Service Unavailable", "not stored; try again")),
        }
    }

    /// Whether the connection ends with this response: because the rest of the body is not read, or at shutdown.
    const fn closes(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge
                | Self::BodyTooSlow
                | Self::BodyBroken
                | Self::Unavailable(
                    Unavailable::Draining | Unavailable::QueuedBytes | Unavailable::StaleShare | Unavailable::FairShare
                )
        )
    }

    pub fn into_http(self) -> Response<Full<Bytes>> {
        let body = self.body();
        let mut response = Response::new(body.map_or_else(Full::default, |text| Full::new(text.into())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        }
        let more = match self {
            Self::Unauthorized => Some((WWW_AUTHENTICATE, "Signature")),
            Self::MethodNotAllowed => Some((ALLOW, "POST")),
            Self::Unavailable(_) => Some((RETRY_AFTER, RETRY_AFTER_SECONDS)),
            Self::Accepted
            | Self::DeadLettered
            | Self::NotFound
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyBroken => None,
        };
        if let Some((name, value)) = more {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_json_that_repeats_the_status() {
        for response in [
            WebhookResponse::Unauthorized,
            WebhookResponse::NotFound,
            WebhookResponse::MethodNotAllowed,
            WebhookResponse::BodyTooLarge,
            WebhookResponse::BodyTooSlow,
            WebhookResponse::BodyBroken,
            WebhookResponse::Unavailable(Unavailable::QueueFull),
        ] {
            let problem: serde_json::Value = serde_json::from_str(response.body().unwrap()).unwrap();
            assert_eq!(problem["status"], response.status().as_u16());
            assert_eq!(response.into_http().headers()[CONTENT_TYPE], "application/problem+json");
        }
        for stored in [WebhookResponse::Accepted, WebhookResponse::DeadLettered] {
            assert!(stored.status().is_success() && stored.body().is_none());
        }
    }

    #[test]
    fn a_refusal_for_now_says_when_to_come_back() {
        for reason in Unavailable::all() {
            assert_eq!(WebhookResponse::Unavailable(reason).into_http().headers()[RETRY_AFTER], RETRY_AFTER_SECONDS);
        }
    }
}
