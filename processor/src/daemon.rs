//! The daemon: waits for what it needs, then consumes until it is told to stop. A consumer that is broken for good is
//! thrown away and made anew.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::topics::Topics;
use hookline_service::admin::{Admin, Readiness, bind, serve};
use hookline_service::shutdown::{CancellationToken, on_signal};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;

use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::{CancelCurrent, RebalanceContext, WriterHandle};
use crate::dead_letter_producer::DeadLetterProducer;
use crate::metrics::jobs::JobMetrics;
use crate::metrics::{Metrics, Mode};
use crate::writer::rollup::Refresher;
use crate::writer::thread::WriterThread;
use crate::writer::{CLICKHOUSE, Writer};

const KAFKA: &str = "kafka";
const POLL: Duration = Duration::from_millis(100);
/// So long a full batch may wait for the writer before fetching is paused.
const WRITER_WAIT: Duration = Duration::from_secs(1);
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// Why consuming ended.
enum Ended {
    /// As asked.
    Stopped,
    /// The consumer is of no more use.
    Broken(&'static str, String),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: ProcessorConfig) -> anyhow::Result<()> {
    let shutdown = on_signal()?;
    let readiness = Readiness::waiting_for(&[KAFKA, CLICKHOUSE]);
    let admin = Admin::new(readiness.clone())?;
    let metrics = Metrics::new(&admin.registry, Mode::Live)?;
    let job_metrics = JobMetrics::new(&admin.registry, config.counting.remembered_jobs)?;
    let address = config.admin.0.listen;
    let listener = bind("admin", address).await?;
    let serving = CancellationToken::new();
    let admin_server = tokio::spawn(serve(listener, admin.router(), serving.clone()));

    let daemon =
        Daemon { topics: Topics::new(&config.kafka.topic_prefix)?, config, metrics, job_metrics, readiness, shutdown };
    let runtime = Handle::current();
    let consumed = tokio::task::spawn_blocking(move || daemon.run(&runtime)).await?;
    serving.cancel();
    admin_server.await??;
    consumed
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
        let clickhouse = ClickHouse::new(self.config.clickhouse.client()?);
        while !self.shutdown.is_cancelled() {
            let Some(log_id) = self.wait_for_servers(&clickhouse, runtime)? else { break };
            match self.session(clickhouse.clone(), log_id, runtime)? {
                Ended::Stopped => break,
                Ended::Broken(cause, error) => {
                    tracing::error!(cause, error, "the consumer is made anew");
                    self.metrics.consumer_restarts.with_label_values(&[cause]).inc();
                    self.pause(runtime);
                }
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Waits until topics and tables are there; gives the Kafka cluster's id.
    fn wait_for_servers(&self, clickhouse: &ClickHouse, runtime: &Handle) -> anyhow::Result<Option<Arc<str>>> {
        let client: BaseConsumer = self.config.kafka.client()?.create()?;
        while !self.shutdown.is_cancelled() {
            match runtime.block_on(check_tables(clickhouse)) {
                Ok(()) => self.readiness.ready(CLICKHOUSE),
                Err(why) => self.not_ready(CLICKHOUSE, why),
            }
            let kafka = self.missing_topic(&client);
            match &kafka {
                Ok(None) => self.readiness.ready(KAFKA),
                Ok(Some(topic)) => {
                    self.not_ready(KAFKA, format!("the topic {topic} is missing: run hookline-analytics migrate"));
                }
                Err(error) => self.not_ready(KAFKA, error.to_string()),
            }
            if self.readiness.missing().is_empty()
                && let Some(id) = client.client().fetch_cluster_id(METADATA_TIMEOUT)
            {
                return Ok(Some(id.into()));
            }
            self.pause(runtime);
        }
        Ok(None)
    }

    fn not_ready(&self, part: &'static str, why: String) {
        if self.readiness.missing().get(part) != Some(&why) {
            tracing::warn!(part, why, "waiting");
        }
        self.readiness.not_ready(part, why);
    }

    fn missing_topic(&self, client: &BaseConsumer) -> Result<Option<String>, KafkaError> {
        let metadata = client.fetch_metadata(None, METADATA_TIMEOUT)?;
        let there = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
        Ok(self.topics.all().find(|name| !there(name)).map(str::to_owned))
    }

    fn pause(&self, runtime: &Handle) {
        runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.shutdown.cancelled() => {}
            }
        });
    }

