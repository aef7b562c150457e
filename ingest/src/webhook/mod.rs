//! A webhook from its head to its answer, in the order of the table of answers: path, method, size, time, load, signature.

pub mod delivery;
pub mod memory;

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hookline_schemas::record::WEBHOOK_PATH;
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{ReceivedAt, SignedAt};
use hookline_schemas::topics::Topics;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use prometheus::IntCounter;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::{Instant, timeout};

use crate::config::{Limits, Tolerance};
use crate::http::limits::{Bound, Share};
use crate::http::response::{Answer, Unavailable};
use crate::kafka::producer::{Producer, Record};
use crate::metrics::{Metrics, SourceMetrics, count};
use crate::sources::{SourceKeys, Sources};
use crate::webhook::delivery::Delivery;
use crate::webhook::memory::{FirstTimes, StaleWindow};

/// What a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// What Kafka may take to confirm; the answer follows within 4 s.
pub const BUDGET: Duration = Duration::from_millis(3_800);

/// Everything a webhook needs.
#[derive(Debug)]
pub struct Webhooks {
    sources: RwLock<HashMap<String, Arc<Entry>>>,
    topics: Topics,
    tolerance: Tolerance,
    limits: Limits,
    producer: Arc<Producer>,
    metrics: Metrics,
    produced: Vec<(String, IntCounter)>,
    in_flight: Bound,
    queued: Bound,
    first: FirstTimes,
    stale: StaleWindow,
    draining: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    source: SourceKeys,
    metrics: SourceMetrics,
}

impl Webhooks {
    /// Ready to serve.
    pub fn new(
        sources: &Sources,
        topics: Topics,
        tolerance: Tolerance,
        limits: Limits,
        producer: Arc<Producer>,
        metrics: Metrics,
    ) -> Self {
        let webhooks = Self {
            sources: RwLock::default(),
            produced: metrics.of_topics(&topics),
            topics,
            tolerance,
            limits,
            producer,
            in_flight: Bound::new(limits.in_flight),
            queued: Bound::new(limits.queued_bytes),
            first: FirstTimes::new(limits.first_signed_times, metrics.of_map("first_signed_times")),
            stale: StaleWindow::new(limits.stale_signatures, metrics.of_map("stale_signatures")),
            draining: AtomicBool::new(false),
            metrics,
        };
        webhooks.use_secrets(sources);
        webhooks
    }

    /// Verifies with these secrets from the next request on.
    pub fn use_secrets(&self, sources: &Sources) {
        let entries = sources.iter().map(|source| {
            let metrics = self.metrics.of_source(source);
            (source.name.as_str().to_owned(), Arc::new(Entry { source: source.clone(), metrics }))
        });
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = entries.collect();
    }

    /// From now on every webhook is refused for now.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Brings the gauges up to date.
    pub fn observe_load(&self) {
        let as_gauge = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(as_gauge(self.in_flight.taken()));
        self.metrics.queued_bytes.set(as_gauge(self.queued.taken()));
    }

    /// Takes a webhook and says what became of it.
    pub async fn answer<B>(&self, request: Request<B>, received_at: ReceivedAt) -> Answer
    where
        B: Body<Data = Bytes>,
    {
        let began = Instant::now();
        let answer = self.decide(request, received_at).await;
        self.metrics.answered(answer);
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        answer
    }

    async fn decide<B>(&self, request: Request<B>, received_at: ReceivedAt) -> Answer
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let Some(entry) = head.uri.path().strip_prefix(WEBHOOK_PATH).and_then(|name| self.source(name)) else {
            return Answer::NotFound;
        };
        if head.method != Method::POST {
            return Answer::MethodNotAllowed;
        }
        let (body, _bytes) = match self.read(&head.headers, body).await {
            Ok(read) => read,
            Err(answer) => return answer,
        };
        let load = self.in_flight.take(1).ok_or(Unavailable::InFlight);
        let load = if self.draining.load(Ordering::Relaxed) { Err(Unavailable::Draining) } else { load };
        let verified = entry.source.verify(&head.headers, &body);
        let (_share, verified) = match (load, verified) {
            (Ok(share), Ok(verified)) => (share, verified),
            (Ok(_), Err(refusal)) => {
                tracing::debug!(source = %entry.source.name, "refused: {refusal}");
                entry.metrics.refused(refusal);
                return Answer::Unauthorized;
            }
            (Err(why), verified) => {
                if let Ok(verified) = verified {
                    self.first.remember(&entry.source, &body, verified.signed_at());
                }
                return Answer::Unavailable(why);
            }
        };
        let age_seconds = verified.signed_at().age_seconds(received_at);
        entry.metrics.skew.observe(age_seconds as f64);
        entry
            .metrics
            .verified(entry.source.keys.iter().position(|key| key.name == *verified.key()).unwrap_or(usize::MAX));

