//! Reads a range of the topics again, beside the live group and without touching its offsets, and writes what it says: a
//! repair where rows are missing, nothing where the tables are right.

mod inspect;
mod pace;
mod plan;
mod progress;
mod read;
mod select;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::facts::FOLD_VERSION;
use hookline_schemas::topics::Topics;
use hookline_service::admin::Readiness;
use hookline_service::shutdown::{CancellationToken, on_signal};
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use prometheus::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use self::inspect::Inspector;
use self::pace::Pace;
use self::plan::{PartitionRange, plan};
use self::progress::{File, Progress, Repaired};
use self::read::{Reader, Shared};
use self::select::Selection;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::dead_letter_producer::DeadLetterProducer;
use crate::metrics::{Metrics, Mode};
use crate::retry::Cancelled;
use crate::writer::Writer;
use crate::writer::rollup::Refresher;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Records that tell how large a record is.
const SAMPLE: usize = 500;

/// Reads a range of the topics again and repairs what the tables lack of it.
///
/// Safe at any time, beside live traffic too: facts only ever join, and rows of the same record replace each other. A replay
/// that was stopped or killed goes on where it was when the same command is given again.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    selection: Selection,
    /// Only say how many records and bytes that is, and how long it would take
    #[arg(long)]
    dry_run: bool,
    /// At most so many records a second, so that live work is not starved; 0 = as fast as it goes
    #[arg(long, value_name = "RECORDS", default_value_t = 20_000)]
    rate: u32,
    /// So many partitions at once
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Where progress is kept until the replay is done
    #[arg(long, value_name = "FILE", default_value = "hookline-replay.json")]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Plans, reads, repairs, and says what that changed.
pub async fn replay(config: ProcessorConfig, args: ReplayArgs) -> anyhow::Result<()> {
    let runtime = Handle::current();
    let shutdown = on_signal()?;
    let metrics = Metrics::new(&Registry::new(), Mode::Replay)?;
    let job = Replay { topics: Topics::new(&config.kafka.topic_prefix)?, metrics, config, args };
    tokio::task::spawn_blocking(move || job.run(&runtime, &shutdown)).await?
}

struct Replay {
    config: ProcessorConfig,
    topics: Topics,
    metrics: Metrics,
    args: ReplayArgs,
}

impl Replay {
    fn run(&self, runtime: &Handle, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let consumer = self.consumer()?;
        let cluster = consumer.client().fetch_cluster_id(TIMEOUT).context("Kafka does not answer")?;
        let file = File::at(&self.args.state);
        let resumed = file.resume(&cluster, &self.args.selection)?;
        let progress = match resumed {
            Some(progress) => {
                self.say(&format!("going on with {}: {} records are done", self.args.state.display(), progress.done()));
                progress
            }
            None => Progress {
                cluster: cluster.clone(),
                asked: self.args.selection.clone(),
                parts: plan(&consumer, &self.topics, &self.args.selection, OffsetDateTime::now_utc())?,
                dirty_hours: Default::default(),
                repaired: Repaired::default(),
            },
        };
        let left = progress.records() - progress.done();
        if self.args.dry_run {
            return self.tell_plan(&consumer, &progress, left);
        }
        let clickhouse = ClickHouse::new(self.config.clickhouse.client()?);
        for table in Table::ALL {
            runtime.block_on(clickhouse.check(table))?;
        }
        let began = Instant::now();
        file.keep(&progress)?;
        let queue = progress.parts.iter().filter(|part| part.next < part.end).cloned().collect();
        let shared = Shared {
            queue: Mutex::new(queue),
            file: file.clone(),
            pace: Pace::new(self.args.rate),
            bar: self.bar(
                progress.records(),
                progress.done(),
                "{bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left",
            ),
            progress: Mutex::new(progress),
            limits: self.config.batch.clone(),
            topics: self.topics.clone(),
            shutdown: shutdown.clone(),
        };
        self.read(&shared, &clickhouse, &cluster, runtime)?;
        shared.bar.finish_and_clear();
        let progress = shared.progress().clone();
        let stopped =
            || anyhow::anyhow!("stopped after {} records; the same command goes on from there", progress.done());
        if shutdown.is_cancelled() {
            return Err(stopped());
        }
        runtime.block_on(self.refresh(clickhouse, &progress, shutdown)).map_err(|Cancelled| stopped())?;
        self.tell_result(&progress, left, began.elapsed());
        file.remove()
    }

    /// The hours that were touched, whatever was found there: an earlier run of this replay may have repaired them.
    async fn refresh(
        &self,
        clickhouse: ClickHouse,
        progress: &Progress,
        shutdown: &CancellationToken,
    ) -> Result<(), Cancelled> {
        let metrics = self.metrics.clone();
        let refresher = Refresher { clickhouse, metrics, readiness: Readiness::waiting_for(&[]) };
        let hours = progress.hours();
        let bar = self.bar(hours.len() as u64, 0, "{bar:30} {pos} of {len} hours of the roll-up");
        refresher.refresh(&hours, shutdown, |hours| bar.inc(hours as u64)).await?;
        bar.finish_and_clear();
        Ok(())
    }