    /// One consumer and one writer, from beginning to end.
    fn session(&self, clickhouse: ClickHouse, log_id: Arc<str>, runtime: &Handle) -> anyhow::Result<Ended> {
        let (work, work_queue) = mpsc::sync_channel(8);
        let (done_queue, done) = mpsc::channel();
        let cancel_current = CancelCurrent::default();
        let refresher = Refresher {
            clickhouse: clickhouse.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        };
        let writer = Writer {
            clickhouse,
            post: DeadLetterProducer::new(&self.config.kafka, &self.topics)?,
            topics: self.topics.clone(),
            log_id,
            metrics: self.metrics.clone(),
            job_metrics: Some(self.job_metrics.clone()),
            readiness: self.readiness.clone(),
            stopped: Default::default(),
        };
        let worker = WriterThread {
            writer,
            refresher,
            refresh_every: Duration::from_millis(self.config.batch.refresh_ms),
            cancel_current: cancel_current.clone(),
            done: done_queue,
            runtime: runtime.clone(),
        };
        let group = RebalanceContext::new(
            self.topics.clone(),
            &self.config.batch,
            &self.config.group,
            self.metrics.clone(),
            WriterHandle { work, done, cancel_current },
        );
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || worker.run(&work_queue))?;
        let consumer: BaseConsumer<RebalanceContext> = self.consumer_config()?.create_with_context(group)?;
        let topics: Vec<_> = self.topics.all().collect();
        consumer.subscribe(&topics)?;
        let ended = self.consume(&consumer);
        if let Ended::Broken(..) = ended {
            // Closing waits for the very brokers that may not answer it, so it has a thread of its own, on which the writer
            // ends, too. What was written and not committed is read again by the next consumer.
            consumer.context().batcher().abandon();
            std::thread::Builder::new().name("closing".into()).spawn(move || drop(consumer))?;
            return Ok(ended);
        }
        consumer.context().batcher().finish(&consumer);
        // Closing leaves the group, or keeps the position in it where membership is static, and lets the writer's queue go.
        drop(consumer);
        if thread.join().is_err() {
            anyhow::bail!("the writer panicked");
        }
        Ok(ended)
    }

    fn consumer_config(&self) -> anyhow::Result<ClientConfig> {
        let config = &self.config;
        let mut client = config.kafka.client()?;
        client
            .set("group.id", config.group_id())
            .set("client.id", format!("hookline-processor-fold-{FOLD_VERSION}"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", config.group.session_timeout_ms.to_string())
            // A commit waits so long for a broker that is there and does not answer.
            .set("socket.timeout.ms", "10000")
            .set("statistics.interval.ms", "1000")
            // Read ahead by a quarter of a batch; records in librdkafka's hands take more than their bytes.
            .set("queued.max.messages.kbytes", (config.batch.max_bytes / 4 / 1024).to_string())
            // How soon it reads on once there is room again: a whole second by default, in which the writer would starve.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.max.bytes", "2097152")
            .set("fetch.message.max.bytes", "524288")
            .set("topic.metadata.refresh.interval.ms", "30000");
        if let Some(instance_id) = config.instance_id() {
            client.set("group.instance.id", instance_id);
        }
        Ok(client)
    }

    fn consume(&self, consumer: &BaseConsumer<RebalanceContext>) -> Ended {
        let group = consumer.context();
        while !self.shutdown.is_cancelled() {
            if let Err(broken) = poll(consumer, POLL) {
                return broken;
            }
            let mut batcher = group.batcher();
            batcher.handle_writer_events(consumer, Duration::ZERO);
            batcher.submit_batch_if_due();
            if batcher.is_stuck() {
                return Ended::Broken("watchdog", "a partition has lag and makes no progress".into());
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

    /// Fetches nothing, but stays in the group, until the writer is free.
    fn wait_paused(&self, consumer: &BaseConsumer<RebalanceContext>) -> Result<(), Ended> {
        let group = consumer.context();
        group.batcher().pause(consumer);
        while !self.shutdown.is_cancelled() {
            poll(consumer, POLL)?;
            let mut batcher = group.batcher();
            batcher.handle_writer_events(consumer, Duration::ZERO);
            if !(batcher.is_full() && batcher.is_writing()) {
                break;
            }
        }
        group.batcher().resume(consumer);
        Ok(())
    }
}

async fn check_tables(clickhouse: &ClickHouse) -> Result<(), String> {
    for table in Table::ALL {
        clickhouse.check(table).await.map_err(|refusal| refusal.text)?;
    }
    Ok(())
}

/// Takes what is there, up to a full batch.
fn poll(consumer: &BaseConsumer<RebalanceContext>, wait: Duration) -> Result<(), Ended> {
    let mut next = consumer.poll(wait);
    while let Some(polled) = next {
        match polled {
            Ok(message) => {
                let mut batcher = consumer.context().batcher();
                batcher.push(&message);
                if batcher.is_full() {
                    return Ok(());
                }
            }
            Err(KafkaError::MessageConsumptionFatal(code)) => return Err(Ended::Broken("fatal", code.to_string())),
            Err(error) => tracing::warn!(%error, "Kafka"),
        }
        next = consumer.poll(Duration::ZERO);
    }
    Ok(())
}
