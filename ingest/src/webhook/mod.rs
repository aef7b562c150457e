//! A webhook from its head to its response. What is wrong with it is found in a fixed order, which decides the
//! response: path, method, form of both headers, size of the body, time of the body, load, signature, age, body.
//!
//! All that can be told from the head is told before a byte of the body is read.

pub mod capacity;
pub mod first_signed;
pub mod routing;
pub mod stale;
pub mod trouble_log;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::record::WEBHOOK_PATH;
use hookline_schemas::signature::{SignatureHeaders, Verified, VerifyError};
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use hookline_sources::{SourceKeys, Sources, signature_headers};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use hyper::body::Body;
use prometheus::IntCounter;
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::config::{Limits, Tolerance};
use crate::http::connections::Client;
use crate::http::peer::{Peer, TrustedProxies};
use crate::http::response::{Unavailable, WebhookResponse};
use crate::kafka::producer::{Producer, Record};
use crate::kafka::refusal::Refusal;
use crate::metrics::{Metrics, SourceMetrics, count};
use crate::webhook::capacity::Capacity;
use crate::webhook::first_signed::FirstSignedTimes;
use crate::webhook::routing::RoutedWebhook;
use crate::webhook::stale::{StaleClaim, StaleDeduplicator};
use crate::webhook::trouble_log::TroubleLog;

/// A record that the broker has not confirmed by then is answered 503, so that the sender has its response within 4 s.
pub const CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(3_800);

static TIMESTAMP: HeaderName = HeaderName::from_static(TIMESTAMP_HEADER);
static SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

/// Handles webhooks, for as many requests at once as its limits allow.
pub struct Webhooks {
    sources: RwLock<HashMap<String, Arc<SourceState>>>,
    topics: Topics,
    tolerance: Tolerance,
    capacity: Capacity,
    stale_capacity: Capacity,
    producer: Arc<Producer>,
    first_signed: FirstSignedTimes,
    stale: StaleDeduplicator,
    draining: AtomicBool,
    troubles: TroubleLog,
    trusted_proxies: TrustedProxies,
    produced: Vec<(String, IntCounter)>,
    metrics: Metrics,
}

struct SourceState {
    source: SourceKeys,
    metrics: SourceMetrics,
}

impl Webhooks {
    pub fn new(
        sources: &Sources,
        topics: Topics,
        tolerance: Tolerance,
        limits: Limits,
        trusted_proxies: &TrustedProxies,
        producer: Arc<Producer>,
        metrics: Metrics,
    ) -> Self {
        let webhooks = Self {
            sources: RwLock::default(),
            produced: metrics.of_topics(&topics),
            topics,
            tolerance,
            capacity: Capacity::new(limits, trusted_proxies),
            stale_capacity: Capacity::of_stale(limits, trusted_proxies),
            producer,
            first_signed: FirstSignedTimes::new(limits.first_signed_times, metrics.first_signed_times.clone()),
            stale: StaleDeduplicator::new(limits.stale_signatures, metrics.stale_signatures.clone()),
            draining: AtomicBool::new(false),
            troubles: TroubleLog::default(),
            trusted_proxies: trusted_proxies.clone(),
            metrics,
        };
        webhooks.use_secrets(sources);
        webhooks
    }

    /// Verifies with these secrets from the next request on; a request under way keeps those that it began with.
    pub fn use_secrets(&self, sources: &Sources) {
        let states = sources.iter().map(|source| {
            let metrics = self.metrics.of_source(source);
            (source.name.as_str().to_owned(), Arc::new(SourceState { source: source.clone(), metrics }))
        });
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = states.collect();
    }

    /// From now on, answers 503 to every webhook that is not being stored already.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Logs which troubles have ended since it was called last.
    pub fn log_ended_troubles(&self) {
        self.troubles.log_ended();
    }

    pub fn update_load_gauges(&self) {
        let as_gauge = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
        let both = [&self.capacity, &self.stale_capacity];
        self.metrics.in_flight.set(as_gauge(both.map(Capacity::in_flight).iter().sum()));
        self.metrics.queued_bytes.set(as_gauge(both.map(|capacity| capacity.bodies.queued_bytes()).iter().sum()));
    }

    /// Handles a webhook, and counts and times its response.
    pub async fn respond(
        &self,
        request: Request<impl Body<Data = Bytes>>,
        received_at: ReceivedAt,
        client: &Client,
    ) -> WebhookResponse {
        let began = Instant::now();
        let response = self.handle(request, received_at, client).await;
        self.metrics.responded(response);
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        response
    }

