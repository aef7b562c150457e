//! What the sender is told. One match says the status, one the body, for every case there is.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In its resource's topic, on every in-sync replica.
    Accepted,
    /// In the dead-letter topic, on every in-sync replica: retries would change nothing.
    DeadLettered,
    /// Not authentic, or too old. The answer does not tell which.
    Unauthorized,
    /// No such path or source.
    NotFound,
    /// Not a POST.
    MethodNotAllowed,
    /// The body is over the limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body is not HTTP, or ended early.
    BodyBroken,
    /// To be tried again.
    Unavailable(Unavailable),
}

/// Why a webhook could not be taken; the reason is in the metrics alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Too many requests in flight.
    InFlight,
    /// Too many bytes of bodies.
    QueuedBytes,
    /// The queue of the producer is full.
    QueueFull,
    /// Kafka refused the record.
    Refused,
    /// Not confirmed within the budget.
    NotConfirmed,
    /// The same stale delivery is being stored at this moment.
    StalePending,
    /// Shutting down.
    Draining,
}

impl Unavailable {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::InFlight,
        Self::QueuedBytes,
        Self::QueueFull,
        Self::Refused,
        Self::NotConfirmed,
        Self::StalePending,
        Self::Draining,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::QueuedBytes => "queued_bytes",
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
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

/// Seconds after which a refused webhook may be tried again; the provider keeps to its own back-off.
pub const RETRY_AFTER_SECONDS: &str = "2";

impl Answer {
    /// The status.
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

    /// The body, `application/problem+json`; none for a webhook that was taken.
    pub const fn body(self) -> Option<&'static str> {
        match self {
            Self::Accepted | Self::DeadLettered => None,
            Self::Unauthorized => Some(problem!("401", "Unauthorized", "the request is not authentic")),
            Self::NotFound => Some(problem!("404", "Not Found", "no such source")),
            Self::MethodNotAllowed => Some(problem!("405", "Method Not Allowed", "webhooks are posted")),
            Self::BodyTooLarge => Some(problem!("413", "Content Too Large", "the body is over the limit")),
            Self::BodyTooSlow => Some(problem!("408", "Request Timeout", "the body did not arrive in time")),
            Self::BodyBroken => Some(problem!("400", "Bad Request", "the body could not be read")),
            Self::Unavailable(_) => Some(problem!("503", "Service Unavailable", "not stored; try again")),
        }
    }

    /// The connection ends with this answer: the rest of the body is not waited for, or the service is going away.
    const fn closes(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge
                | Self::BodyTooSlow
                | Self::BodyBroken
                | Self::Unavailable(Unavailable::Draining | Unavailable::QueuedBytes)
        )
    }

    /// The response.
    pub fn response(self) -> Response<Full<Bytes>> {
        let body = self.body();
        let mut response = Response::new(body.map_or_else(Full::default, |text| Full::new(text.into())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        }
        match self {
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
            }
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            Self::Accepted
            | Self::DeadLettered
            | Self::NotFound
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyBroken => {}
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
        for answer in [
            Answer::Unauthorized,
            Answer::NotFound,
            Answer::MethodNotAllowed,
            Answer::BodyTooLarge,
            Answer::BodyTooSlow,
            Answer::BodyBroken,
            Answer::Unavailable(Unavailable::Refused),
        ] {
            let problem: serde_json::Value = serde_json::from_str(answer.body().unwrap()).unwrap();
            assert_eq!(problem["status"], answer.status().as_u16());
            assert_eq!(answer.response().headers()[CONTENT_TYPE], "application/problem+json");
        }
        for taken in [Answer::Accepted, Answer::DeadLettered] {
            assert!(taken.status().is_success() && taken.body().is_none());
        }
    }

    #[test]
    fn a_refusal_for_now_says_when_to_come_back() {
        for reason in Unavailable::ALL {
            assert_eq!(Answer::Unavailable(reason).response().headers()[RETRY_AFTER], RETRY_AFTER_SECONDS);
        }
    }
}
