//! Reads a range of the topics again, beside the live group and without touching its offsets, and writes its records once
//! more: rows that were missing are repaired, and nothing changes where the tables are right.

mod inspect;
mod pace;
mod plan;
mod progress;
mod published;
mod read;
mod select;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::Topics;
use hookline_service::admin::Readiness;
use hookline_service::cli::print_line;
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
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
use self::progress::{Progress, Repaired, StateFile};
use self::read::{Position, Reader, Shared};
use self::select::Selection;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::{LogIds, LogWatch};
use crate::metrics::{Metrics, Mode};
use crate::retry::Cancelled;
use crate::writer::Writer;
use crate::writer::rollup::Refresher;

const TIMEOUT: Duration = Duration::from_secs(10);
const CUT_SHORT: &str =
    "the replay did not stop within group.shutdown_timeout_ms and is cut short: run the same command again to continue";
/// A dry run estimates the size of the records from this many.
const SAMPLE: usize = 500;

/// Reads a range of the topics again and inserts what the tables lack of it.
///
/// A replay is safe at any time, also beside live traffic: facts only ever join, and rows of the same record replace each
/// other. One that was stopped or killed continues where it was when the same command is run again.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    selection: Selection,
    /// Only print how many records and bytes the replay would read, and how long that would take
    #[arg(long)]
    dry_run: bool,
    /// Read at most this many records a second, so that live traffic is not starved; 0 means no limit
    #[arg(long, value_name = "RECORDS", default_value_t = 20_000)]
    rate: u32,
    /// Read this many partitions at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Keep the progress in this file until the replay is done
    #[arg(long, value_name = "FILE", default_value = "hookline-replay.json")]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub async fn replay(config: ProcessorConfig, args: ReplayArgs) -> anyhow::Result<()> {
    let runtime = Handle::current();
    let metrics = Metrics::new(&Registry::new(), Mode::Replay)?;
    let job = Replay { topics: Topics::new(&config.kafka.topic_prefix)?, metrics, config, args };
    tokio::task::spawn_blocking(move || job.run(&runtime)).await?
}

struct Replay {
    config: ProcessorConfig,
    topics: Topics,
    metrics: Metrics,
    args: ReplayArgs,
}

impl Replay {
    fn run(&self, runtime: &Handle) -> anyhow::Result<()> {
        let context = KafkaContext::new("replay");
        let consumer: BaseConsumer<_> = settings::replay(&self.config)?.create_with_context(context)?;
        // Asked for before anything else, so that a topic that is made anew meanwhile is noticed.
        let log_ids = ask(&consumer, |consumer| LogIds::fetch(consumer, &self.topics, TIMEOUT));
        let log_ids = log_ids.with_context(|| {
            format!("Kafka at {} does not tell the ids of the topics", self.config.kafka.bootstrap_servers)
        })?;
        let state = StateFile::new(&self.args.state);
        let progress = self.resume_or_plan(&state, &consumer, &log_ids)?;
        let left = progress.records() - progress.done();
        if self.args.dry_run {
            return self.print_plan(&consumer, &progress, left);
        }
        let clickhouse = ClickHouse::new(self.config.clickhouse.client()?);
        for table in Table::ALL {
            let checked = runtime.block_on(clickhouse.check(table));
            checked.with_context(|| format!("ClickHouse at {}", self.config.clickhouse.url))?;
        }
        // Nothing is written before this, so that until now a signal ends the process at once, whatever it waits for.
        let shutdown = &{
            let _entered = runtime.enter();
            ignore_hangup()?;
            let shutdown = on_signal()?;
            exit_after(shutdown.clone(), Duration::from_millis(self.config.group.shutdown_timeout_ms), CUT_SHORT);
            shutdown
        };
        let began = Instant::now();
        state.save(&progress)?;
        let inspector =
            Inspector::new(clickhouse.client().clone(), log_ids.clone(), self.topics.clone(), shutdown.clone());
        let published =
            published::origins_not_in_the_table(&self.config, &self.topics, &log_ids, &inspector, shutdown, runtime)?;
        // A reader that fails stops the others, which is no signal.
        let shared = self.share(progress, published, state.clone(), &shutdown.child_token());
        self.read(&shared, &clickhouse, &log_ids, runtime)?;
        shared.bar.finish_and_clear();
        let progress = shared.progress().clone();
        let stopped = || {
            let (done, records) = (progress.done(), progress.records());
            anyhow::anyhow!("stopped after {done} of {records} records: run the same command again to continue")
        };
        if shutdown.is_cancelled() {
            return Err(stopped());
        }
        runtime.block_on(self.refresh(clickhouse, &progress, shutdown)).map_err(|Cancelled| stopped())?;
        let stopped = shared.stopped().clone();
        let read = left - (progress.records() - progress.done());
        self.print_result(&progress, &stopped, read, began.elapsed());
        let Some(first) = stopped.first() else { return state.remove() };
        anyhow::bail!(
            "the replay is not whole: the table refuses the row of {}/{}/{} even without its payload, and of {} partitions in all \
             what is behind such a record was not replayed; remove what makes the table refuse it, which the log says, and run \
             the same command again to continue",
            first.topic,
            first.partition.0,
            first.offset.0,
            stopped.len()
        )
    }