    async fn handle(
        &self,
        request: Request<impl Body<Data = Bytes>>,
        received_at: ReceivedAt,
        client: &Client,
    ) -> WebhookResponse {
        let (head, body) = request.into_parts();
        let Some(state) = head.uri.path().strip_prefix(WEBHOOK_PATH).and_then(|name| self.source(name)) else {
            return WebhookResponse::NotFound;
        };
        if head.method != Method::POST {
            return WebhookResponse::MethodNotAllowed;
        }
        let sender = || self.trusted_proxies.peer(client.address, &head.headers);
        let headers = match signature_headers(values(&head.headers, &TIMESTAMP), values(&head.headers, &SIGNATURE)) {
            Ok(headers) => headers,
            Err(error) => return self.rejects(&state, error, sender),
        };
        let is_stale = self.tolerance.excludes(headers.signed_at().age_seconds(received_at));
        let capacity = if is_stale { &self.stale_capacity } else { &self.capacity };
        // Both permits are held until the response: so long do the body and the request count towards their limits.
        let began = Instant::now();
        let read = capacity.bodies.read(&head.headers, body, client).await;
        let read_at = Instant::now();
        self.metrics.stages.read.inc_by((read_at - began).as_secs_f64());
        let (body, _queued) = match read {
            Ok(read) => read,
            Err(response) => return response,
        };
        let admitted = self.admit(&state, capacity, headers, &body, received_at, sender);
        let admitted_at = Instant::now();
        self.metrics.stages.verify.inc_by((admitted_at - read_at).as_secs_f64());
        match admitted {
            Ok((_in_flight, verified)) => {
                let response = self.store(&state, verified, received_at, sender).await;
                self.metrics.stages.produce.inc_by(admitted_at.elapsed().as_secs_f64());
                response
            }
            Err(response) => response,
        }
    }

    /// Verifies a request if the load allows to handle it. With too much load it is verified, too, since an authentic
    /// event must leave its signed time behind; but a forged one gets the same 503.
    fn admit<'a, 'c>(
        &self,
        state: &'a SourceState,
        capacity: &'c Capacity,
        headers: SignatureHeaders<'a>,
        body: &'a [u8],
        received_at: ReceivedAt,
        sender: impl FnOnce() -> Peer,
    ) -> Result<(SemaphorePermit<'c>, Verified<'a, 'a>), WebhookResponse> {
        let permit = if self.draining.load(Ordering::Relaxed) { Err(Unavailable::Draining) } else { capacity.admit() };
        match (permit, state.source.verify(headers, body)) {
            (Ok(permit), Ok(verified)) => Ok((permit, verified)),
            (Ok(_), Err(error)) => Err(self.rejects(state, error, sender)),
            (Err(reason), verified) => {
                if let Ok(verified) = verified {
                    let source = state.source.name.as_str();
                    let routed = RoutedWebhook::new(verified, source, received_at, self.tolerance);
                    drop(self.first_signed.pending(source, routed.event(), verified.signed_at()));
                }
                Err(WebhookResponse::Unavailable(reason))
            }
        }
    }

    async fn store(
        &self,
        state: &SourceState,
        verified: Verified<'_, '_>,
        received_at: ReceivedAt,
        sender: impl FnOnce() -> Peer,
    ) -> WebhookResponse {
        let source = state.source.name.as_str();
        let age_seconds = verified.signed_at().age_seconds(received_at);
        state.metrics.verified(verified.key(), age_seconds);
        let routed = RoutedWebhook::new(verified, source, received_at, self.tolerance);
        if routed.is_stale() {
            state.metrics.stale(age_seconds);
            self.troubles.saw(source, DeadLetterReason::Stale.as_str(), sender);
            return self.store_stale(state, &routed, verified).await;
        }
        let event = self.first_signed.pending(source, routed.event(), verified.signed_at());
        if let Err(reason) = self.produce(&routed, event.first_signed_at(), verified.body()).await {
            return WebhookResponse::Unavailable(reason);
        }
        event.mark_stored();
        match &routed.dead_letter {
            None => WebhookResponse::Accepted,
            Some(cause) => {
                state.metrics.dead_letter(cause.reason);
                self.troubles.saw(source, cause.reason.as_str(), sender);
                WebhookResponse::DeadLettered
            }
        }
    }

    async fn store_stale(
        &self,
        state: &SourceState,
        routed: &RoutedWebhook<'_>,
        verified: Verified<'_, '_>,
    ) -> WebhookResponse {
        let pending = match self.stale.claim(state.source.name.clone(), verified.signature().to_hex()) {
            StaleClaim::Granted(pending) => pending,
            StaleClaim::BeingStored => return WebhookResponse::Unavailable(Unavailable::StalePending),
            StaleClaim::AlreadyStored => return WebhookResponse::Unauthorized,
        };
        if let Err(reason) = self.produce(routed, None, verified.body()).await {
            return WebhookResponse::Unavailable(reason);
        }
        pending.mark_stored();
        if let Some(cause) = &routed.dead_letter {
            state.metrics.dead_letter(cause.reason);
        }
        WebhookResponse::Unauthorized
    }