        let delivery = Delivery::new(verified, entry.source.name.as_str(), received_at, self.tolerance);
        if delivery.is_stale() {
            entry.metrics.stale(age_seconds);
            return self.bury_stale(&entry, &delivery, verified.signature().to_hex(), &body).await;
        }
        let first = self.first.get(&entry.source, &body).filter(|first| *first < verified.signed_at());
        match self.produce(&delivery, first, &body).await {
            Ok(()) => {
                self.first.forget(&entry.source, &body);
                match &delivery.dead {
                    None => Answer::Accepted,
                    Some(dead) => {
                        entry.metrics.dead_letter(dead.reason);
                        Answer::DeadLettered
                    }
                }
            }
            Err(why) => {
                self.first.remember(&entry.source, &body, verified.signed_at());
                Answer::Unavailable(why)
            }
        }
    }

    async fn bury_stale(&self, entry: &Entry, delivery: &Delivery<'_>, signature: HexSignature, body: &[u8]) -> Answer {
        let mut claim = match self.stale.claim(signature) {
            Ok(claim) => claim,
            Err(true) => return Answer::Unauthorized,
            Err(false) => return Answer::Unavailable(Unavailable::StalePending),
        };
        match self.produce(delivery, None, body).await {
            Ok(()) => {
                claim.keep();
                if let Some(dead) = &delivery.dead {
                    entry.metrics.dead_letter(dead.reason);
                }
                Answer::Unauthorized
            }
            Err(why) => Answer::Unavailable(why),
        }
    }

    /// Returns once every in-sync replica has the record.
    async fn produce(
        &self,
        delivery: &Delivery<'_>,
        first_signed_at: Option<SignedAt>,
        body: &[u8],
    ) -> Result<(), Unavailable> {
        let topic = delivery.topic(&self.topics);
        let headers = delivery.headers(first_signed_at);
        let sent = self.producer.send(Record { topic, key: delivery.key(), value: body, headers });
        let outcome = match sent {
            Ok(outcome) => timeout(BUDGET, outcome).await,
            Err(RDKafkaErrorCode::QueueFull) => return Err(Unavailable::QueueFull),
            Err(code) => Ok(Ok(Err(code))),
        };
        match outcome {
            Ok(Ok(Ok(()))) => {
                count(&self.produced, topic);
                Ok(())
            }
            Ok(Ok(Err(RDKafkaErrorCode::MessageTimedOut))) | Ok(Err(_)) | Err(_) => Err(Unavailable::NotConfirmed),
            Ok(Ok(Err(code))) => {
                tracing::debug!(topic, %code, "Kafka refused a record");
                Err(Unavailable::Refused)
            }
        }
    }

    async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<(Bytes, Option<Share>), Answer>
    where
        B: Body<Data = Bytes>,
    {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.body_bytes as u64) {
            return Err(Answer::BodyTooLarge);
        }
        let mut collecting = pin!(self.collect(body));
        // Most bodies came together with their head; only the others need a timer.
        match poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => timeout(BODY_TIME, collecting).await.unwrap_or(Err(Answer::BodyTooSlow)),
        }
    }

    async fn collect<B>(&self, body: B) -> Result<(Bytes, Option<Share>), Answer>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        let mut whole = Bytes::new();
        let mut parts = BytesMut::new();
        let mut share: Option<Share> = None;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(Answer::BodyBroken) };
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + parts.len() + data.len() > self.limits.body_bytes {
                return Err(Answer::BodyTooLarge);
            }
            match &mut share {
                None => share = self.queued.take(data.len()),
                Some(taken) => {
                    if !taken.grow(data.len()) {
                        share = None;
                    }
                }
            }
            if share.is_none() {
                return Err(Answer::Unavailable(Unavailable::QueuedBytes));
            }
            if whole.is_empty() && parts.is_empty() {
                whole = data;
            } else {
                if parts.is_empty() {
                    parts.extend_from_slice(&std::mem::take(&mut whole));
                }
                parts.extend_from_slice(&data);
            }
        }
        Ok((if parts.is_empty() { whole } else { parts.freeze() }, share))
    }

    fn source(&self, name: &str) -> Option<Arc<Entry>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::Context;

    use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
    use hookline_schemas::signature::SigningKey;
    use http_body_util::Full;
    use hyper::body::Frame;
    use prometheus::Registry;
    use rdkafka::ClientConfig;
    use rdkafka::message::OwnedHeaders;

    use super::*;

    const NOW: i64 = 1_729_314_985;
    const SECRET: &str = "prod";
    const BODY: &str = r#"{"type":"video.started","payload":{"id":"j1","created_at":"2024-10-19T05:10:19.027Z"}}"#;

    /// No broker listens there.
    fn without_kafka(limits: Limits) -> Webhooks {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let sources = Sources::read(&BTreeMap::new(), |_| Some(SECRET.into())).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let producer = Producer::new(config, &limits, metrics.producers_recreated.clone()).unwrap();
        let topics = Topics::new("h").unwrap();
        Webhooks::new(&sources, topics, Tolerance::default(), limits, Arc::new(producer), metrics)
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

    async fn ask<B: Body<Data = Bytes>>(webhooks: &Webhooks, request: Request<B>) -> Answer {
        webhooks.answer(request, ReceivedAt(NOW * 1000)).await
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
        for (method, path, body, answer) in [
            (Method::GET, "/", full(BODY), Answer::NotFound),
            (Method::GET, "/webhooks/other", full(BODY), Answer::NotFound),
            (Method::GET, "/webhooks/prod/", full(BODY), Answer::NotFound),
            (Method::GET, "/webhooks/prod", full(large.clone()), Answer::MethodNotAllowed),
            (Method::POST, "/webhooks/prod", full(large), Answer::BodyTooLarge),
            (Method::POST, "/webhooks/prod", full("other"), Answer::Unauthorized),
            (Method::POST, "/webhooks/prod?x=1", full(""), Answer::Unauthorized),
            (Method::POST, "/webhooks/prod", full(BODY), Answer::Unavailable(Unavailable::NotConfirmed)),
        ] {
            assert_eq!(ask(&webhooks, request(method.clone(), path, body)).await, answer, "{method} {path}");
        }
        let mut announced = request(Method::POST, "/webhooks/prod", Stuck);
        announced.headers_mut().insert(header::CONTENT_LENGTH, 1001.into());
        assert_eq!(ask(&webhooks, announced).await, Answer::BodyTooLarge, "at once");
        assert_eq!(ask(&webhooks, request(Method::POST, "/webhooks/prod", Stuck)).await, Answer::BodyTooSlow);
        assert_eq!((webhooks.in_flight.taken(), webhooks.queued.taken()), (0, 0), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_full_queue_is_told_at_once() {
        let webhooks = without_kafka(Limits { in_flight: 1, ..Limits::default() });
        // As many as fit, of senders that did not wait.
        let record = || Record { topic: "h.video", key: None, value: b"", headers: OwnedHeaders::new() };
        while webhooks.producer.send(record()).is_ok() {}
        let began = Instant::now();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, Answer::Unavailable(Unavailable::QueueFull));
        assert!(began.elapsed() < BUDGET / 2);
        let source = webhooks.source("prod").unwrap();
        assert!(webhooks.first.get(&source.source, BODY.as_bytes()).is_some(), "its first time is remembered");
    }

    #[tokio::test]
    async fn too_much_is_refused_at_once_and_the_first_time_remembered() {
        let webhooks = without_kafka(Limits { in_flight: 1, queued_bytes: 256 << 10, ..Limits::default() });
        let full_house = webhooks.in_flight.take(1).unwrap();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, Answer::Unavailable(Unavailable::InFlight));
        let forged = ask(&webhooks, request(Method::POST, "/webhooks/prod", full("forged"))).await;
        assert_eq!(forged, Answer::Unavailable(Unavailable::InFlight), "load comes before the signature");
        let source = webhooks.source("prod").unwrap();
        let first = |body: &str| webhooks.first.get(&source.source, body.as_bytes());
        assert_eq!((first(BODY), first("forged")), (Some(SignedAt(u32::try_from(NOW).unwrap())), None));
        drop(full_house);

        let bytes = webhooks.queued.take(256 << 10).unwrap();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, Answer::Unavailable(Unavailable::QueuedBytes));
        drop(bytes);

        webhooks.drain();
        let asked = ask(&webhooks, request(Method::POST, "/webhooks/prod", full(BODY))).await;
        assert_eq!(asked, Answer::Unavailable(Unavailable::Draining));
    }
}
