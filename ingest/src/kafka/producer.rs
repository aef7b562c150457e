//! Hands records to librdkafka, and its delivery reports to those who wait for them.
//!
//! There is no polling thread: librdkafka's event queue wakes the runtime through an eventfd, and [`Producer::run`]
//! takes what is there. One produce request is in flight at a time and none lingers: what arrives meanwhile is the next
//! batch, so a batch is as large as the load makes it and needs no tuning.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use hookline_service::kafka::KafkaContext;
use nix::sys::eventfd::EventFd;
use prometheus::IntCounter;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::config::Limits;
use crate::kafka::event_queue::{self, EventQueue};

/// The client's name in logs and metrics.
pub const PRODUCER: &str = "producer";
/// librdkafka reports a record as failed after this time; less than [`crate::webhook::CONFIRMATION_TIMEOUT`], so that
/// most senders learn what the report says.
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(3_500);
/// A producer is not replaced sooner than this after it was created: one that lacks a permission fails at once, each
/// time.
const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The most that a record has beside its body: a key, headers and framing.
pub const RECORD_OVERHEAD_BYTES: usize = 16 << 10;

/// Says that every in-sync replica has the record, or why not.
pub type DeliveryReport = Result<(), RDKafkaErrorCode>;

pub struct Record<'a> {
    pub topic: &'a str,
    /// Decides the partition; a record without a key goes to any.
    pub key: Option<&'a str>,
    /// The signed bytes, which librdkafka copies.
    pub value: &'a [u8],
    pub headers: OwnedHeaders,
}

/// An idempotent producer that is replaced after a fatal error, which librdkafka's own does not survive.
pub struct Producer {
    config: ClientConfig,
    current: RwLock<Arc<LibrdkafkaProducer>>,
    recreated: IntCounter,
}

pub(crate) struct LibrdkafkaProducer {
    // Dropped in this order: librdkafka may write to the eventfd for as long as the queue knows it.
    queue: EventQueue,
    base: BaseProducer<Callbacks>,
    eventfd: AsyncFd<EventFd>,
}

struct Callbacks(KafkaContext);

impl Default for Callbacks {
    fn default() -> Self {
        Self(KafkaContext::new(PRODUCER))
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<oneshot::Sender<DeliveryReport>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        // Sending fails where the request has timed out meanwhile; then nobody needs the report.
        let _ = report.send(result);
    }
}

impl Producer {
    /// Must be called within the runtime. Brokers may be unreachable: librdkafka connects in the background.
    pub fn new(mut config: ClientConfig, limits: &Limits, recreated: IntCounter) -> anyhow::Result<Self> {
        let largest_record = limits.body_bytes + RECORD_OVERHEAD_BYTES;
        let settings = [
            ("client.id", "hookline-ingest".to_owned()),
            ("acks", "all".to_owned()),
            ("enable.idempotence", "true".to_owned()),
            ("compression.codec", "lz4".to_owned()),
            ("partitioner", "murmur2_random".to_owned()),
            ("linger.ms", "0".to_owned()),
            ("max.in.flight", "1".to_owned()),
            ("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string()),
            ("message.max.bytes", largest_record.max(1_000_000).to_string()),
            // `max.message.bytes` of a topic limits batches, and a batch over it is refused with all its records: so a
            // batch must be no larger than what readiness demands of the topics.
            ("batch.size", largest_record.to_string()),
            ("queue.buffering.max.kbytes", (2 * limits.queued_bytes / 1024).max(1).to_string()),
            ("queue.buffering.max.messages", (2 * limits.in_flight).to_string()),
            ("socket.timeout.ms", "10000".to_owned()),
            ("reconnect.backoff.max.ms", "1000".to_owned()),
            ("socket.nagle.disable", "true".to_owned()),
        ];
        for (name, value) in settings {
            config.set(name, value);
        }
        let first = LibrdkafkaProducer::new(&config)?;
        Ok(Self { config, current: RwLock::new(Arc::new(first)), recreated })
    }

    /// Hands a record to librdkafka; its delivery report comes through the receiver.
    pub fn send(&self, record: Record<'_>) -> Result<oneshot::Receiver<DeliveryReport>, RDKafkaErrorCode> {
        let (sender, report) = oneshot::channel();
        let mut message = BaseRecord::<str, [u8], _>::with_opaque_to(record.topic, Box::new(sender))
            .payload(record.value)
            .headers(record.headers);
        message.key = record.key;
        let producer = self.current.read().unwrap_or_else(PoisonError::into_inner);
        match producer.base.send(message) {
            Ok(()) => Ok(report),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        }
    }

    /// Serves the event queue, and replaces the producer after a fatal error; returns only if either cannot go on.
    pub async fn run(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.serve_and_replace().await {
                return error;
            }
        }
    }