    fn resume_or_plan(
        &self,
        state: &StateFile,
        consumer: &BaseConsumer<KafkaContext>,
        log_ids: &LogIds,
    ) -> anyhow::Result<Progress> {
        let selection = &self.args.selection;
        if let Some(progress) = state.resume(log_ids, selection)? {
            let (path, done, records) = (self.args.state.display(), progress.done(), progress.records());
            self.print(&format!("continuing from {path}: {done} of {records} records are done"));
            return Ok(progress);
        }
        let (parts, expired) = plan(consumer, &self.topics, selection, OffsetDateTime::now_utc())?;
        Ok(Progress {
            log_ids: log_ids.clone(),
            asked: selection.clone(),
            parts,
            dirty_hours: Default::default(),
            repaired: Repaired { expired, ..Repaired::default() },
        })
    }

    fn share(
        &self,
        progress: Progress,
        published: HashSet<String>,
        state: StateFile,
        shutdown: &CancellationToken,
    ) -> Shared {
        const BAR: &str = "{bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left";
        Shared {
            queue: Mutex::new(progress.parts.iter().filter(|part| part.next < part.end).cloned().collect()),
            state,
            pace: Pace::new(self.args.rate),
            bar: self.bar(progress.records(), progress.done(), BAR),
            progress: Mutex::new(progress),
            stopped: Mutex::default(),
            published,
            limits: self.config.batch.clone(),
            topics: self.topics.clone(),
            shutdown: shutdown.clone(),
        }
    }

    /// Refreshes all hours of the range, also where nothing was missing: an earlier run of this replay may have repaired them.
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