    fn consumer(&self) -> anyhow::Result<BaseConsumer> {
        let mut client = self.config.kafka.client()?;
        client
            .set("client.id", format!("hookline-replay-fold-{FOLD_VERSION}"))
            // Never joined and never committed to: librdkafka wants a name.
            .set("group.id", format!("{}.replay", self.config.kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "8192")
            .set("fetch.queue.backoff.ms", "20");
        Ok(client.create()?)
    }

    fn read(&self, shared: &Shared, clickhouse: &ClickHouse, cluster: &str, runtime: &Handle) -> anyhow::Result<()> {
        let readers = (0..self.args.parallel)
            .map(|_| {
                let writer = Writer {
                    clickhouse: clickhouse.clone(),
                    post: DeadLetterProducer::new(&self.config.kafka, &self.topics)?,
                    topics: self.topics.clone(),
                    log_id: cluster.into(),
                    metrics: self.metrics.clone(),
                    job_metrics: None,
                    readiness: Readiness::waiting_for(&[]),
                    stopped: Default::default(),
                };
                let inspector = Inspector::new(clickhouse.client().clone(), cluster.into(), shared.shutdown.clone());
                Ok(Reader { consumer: self.consumer()?, writer, inspector, shared, runtime: runtime.clone() })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(|| reader.run())).collect();
            threads.into_iter().try_for_each(|thread| {
                let ended = thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
                // One that fails takes the others along, so that the error is told at once.
                ended.inspect_err(|_| shared.shutdown.cancel())
            })
        })
    }

    fn bar(&self, length: u64, done: u64, template: &str) -> ProgressBar {
        if self.args.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length).with_position(done);
        bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn say(&self, line: &str) {
        if !self.args.json {
            println!("{line}");
        }
    }

    fn tell_plan(&self, consumer: &BaseConsumer, progress: &Progress, left: u64) -> anyhow::Result<()> {
        let size =
            progress.parts.iter().max_by_key(|part| part.records()).map_or(Ok(0), |part| mean_size(consumer, part))?;
        let bytes = left * size;
        let seconds = (self.args.rate > 0).then(|| left.div_ceil(u64::from(self.args.rate)));
        if self.args.json {
            let parts: Vec<_> = progress
                .parts
                .iter()
                .map(|part| {
                    json!({
                        "topic": part.topic, "partition": part.partition, "start": part.next, "end": part.end,
                    })
                })
                .collect();
            println!("{}", json!({ "records": left, "bytes": bytes, "seconds": seconds, "parts": parts }));
            return Ok(());
        }
        for part in &progress.parts {
            println!(
                "{}/{}  {}..{}  {} records",
                part.topic,
                part.partition,
                part.next,
                part.end,
                HumanCount(part.records() - part.done())
            );
        }
        let time = seconds.map_or("as long as it takes at full speed".to_owned(), |seconds| {
            format!("about {} at {} records/s", HumanDuration(Duration::from_secs(seconds)), self.args.rate)
        });
        println!("{} records, about {}, {time}; nothing was written", HumanCount(left), HumanBytes(bytes));
        Ok(())
    }

    fn tell_result(&self, progress: &Progress, records: u64, took: Duration) {
        let Repaired { deliveries, dead_letters, jobs, expired } = progress.repaired;
        let rate = records as f64 / took.as_secs_f64().max(0.001);
        if self.args.json {
            let result = json!({
                "records": records, "seconds": took.as_secs_f64(), "records_per_second": rate,
                "repaired": { "deliveries": deliveries, "dead_letters": dead_letters, "jobs": jobs }, "expired": expired,
                "hours": progress.dirty_hours.len(), "changed": !progress.repaired.is_nothing(),
            });
            println!("{result}");
            return;
        }
        println!("{} records in {}, {rate:.0} records/s", HumanCount(records), HumanDuration(took));
        if expired > 0 {
            println!("{} records of the plan were not in the topics any more", HumanCount(expired));
        }
        if progress.repaired.is_nothing() {
            println!("the tables were right: nothing changed");
        } else {
            println!(
                "absent and now there: {} deliveries, {} dead dead_letters",
                HumanCount(deliveries),
                HumanCount(dead_letters)
            );
            println!("jobs whose facts changed: {}", HumanCount(jobs));
        }
    }
}

/// The mean bytes of a record, of the first few of a part.
fn mean_size(consumer: &BaseConsumer, part: &PartitionRange) -> anyhow::Result<u64> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&part.topic, part.partition, Offset::Offset(part.next))?;
    consumer.assign(&from)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut sizes = Vec::with_capacity(SAMPLE);
    while sizes.len() < SAMPLE && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => sizes.push((message.key_len() + message.payload_len()) as u64),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1))
}
