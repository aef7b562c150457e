//! The daemon: waits for the topics and tables, then consumes until it is told to stop. A consumer that is broken for good
//! is replaced by a new one.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::topics::Topics;
use hookline_service::admin::{Admin, Readiness, bind, serve};
use hookline_service::kafka::{KafkaContext, NoAnswer, ask, errors};
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::lag_probe::LAG_PROBE;
use crate::consumer::rebalance::{CONSUMER, RebalanceContext};
use crate::consumer::settings;
use crate::dead_letter_producer::DEAD_LETTER_PRODUCER;
use crate::expired::detector::{DETECTOR, Detector};
use crate::expired::table::unacknowledged;
use crate::log_ids::{LogIds, LogWatch};
use crate::metrics::jobs::JobMetrics;
use crate::metrics::{Metrics, Mode};
use crate::probe::{PROBE, Probe};
use crate::writer::channel::{WriterHandle, WriterInbox, writer_channel};
use crate::writer::held::Held;
use crate::writer::rollup::Refresher;
use crate::writer::thread::WriterThread;
use crate::writer::{CLICKHOUSE, Writer};

pub const KAFKA: &str = "kafka";
/// The name in logs and metrics of the client that waits for the topics, and then watches whether they are the same.
const STARTUP: &str = "startup";
const KAFKA_CLIENTS: [&str; 6] = [STARTUP, CONSUMER, DEAD_LETTER_PRODUCER, DETECTOR, LAG_PROBE, PROBE];
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// A member that is fenced twice within this time has a rival with the same instance id.
const FENCED_AGAIN: Duration = Duration::from_secs(60);
/// A full batch waits this long for the writer before fetching is paused.
const WRITER_WAIT: Duration = Duration::from_secs(1);
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The time that the admin listener has for its last responses. A client that has sent half a request must not keep the process.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);
pub const CUT_SHORT: &str =
    "the shutdown took longer than group.shutdown_timeout_ms and is cut short: what is not committed is read again";

enum Ended {
    Stopped,
    /// Only a new consumer can go on.
    Broken {
        cause: &'static str,
        error: String,
    },
    /// Another consumer took this one's place in the group.
    Fenced,
    /// The writer's thread panicked.
    WriterGone,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: ProcessorConfig) -> anyhow::Result<()> {
    let shutdown = on_signal()?;
    ignore_hangup()?;
    exit_after(shutdown.clone(), config.group.shutdown_timeout(), CUT_SHORT);
    let readiness = Readiness::waiting_for(&[KAFKA, CLICKHOUSE]);
    let admin = Admin::new(readiness.clone(), &[("fold_version", FOLD_VERSION.to_string())])?;
    errors::register(&admin.registry, &KAFKA_CLIENTS)?;
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let metrics = Metrics::new(&admin.registry, Mode::Live, &topics)?;
    let job_metrics = JobMetrics::new(&admin.registry, &config.counting)?;
    let address = config.admin.listen;
    let listener = bind("admin", address).await?;
    let admin_shutdown = CancellationToken::new();
    let admin_server = tokio::spawn(serve(listener, admin.router(), admin_shutdown.clone()));

    let probe = Probe::new(&config, readiness.clone(), metrics.clone())?;
    let (handle, stop) = (Handle::current(), shutdown.clone());
    let probe = tokio::task::spawn_blocking(move || probe.run(&handle, &stop));
    let stop = shutdown.clone();
    let daemon = Daemon { topics, config, metrics, job_metrics, readiness, shutdown };
    let runtime = Handle::current();
    let consumed = tokio::task::spawn_blocking(move || daemon.run(&runtime)).await.context("the consumer's thread");
    stop.cancel();
    probe.await?;
    admin_shutdown.cancel();
    let served = tokio::time::timeout(ADMIN_TIMEOUT, admin_server).await;
    consumed??;
    served.map_or(Ok(()), |served| served?.context("the admin listener"))
}

struct Daemon {
    config: ProcessorConfig,
    topics: Topics,
    metrics: Metrics,
    job_metrics: JobMetrics,
    readiness: Readiness,
    shutdown: CancellationToken,
}