    fn read(&self, shared: &Shared, clickhouse: &ClickHouse, log_ids: &LogIds, runtime: &Handle) -> anyhow::Result<()> {
        let readers = (0..self.args.parallel)
            .map(|_| {
                let asking = settings::replay(&self.config)?.create_with_context(KafkaContext::new("topic ids"))?;
                let writer = Writer::new(
                    &self.config.kafka,
                    clickhouse.clone(),
                    self.topics.clone(),
                    LogWatch::new(asking, self.topics.clone(), log_ids.clone(), Duration::MAX),
                    self.metrics.clone(),
                    Readiness::waiting_for(&[]),
                )?;
                let (client, shutdown) = (clickhouse.client().clone(), shared.shutdown.clone());
                let inspector = Inspector::new(client, log_ids.clone(), self.topics.clone(), shutdown);
                let consumer = settings::replay(&self.config)?.create_with_context(KafkaContext::new("reader"))?;
                Ok(Reader { consumer, writer, inspector, shared, runtime: runtime.clone() })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let run = |reader: Reader<'_>| {
                // A reader that fails or panics stops the others, so that the error shows at once.
                let stop_others = shared.shutdown.clone().drop_guard();
                reader.run()?;
                stop_others.disarm();
                anyhow::Ok(())
            };
            let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || run(reader))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader's thread panicked"))?)
        })
    }

    fn bar(&self, length: u64, done: u64, template: &str) -> ProgressBar {
        if self.args.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length).with_position(done);
        bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn print(&self, line: &str) {
        if !self.args.json {
            print_line(line);
        }
    }

    fn print_plan(&self, consumer: &BaseConsumer<KafkaContext>, progress: &Progress, left: u64) -> anyhow::Result<()> {
        let size =
            progress.parts.iter().max_by_key(|part| part.records()).map_or(Ok(0), |part| mean_size(consumer, part))?;
        let bytes = left * size;
        let seconds = (self.args.rate > 0).then(|| left.div_ceil(u64::from(self.args.rate)));
        if self.args.json {
            let part = |part: &PartitionRange| json!({ "topic": part.topic, "partition": part.partition, "start": part.next, "end": part.end });
            let parts: Vec<_> = progress.parts.iter().map(part).collect();
            print_line(json!({ "records": left, "bytes": bytes, "seconds": seconds, "parts": parts }));
            return Ok(());
        }
        for part in &progress.parts {
            print_line(format_args!(
                "{}/{}  {}..{}  {} records",
                part.topic,
                part.partition.0,
                part.next.0,
                part.end.0,
                HumanCount(part.records() - part.done())
            ));
        }
        let time = seconds.map_or("without a limit of the rate".to_owned(), |seconds| {
            format!("about {} at {} records/s", HumanDuration(Duration::from_secs(seconds)), self.args.rate)
        });
        print_line(format_args!(
            "{} records, about {}, {time}; nothing was written",
            HumanCount(left),
            HumanBytes(bytes)
        ));
        Ok(())
    }

    fn print_result(&self, progress: &Progress, stopped: &[Position], records: u64, took: Duration) {
        let Repaired { deliveries, dead_letters, jobs, expired } = progress.repaired;
        let rate = records as f64 / took.as_secs_f64().max(0.001);
        if self.args.json {
            let result = json!({
                "records": records, "seconds": took.as_secs_f64(), "records_per_second": rate,
                "repaired": { "deliveries": deliveries, "dead_letters": dead_letters, "jobs": jobs }, "expired": expired,
                "hours": progress.dirty_hours.len(), "changed": !progress.repaired.is_nothing(),
                "stopped": stopped,
            });
            print_line(result);
            return;
        }
        print_line(format_args!("{} records in {}, {rate:.0} records/s", HumanCount(records), HumanDuration(took)));
        if expired > 0 {
            print_line(format_args!(
                "{} records of the plan had been removed from the topics before they were read",
                HumanCount(expired)
            ));
        }
        for Position { topic, partition, offset } in stopped {
            print_line(format_args!("{topic}/{}: stopped at {}", partition.0, offset.0));
        }
        if progress.repaired.is_nothing() && !stopped.is_empty() {
            print_line("inserted nothing");
        } else if progress.repaired.is_nothing() {
            print_line("the tables were right: nothing changed");
        } else {
            print_line(format_args!(
                "inserted what was missing: {} deliveries, {} dead letters",
                HumanCount(deliveries),
                HumanCount(dead_letters)
            ));
            print_line(format_args!("jobs that lacked facts: {}", HumanCount(jobs)));
        }
    }
}

/// Reads the first records of a part for the mean of their bytes.
fn mean_size(consumer: &BaseConsumer<KafkaContext>, part: &PartitionRange) -> anyhow::Result<u64> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&part.topic, part.partition.0, Offset::Offset(part.next.0))?;
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