    /// Returns once every in-sync replica has the record.
    async fn produce(
        &self,
        routed: &RoutedWebhook<'_>,
        first_signed_at: Option<SignedAt>,
        body: &[u8],
    ) -> Result<(), Unavailable> {
        let topic = routed.topic(&self.topics);
        let headers = routed.headers(first_signed_at);
        let report = match self.producer.send(Record { topic, key: routed.key(), value: body, headers }) {
            Ok(report) => match timeout(CONFIRMATION_TIMEOUT, report).await {
                Ok(Ok(report)) => report,
                // A report that is late, or lost with its producer, leaves open whether the broker has the record.
                Ok(Err(_)) | Err(_) => Err(RDKafkaErrorCode::MessageTimedOut),
            },
            Err(code) => Err(code),
        };
        match report {
            Ok(()) => {
                count(&self.produced, topic);
                Ok(())
            }
            Err(RDKafkaErrorCode::QueueFull) => Err(Unavailable::QueueFull),
            Err(RDKafkaErrorCode::MessageTimedOut) => Err(Unavailable::NotConfirmed),
            Err(code) => {
                tracing::debug!(topic, %code, "a record was refused; its sender is told to try again");
                Err(Unavailable::Refused(Refusal::of(code)))
            }
        }
    }

    fn rejects(&self, state: &SourceState, error: VerifyError, sender: impl FnOnce() -> Peer) -> WebhookResponse {
        state.metrics.rejected(error);
        self.troubles.saw(state.source.name.as_str(), error.as_str(), sender);
        WebhookResponse::Unauthorized
    }

    fn source(&self, name: &str) -> Option<Arc<SourceState>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::net::Ipv4Addr;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
    use hookline_schemas::signature::SigningKey;
    use hookline_sources::SECRET_VARIABLE;
    use http::header;
    use http_body_util::Full;
    use hyper::body::Frame;
    use prometheus::Registry;
    use rdkafka::ClientConfig;
    use rdkafka::message::OwnedHeaders;

    use super::*;
    use crate::http::timeouts::ConnectionPhase;
    use crate::webhook::first_signed::EventIdentity;

    const NOW: i64 = 1_729_314_985;
    const SECRET: &str = "0123456789abcdef";
    const BODY: &str = r#"{"type":"video.started","payload":{"id":"j1","created_at":"2024-10-19T05:10:19.027Z"}}"#;

    const EVENT: EventIdentity<'_> = EventIdentity::Job { event_type: "video.started", job_id: "j1" };

    /// With a producer whose broker does not exist.
    fn without_kafka(limits: Limits) -> Webhooks {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let sources =
            Sources::read(&BTreeMap::new(), |name| Some(if name == SECRET_VARIABLE { SECRET } else { "prod" }.into()))
                .unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let producer = Producer::new(config, &limits, metrics.producers_recreated.clone()).unwrap();
        let topics = Topics::new("h").unwrap();
        let (tolerance, proxies) = (Tolerance::default(), TrustedProxies::default());
        Webhooks::new(&sources, topics, tolerance, limits, &proxies, Arc::new(producer), metrics)
    }

    fn request<B>(method: Method, path: &str, body: B) -> Request<B> {
        let timestamp = NOW.to_string();
        let hex = SigningKey::new(SECRET).sign(&timestamp, BODY.as_bytes()).to_hex();
        Request::builder()
            .method(method)
            .uri(path)
            .header(TIMESTAMP_HEADER, timestamp)
            .header(SIGNATURE_HEADER, hex.as_str())
            .body(body)
            .unwrap()
    }

    fn full(text: impl Into<Bytes>) -> Full<Bytes> {
        Full::new(text.into())
    }

    async fn ask<B: Body<Data = Bytes>>(webhooks: &Webhooks, request: Request<B>) -> WebhookResponse {
        let client = Client { address: Ipv4Addr::LOCALHOST.into(), phase: ConnectionPhase::default() };
        webhooks.respond(request, ReceivedAt(NOW * 1000), &client).await
    }

    /// A body that never ends.
    struct Stuck;

