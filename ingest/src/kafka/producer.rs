//! Hands records to librdkafka and completes whoever waits for the acknowledgement.
//!
//! There is no polling thread: librdkafka's event queue wakes the runtime through an eventfd, and [`Producer::run`] takes
//! what is there. One produce request is in flight at a time and none lingers: what arrives meanwhile is the next batch,
//! so a batch is as large as the load makes it and needs no tuning.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

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

/// After this long librdkafka gives a record up; below [`crate::webhook::BUDGET`].
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(3_500);
/// A producer that fails sooner than this is not replaced before: one that lacks a permission fails at once, again and again.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Beside its body a record has a key, headers and framing.
pub const RECORD_OVERHEAD_BYTES: usize = 16 << 10;

/// What became of a record.
pub type Outcome = Result<(), RDKafkaErrorCode>;

/// A record to be produced.
#[derive(Debug)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Decides the partition; a record without one goes to any.
    pub key: Option<&'a str>,
    /// The signed bytes; copied.
    pub value: &'a [u8],
    /// The headers.
    pub headers: OwnedHeaders,
}

/// An idempotent producer that is made anew after a fatal error.
#[derive(Debug)]
pub struct Producer {
    config: ClientConfig,
    current: RwLock<Arc<Native>>,
    recreated: IntCounter,
}

/// One producer of librdkafka.
pub(crate) struct Native {
    // Dropped in this order: librdkafka may write to the eventfd for as long as the queue knows it.
    queue: EventQueue,
    base: BaseProducer<Context>,
    wake: AsyncFd<EventFd>,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Native")
    }
}

/// What librdkafka tells besides the outcome of records.
#[derive(Debug, Default)]
struct Context {
    trouble: Mutex<Option<(Instant, String)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, "librdkafka: {message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Comes after the error that says why.
            return;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some((Instant::now(), reason.to_owned()));
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        // Whoever waited may have given up.
        let _ = waiting.send(outcome);
    }
}

impl Producer {
    /// Makes the first producer; must run within the runtime. No broker need be there yet.
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
            // The limit of a topic is one for batches, and a batch over it is refused with all its records: so a batch must
            // be no larger than what readiness demands of the topics.
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
        let native = Native::new(&config)?;
        Ok(Self { config, current: RwLock::new(Arc::new(native)), recreated })
    }

    /// Gives a record to librdkafka; the receiver learns what became of it.
    pub fn send(&self, record: Record<'_>) -> Result<oneshot::Receiver<Outcome>, RDKafkaErrorCode> {
        let (waiting, outcome) = oneshot::channel();
        let mut message = BaseRecord::<str, [u8], _>::with_opaque_to(record.topic, Box::new(waiting))
            .payload(record.value)
            .headers(record.headers);
        message.key = record.key;
        let native = self.current.read().unwrap_or_else(PoisonError::into_inner);
        match native.base.send(message) {
            Ok(()) => Ok(outcome),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        }
    }

    /// Serves the event queue, for ever; recreates the producer after a fatal error.
    pub async fn run(&self) -> io::Result<()> {
        loop {
            let began = tokio::time::Instant::now();
            let native = self.current();
            let reason = native.serve_until_fatal().await?;
            tracing::error!(reason, "the producer failed for good and is made anew");
            tokio::time::sleep_until(began + SHORTEST_LIFE).await;
            match Native::new(&self.config) {
                Ok(fresh) => *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh),
                Err(error) => return Err(io::Error::other(format!("{error:#}"))),
            }
            self.recreated.inc();
            // What it still held is given up, and whoever waits for it learns that; this blocks.
            tokio::task::spawn_blocking(move || drop(native));
        }
    }

    /// Waits until no record is with librdkafka any more, and returns how many are at the deadline.
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

    /// The latest thing that the client complained of, if it was within `window`: authentication, certificates, addresses.
    pub fn trouble(&self, window: Duration) -> Option<String> {
        let current = self.current();
        let trouble = current.base.context().trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|(at, _)| at.elapsed() < window).map(|(_, reason)| reason.clone())
    }

    /// The settings of its clients.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    pub(crate) fn current(&self) -> Arc<Native> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Native {
    fn new(config: &ClientConfig) -> anyhow::Result<Self> {
        let wake = event_queue::eventfd()?;
        let base: BaseProducer<Context> = config.create_with_context(Context::default())?;
        let queue = EventQueue::waking(base.client(), wake.get_ref());
        Ok(Self { queue, base, wake })
    }

    /// What the cluster says of a topic; blocks.
    pub(crate) fn metadata(&self, topic: &str, timeout: Duration) -> KafkaResult<rdkafka::metadata::Metadata> {
        self.base.client().fetch_metadata(Some(topic), timeout)
    }

    /// Asks the leader of a partition for something that only it can answer; blocks.
    pub(crate) fn ask_leader(&self, topic: &str, partition: i32, timeout: Duration) -> KafkaResult<()> {
        self.base.client().fetch_watermarks(topic, partition, timeout).map(drop)
    }

    /// Returns why it failed for good.
    async fn serve_until_fatal(&self) -> io::Result<String> {
        loop {
            // Emptied before the first wait: only an event that arrives in an empty queue wakes, and one that came before the
            // queue knew the eventfd, such as a refused connection, would keep all others from waking for ever.
            while !self.queue.is_empty() {
                self.base.poll(Duration::ZERO);
            }
            // Asked, since the error callback gets the broker's code for it and not that of a fatal error.
            if let Some((_, reason)) = self.base.client().fatal_error() {
                return Ok(reason);
            }
            // The counter is never read: each write is an edge of its own, and the queue itself says when it is empty.
            self.wake.readable().await?.clear_ready();
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
        let base: BaseProducer<Context> = producer.config.create_with_context(Context::default()).unwrap();
        let (other, wake) = (event_queue::eventfd().unwrap(), event_queue::eventfd().unwrap());
        let early = EventQueue::waking(base.client(), other.get_ref());
        while early.is_empty() {
            // The refused connection is on its way.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(early);
        let queue = EventQueue::waking(base.client(), wake.get_ref());
        *producer.current.write().unwrap() = Arc::new(Native { queue, base, wake });

        let headers = OwnedHeaders::new();
        let told = producer.send(Record { topic: "t", key: None, value: b"", headers }).unwrap();
        tokio::select! {
            outcome = timeout(4 * DELIVERY_TIMEOUT, told) => {
                assert_eq!(outcome.expect("to be told"), Ok(Err(RDKafkaErrorCode::MessageTimedOut)));
            }
            ended = producer.run() => panic!("it ended: {ended:?}"),
        }
    }
}