impl Daemon {
    fn run(&self, runtime: &Handle) -> anyhow::Result<()> {
        let clickhouse = ClickHouse::new(&self.config.clickhouse)?;
        let mut fenced_at: Option<Instant> = None;
        while !self.shutdown.is_cancelled() {
            let Some(log_watch) = self.wait_for_servers(&clickhouse, runtime)? else { break };
            let ended = match self.session(clickhouse.clone(), log_watch, runtime)? {
                // After an outage of the brokers a member can be fenced by its own next attempt to join. Only another consumer
                // fences it again at once.
                Ended::Fenced if fenced_at.is_none_or(|before| before.elapsed() > FENCED_AGAIN) => {
                    fenced_at = Some(Instant::now());
                    Ended::Broken { cause: "fatal", error: "the brokers have fenced this member of the group".into() }
                }
                ended @ (Ended::Stopped | Ended::Fenced | Ended::WriterGone | Ended::Broken { .. }) => ended,
            };
            match ended {
                Ended::Stopped | Ended::WriterGone => break,
                Ended::Fenced => anyhow::bail!(
                    "another consumer has joined the group {} as {:?}, so that this one may not go on: give each processor its \
                     own group.instance_id, and run none twice; what it had not committed is read again by the other one",
                    self.config.group_id(),
                    self.config.instance_id().unwrap_or_default()
                ),
                Ended::Broken { cause, error } => {
                    tracing::error!(
                        cause,
                        error,
                        "the consumer is broken and is replaced; what was not committed is read again"
                    );
                    self.metrics.consumer_restarts.with_label_values(&[cause]).inc();
                    self.pause(runtime);
                }
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Waits until topics and tables exist; returns which logs the topics are, or nothing at shutdown.
    fn wait_for_servers(&self, clickhouse: &ClickHouse, runtime: &Handle) -> anyhow::Result<Option<LogWatch>> {
        let client: BaseConsumer<_> = self.config.kafka.client()?.create_with_context(KafkaContext::new(STARTUP))?;
        let answer_timeout = Duration::from_millis(self.config.group.watchdog_ms);
        while !self.shutdown.is_cancelled() {
            // A server that accepts connections and is silent must not outlast a signal.
            let Some(tables) = runtime.block_on(self.shutdown.run_until_cancelled(check_tables(clickhouse))) else {
                break;
            };
            match &tables {
                Ok(()) => self.readiness.ready(CLICKHOUSE),
                Err(why) => self.readiness.not_ready(CLICKHOUSE, why),
            }
            let kafka = self.missing_topic(&client);
            match &kafka {
                Ok(None) => self.readiness.ready(KAFKA),
                Ok(Some(topic)) => {
                    let why = format!("the topic {topic} is missing: run hookline-analytics migrate");
                    self.readiness.not_ready(KAFKA, why);
                }
                Err(no_answer) => self.readiness.not_ready(KAFKA, no_answer.to_string()),
            }
            if let (Ok(()), Ok(None)) = (tables, kafka) {
                match ask(&client, |client| LogIds::fetch(client, &self.topics, METADATA_TIMEOUT)) {
                    Ok(log_ids) => {
                        return Ok(Some(LogWatch::new(client, self.topics.clone(), log_ids, answer_timeout)));
                    }
                    Err(error) => {
                        self.readiness.not_ready(KAFKA, format!("the ids of the topics are not known: {error}"));
                    }
                }
            }
            self.pause(runtime);
        }
        Ok(None)
    }

    fn missing_topic(&self, client: &BaseConsumer<KafkaContext>) -> Result<Option<String>, NoAnswer> {
        let metadata = ask(client, |client| client.fetch_metadata(None, METADATA_TIMEOUT))?;
        let exists = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
        Ok(self.topics.all().find(|name| !exists(name)).map(str::to_owned))
    }

    fn pause(&self, runtime: &Handle) {
        let shutdown = self.shutdown.cancelled();
        let _ = runtime.block_on(async { tokio::time::timeout(RETRY_DELAY, shutdown).await });
    }

    /// Runs one consumer and one writer, until the daemon ends or the consumer is broken.
    fn session(&self, clickhouse: ClickHouse, log_watch: LogWatch, runtime: &Handle) -> anyhow::Result<Ended> {
        let (handle, inbox) = writer_channel();
        let log_ids = log_watch.log_ids().clone();
        let writer = self.writer_thread(clickhouse, log_watch, inbox, runtime)?;
        let writer = std::thread::Builder::new().name("writer".into()).spawn(move || writer.run())?;
        let consumer = self.subscribe(handle, log_ids)?;
        let ended = self.consume(&consumer);
        match ended {
            Ended::Stopped => {
                consumer.context().batcher().finish(&consumer);
                // Closing leaves the group, or keeps the place in it where membership is static, and drops the writer's commands.
                drop(consumer);
                join(writer)?;
            }
            Ended::Broken { .. } | Ended::Fenced => close_aside(consumer)?,
            Ended::WriterGone => {
                close_aside(consumer)?;
                join(writer)?;
                anyhow::bail!("the writer's thread has ended before the daemon");
            }
        }
        Ok(ended)
    }

    fn writer_thread(
        &self,
        clickhouse: ClickHouse,
        log_watch: LogWatch,
        inbox: WriterInbox,
        runtime: &Handle,
    ) -> anyhow::Result<WriterThread> {
        let (metrics, readiness, stages) = (self.metrics.clone(), self.readiness.clone(), self.metrics.stages.clone());
        let refresher =
            Refresher { clickhouse: clickhouse.clone(), metrics: metrics.clone(), readiness: readiness.clone() };
        let detector = Detector::new(
            &self.config,
            self.topics.clone(),
            log_watch.log_ids().clone(),
            metrics.clone(),
            readiness.clone(),
        )?;
        let writer = Writer::new(&self.config.kafka, clickhouse, self.topics.clone(), log_watch, metrics, readiness)?
            .live(self.job_metrics.clone());
        let refresh_every = Duration::from_millis(self.config.batch.refresh_ms);
        let (runtime, now) = (runtime.clone(), Instant::now());
        let (logs_seen_at, stopped_tried) = (now, now);
        Ok(WriterThread {
            writer,
            refresher,
            detector,
            refresh_every,
            held: Held::new(self.config.batch.clone()),
            owes_batch: false,
            inbox,
            runtime,
            shutdown: self.shutdown.clone(),
            logs_seen_at,
            stopped_tried,
            stages,
        })
    }

    fn subscribe(&self, writer: WriterHandle, log_ids: LogIds) -> anyhow::Result<BaseConsumer<RebalanceContext>> {
        let (topics, metrics) = (self.topics.clone(), self.metrics.clone());
        let context = RebalanceContext::new(topics, &self.config.batch, &self.config.group, metrics, writer, log_ids);
        let consumer: BaseConsumer<_> = settings::live(&self.config)?.create_with_context(context)?;
        consumer.subscribe(&self.topics.all().collect::<Vec<_>>())?;
        Ok(consumer)
    }

    fn consume(&self, consumer: &BaseConsumer<RebalanceContext>) -> Ended {
        while !self.shutdown.is_cancelled() {
            if let Err(broken) = poll(consumer, POLL_TIMEOUT) {
                return broken;
            }
            let mut batcher = consumer.context().batcher();
            batcher.handle_writer_events(consumer, Duration::ZERO);
            batcher.submit_batch_if_due();
            if let Some((cause, error)) = batcher.broken() {
                return Ended::Broken { cause, error };
            }
            if batcher.is_writer_gone() {
                return Ended::WriterGone;
            }
            if batcher.is_stuck() {
                let error = "a partition has records and made no progress within group.watchdog_ms".into();
                return Ended::Broken { cause: "watchdog", error };
            }
            if !(batcher.is_full() && batcher.is_writing()) || batcher.handle_writer_events(consumer, WRITER_WAIT) {
                continue;
            }
            drop(batcher);
            if let Err(broken) = self.wait_paused(consumer) {
                return broken;
            }
        }
        Ended::Stopped
    }

    /// Waits until the writer is free: polls without fetching, so that the member stays in the group.
    fn wait_paused(&self, consumer: &BaseConsumer<RebalanceContext>) -> Result<(), Ended> {
        let context = consumer.context();
        context.batcher().pause(consumer);
        while !self.shutdown.is_cancelled() {
            poll(consumer, POLL_TIMEOUT)?;
            let mut batcher = context.batcher();
            batcher.handle_writer_events(consumer, Duration::ZERO);
            if batcher.is_writer_gone() {
                return Err(Ended::WriterGone);
            }
            if !(batcher.is_full() && batcher.is_writing()) || batcher.broken().is_some() {
                break;
            }
        }
        context.batcher().resume(consumer);
        Ok(())
    }
}

/// Drops a consumer that is of no use any more on a thread of its own, because closing waits for brokers that may not answer.
/// The writer ends after it. What was written and not committed is read again by the next consumer.
fn close_aside(consumer: BaseConsumer<RebalanceContext>) -> anyhow::Result<()> {
    consumer.context().batcher().abandon();
    std::thread::Builder::new().name("closing".into()).spawn(move || drop(consumer))?;
    Ok(())
}

/// Waits for the writer's end; a panic is an error.
fn join(writer: JoinHandle<()>) -> anyhow::Result<()> {
    writer.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        anyhow::anyhow!("the writer's thread panicked: {text}; what it had not written is read again after a restart")
    })
}

async fn check_tables(clickhouse: &ClickHouse) -> Result<(), String> {
    for table in Table::ALL {
        clickhouse.check(table).await.map_err(|error| error.to_string())?;
    }
    unacknowledged(clickhouse).await.map_err(|error| {
        format!("the table expired_offsets cannot be read ({error}): run hookline-analytics migrate")
    })?;
    Ok(())
}

/// Moves the records that were fetched into the batch until it is full. Waits for the first one only.
fn poll(consumer: &BaseConsumer<RebalanceContext>, wait: Duration) -> Result<(), Ended> {
    let mut next = consumer.poll(wait);
    if next.is_none() {
        return Ok(());
    }
    let began = Instant::now();
    while let Some(polled) = next {
        match polled {
            Ok(message) => {
                let mut batcher = consumer.context().batcher();
                batcher.push(&message);
                if batcher.is_full() {
                    break;
                }
            }
            Err(KafkaError::MessageConsumptionFatal(code)) => {
                let cause = consumer.client().fatal_error().map_or(code, |(cause, _)| cause);
                if cause == RDKafkaErrorCode::FencedInstanceId {
                    return Err(Ended::Fenced);
                }
                return Err(Ended::Broken { cause: "fatal", error: code.to_string() });
            }
            // librdkafka tries again, and the consumer's context has logged why.
            Err(_) => {}
        }
        next = consumer.poll(Duration::ZERO);
    }
    consumer.context().batcher().was_reading(began.elapsed());
    Ok(())
}