    impl Body for Stuck {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_in_the_order_of_the_table() {
        let webhooks = without_kafka(Limits { body_bytes: 1000, queued_bytes: 1000, ..Limits::default() });
        let large = vec![b'x'; 1001];
        for (method, path, body, response) in [
            (Method::GET, "/", full(BODY), WebhookResponse::NotFound),
            (Method::GET, "/webhooks/other", full(BODY), WebhookResponse::NotFound),
            (Method::GET, "/webhooks/prod/", full(BODY), WebhookResponse::NotFound),
            (Method::GET, "/webhooks/prod", full(large.clone()), WebhookResponse::MethodNotAllowed),
            (Method::POST, "/webhooks/prod", full(large), WebhookResponse::BodyTooLarge),
            (Method::POST, "/webhooks/prod", full("other"), WebhookResponse::Unauthorized),
            (Method::POST, "/webhooks/prod?x=1", full(""), WebhookResponse::Unauthorized),
            (Method::POST, "/webhooks/prod", full(BODY), WebhookResponse::Unavailable(Unavailable::NotConfirmed)),
        ] {
            assert_eq!(ask(&webhooks, request(method.clone(), path, body)).await, response, "{method} {path}");
        }
        let mut malformed = request(Method::POST, "/webhooks/prod", Stuck);
        malformed.headers_mut().insert(&SIGNATURE, HeaderValue::from_static("00"));
        malformed.headers_mut().insert(header::CONTENT_LENGTH, 1001.into());
        assert_eq!(ask(&webhooks, malformed).await, WebhookResponse::Unauthorized, "before the size, and at once");
        let mut announced = request(Method::POST, "/webhooks/prod", Stuck);
        announced.headers_mut().insert(header::CONTENT_LENGTH, 1001.into());
        assert_eq!(ask(&webhooks, announced).await, WebhookResponse::BodyTooLarge, "at once");
        assert_eq!(ask(&webhooks, request(Method::POST, "/webhooks/prod", Stuck)).await, WebhookResponse::BodyTooSlow);
        webhooks.update_load_gauges();
        let metrics = &webhooks.metrics;
        assert_eq!((metrics.in_flight.get(), metrics.queued_bytes.get()), (0, 0), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_full_queue_is_told_at_once() {
        let webhooks = without_kafka(Limits { in_flight: 1, ..Limits::default() });
        // Fills the queue with records whose senders did not wait.
        let record = || Record { topic: "h.video", key: None, value: b"", headers: OwnedHeaders::new() };
        while webhooks.producer.send(record()).is_ok() {}
        let began = Instant::now();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, WebhookResponse::Unavailable(Unavailable::QueueFull));
        assert!(began.elapsed() < CONFIRMATION_TIMEOUT / 2);
        assert!(webhooks.first_signed.get("prod", EVENT).is_some(), "its first time is remembered");
    }

    #[tokio::test]
    async fn outside_the_tolerance_another_share_is_used_up() {
        let webhooks = without_kafka(Limits { in_flight: 16, ..Limits::default() });
        let stale = |body| {
            let mut request = request(Method::POST, "/webhooks/prod", full(body));
            request.headers_mut().insert(&TIMESTAMP, HeaderValue::from(NOW - 301));
            request
        };
        assert_eq!(ask(&webhooks, stale(BODY)).await, WebhookResponse::Unauthorized, "its signature is another's");
        let bytes = webhooks.stale_capacity.bodies.hold(1 << 20);
        let refused = WebhookResponse::Unavailable(Unavailable::StaleShare);
        assert_eq!(ask(&webhooks, stale(BODY)).await, refused);
        let timely = request(Method::POST, "/webhooks/prod", full("forged"));
        assert_eq!(ask(&webhooks, timely).await, WebhookResponse::Unauthorized, "the others have theirs");
        webhooks.update_load_gauges();
        assert_eq!(webhooks.metrics.queued_bytes.get(), 1 << 20, "both shares together");
        drop(bytes);
        let only_permit = webhooks.stale_capacity.admit().unwrap();
        assert_eq!(ask(&webhooks, stale(BODY)).await, refused);
        drop(only_permit);
        assert_eq!(ask(&webhooks, stale(BODY)).await, WebhookResponse::Unauthorized);
    }

    #[tokio::test]
    async fn too_much_is_refused_at_once_and_the_first_time_remembered() {
        let webhooks = without_kafka(Limits { in_flight: 1, queued_bytes: 256 << 10, ..Limits::default() });
        let only_permit = webhooks.capacity.admit().unwrap();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, WebhookResponse::Unavailable(Unavailable::InFlight));
        let forged = ask(&webhooks, request(Method::POST, "/webhooks/prod", full("forged"))).await;
        assert_eq!(forged, WebhookResponse::Unavailable(Unavailable::InFlight), "load comes before the signature");
        let forged = EventIdentity::Body(b"forged");
        let first = |event| webhooks.first_signed.get("prod", event);
        assert_eq!((first(EVENT), first(forged)), (Some(SignedAt(u32::try_from(NOW).unwrap())), None));
        drop(only_permit);

        let bytes = webhooks.capacity.bodies.hold(256 << 10);
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, WebhookResponse::Unavailable(Unavailable::QueuedBytes));
        drop(bytes);

        webhooks.drain();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, WebhookResponse::Unavailable(Unavailable::Draining));
    }
}