    async fn serve_and_replace(&self) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        let failed = self.current();
        let reason = failed.serve_until_fatal().await.context("cannot wait for events of the producer")?;
        tracing::error!(reason, "the producer had a fatal error; another one replaces it");
        tokio::time::sleep_until(began + MIN_LIFETIME).await;
        let replacement = LibrdkafkaProducer::new(&self.config).context("cannot replace the producer")?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(replacement);
        self.recreated.inc();
        // Dropping it reports the records that it still holds as failed, and blocks meanwhile.
        tokio::task::spawn_blocking(move || drop(failed));
        Ok(())
    }

    /// Waits until librdkafka holds no record any more; returns how many it holds at the deadline.
    pub async fn flush(&self, deadline: Duration) -> usize {
        let until = tokio::time::Instant::now() + deadline;
        loop {
            let left = self.current().base.in_flight_count();
            if left <= 0 || tokio::time::Instant::now() >= until {
                return usize::try_from(left).unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Says what an error of the producer means, with its cause where that is known.
    pub fn explain(&self, error: &KafkaError) -> String {
        self.current().base.context().0.explain(error)
    }

    /// For other clients of the same brokers.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    pub(crate) fn current(&self) -> Arc<LibrdkafkaProducer> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LibrdkafkaProducer {
    fn new(config: &ClientConfig) -> anyhow::Result<Self> {
        let eventfd = event_queue::eventfd()?;
        let base: BaseProducer<Callbacks> = config.create_with_context(Callbacks::default())?;
        let queue = EventQueue::waking(base.client(), eventfd.get_ref());
        Ok(Self { queue, base, eventfd })
    }

    /// Blocks until a broker has answered.
    pub(crate) fn metadata(&self, topic: &str, timeout: Duration) -> KafkaResult<rdkafka::metadata::Metadata> {
        self.base.client().fetch_metadata(Some(topic), timeout)
    }

    /// Asks for the offsets of a partition, which only its leader can answer; blocks until it has.
    pub(crate) fn ask_leader(&self, topic: &str, partition: i32, timeout: Duration) -> KafkaResult<()> {
        self.base.client().fetch_watermarks(topic, partition, timeout).map(drop)
    }

    /// Serves events until the producer fails for good; returns its fatal error.
    async fn serve_until_fatal(&self) -> io::Result<String> {
        loop {
            // The queue is emptied before the first wait: only an event that arrives in an empty queue wakes, and one
            // that came before the queue knew the eventfd, such as a refused connection, would keep all others from
            // waking.
            while !self.queue.is_empty() {
                self.base.poll(Duration::ZERO);
            }
            // librdkafka is asked, since its error callback gets the broker's code and not that of a fatal error.
            if let Some((_, reason)) = self.base.client().fatal_error() {
                return Ok(reason);
            }
            // The counter is never read: each write is an edge of its own, and the queue itself says when it is empty.
            self.eventfd.readable().await?.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn events_that_came_before_the_queue_could_wake_silence_none_that_come_after() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let recreated = IntCounter::new("r", "r").unwrap();
        let producer = Producer::new(config, &Limits::default(), recreated).unwrap();
        let base: BaseProducer<Callbacks> = producer.config.create_with_context(Callbacks::default()).unwrap();
        let (other, eventfd) = (event_queue::eventfd().unwrap(), event_queue::eventfd().unwrap());
        let early = EventQueue::waking(base.client(), other.get_ref());
        while early.is_empty() {
            // The event of the refused connection has not arrived yet.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(early);
        let queue = EventQueue::waking(base.client(), eventfd.get_ref());
        *producer.current.write().unwrap() = Arc::new(LibrdkafkaProducer { queue, base, eventfd });

        let headers = OwnedHeaders::new();
        let report = producer.send(Record { topic: "t", key: None, value: b"", headers }).unwrap();
        tokio::select! {
            report = timeout(4 * DELIVERY_TIMEOUT, report) => {
                assert_eq!(report.expect("a report in time"), Ok(Err(RDKafkaErrorCode::MessageTimedOut)));
            }
            error = producer.run() => panic!("{error:#}"),
        }
    }
}
