//! Reads a range of the topics or of the archive again, beside the live group and without touching its offsets, and writes its
//! records once more: rows that were missing are repaired, and nothing changes where the tables are right.
//!
//! A plan is a list of parts, each a range of offsets of one partition of one log in one `source`. Readers take part after part,
//! page by page, and give each page to the `sink` of that source. Pace, progress, roll-up and report know neither.

mod inspect;
mod lock;
mod pace;
mod plan;
mod progress;
mod published;
mod read;
mod report;
mod rollup;
mod select;
mod sink;
mod source;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
use prometheus::Registry;
use rdkafka::consumer::BaseConsumer;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use self::inspect::Inspector;
use self::lock::StateLock;
use self::pace::Pace;
use self::plan::plan;
use self::progress::{Progress, Repaired, StateFile};
use self::read::{Lane, Reader, Shared};
use self::report::{Display, count};
use self::rollup::RollUp;
use self::select::Selection;
use self::sink::archive::ArchiveSink;
use self::sink::kafka::KafkaSink;
use self::source::SourceKind;
use self::source::archive::ArchiveSource;
use self::source::archive_plan::ArchivePlanner;
use self::source::kafka::KafkaSource;
use self::source::kafka_plan::KafkaPlanner;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::log_ids::{LogIds, LogWatch};
use crate::metrics::{Metrics, Mode};
use crate::writer::Writer;
use crate::writer::insert::TableInserter;
use crate::writer::rollup::Refresher;

const TIMEOUT: Duration = Duration::from_secs(10);
const CUT_SHORT: &str = "the replay did not stop within group.shutdown_timeout_ms and is cut short: the roll-up of what it wrote last may be stale until \
     the same command is run again and continues";

/// Reads a range of the topics or of the archive again and inserts what the tables lack of it.
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

/// The brokers, where the replay reads from them.
struct Kafka {
    consumer: BaseConsumer<KafkaContext>,
    log_ids: LogIds,
}

impl Kafka {
    /// The log id of a topic by its whole name.
    fn log_id(&self, topics: &Topics, name: &str) -> Option<String> {
        Topic::named(name, topics).map(|topic| self.log_ids.of(topic).to_owned())
    }
}

impl Replay {
    fn run(&self, runtime: &Handle) -> anyhow::Result<()> {
        self.args.selection.check(OffsetDateTime::now_utc())?;
        let kafka = self.kafka()?;
        let clickhouse = ClickHouse::new(&self.config.clickhouse)?;
        let display = Display { json: self.args.json, rate: self.args.rate };
        let state = StateFile::new(&self.args.state);
        let planned = || runtime.block_on(self.resume_or_plan(&display, &state, kafka.as_ref(), &clickhouse));
        if self.args.dry_run {
            return display.print_plan(kafka.as_ref().map(|kafka| &kafka.consumer), &planned()?);
        }
        let _lock = StateLock::acquire(&self.args.state)?;
        let progress = planned()?;
        for table in Table::ALL {
            runtime.block_on(clickhouse.check(table))?;
        }
        // Nothing is written before this, so that until now a signal ends the process at once, whatever it waits for.
        let shutdown = &{
            let _entered = runtime.enter();
            ignore_hangup()?;
            let shutdown = on_signal()?;
            exit_after(shutdown.clone(), Duration::from_millis(self.config.group.shutdown_timeout_ms), CUT_SHORT);
            shutdown
        };
        let (began, done_before) = (Instant::now(), progress.done());
        state.save(&progress)?;
        // A reader that fails stops the others, which is no signal.
        let shared = self.share(&display, progress, state.clone(), &shutdown.child_token());
        self.cancel_when_stopped_for_long(&shared, runtime);
        let (metrics, readiness) = (self.metrics.clone(), Readiness::waiting_for(&[]));
        let refresher = Refresher { clickhouse: clickhouse.clone(), metrics, readiness };
        let every = Duration::from_millis(self.config.batch.refresh_ms);
        let roll_up = RollUp { refresher, shared: &shared, every };

        let lines = display.lines(&shared.bar, done_before, runtime);
        let read = self.read(&roll_up, &clickhouse, kafka.as_ref(), runtime);
        lines.abort();
        shared.bar.finish_and_clear();
        let is_whole = read.is_ok() && !shutdown.is_cancelled();
        let refreshed = is_whole && {
            let bar = display.bar(0, 0, "{bar:30} {pos} of {len} hours of the roll-up");
            let refreshed = runtime.block_on(roll_up.refresh(&bar, shutdown));
            bar.finish_and_clear();
            refreshed.is_ok()
        };
        if !refreshed {
            let stale = runtime.block_on(roll_up.leave(self.time_to_leave()));
            let progress = shared.progress().clone();
            return Err(display.not_finished(read.err(), &progress, stale));
        }
        let progress = shared.progress().clone();
        let stopped = shared.stopped().clone();
        display.print_result(&progress, &stopped, progress.done() - done_before, began.elapsed());
        let Some(first) = stopped.first() else { return state.remove() };
        anyhow::bail!(
            "the replay is not whole: the table refuses the row of {}/{}/{} even without its payload, and of {} in all \
             what is behind such a record was not replayed; remove what makes the table refuse it, which the log says, and run \
             the same command again to continue",
            first.topic,
            first.partition.0,
            first.offset.0,
            count(stopped.len() as u64, "partition", "partitions")
        )
    }

    /// What is being written when the reading stops is finished if it takes no longer than that of the live group may.
    fn cancel_when_stopped_for_long(&self, shared: &Shared, runtime: &Handle) {
        let (stop, cancel) = (shared.stop.clone(), shared.cancel.clone());
        let settle_timeout = Duration::from_millis(self.config.group.settle_timeout_ms);
        runtime.spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(settle_timeout).await;
            cancel.cancel();
        });
    }

    /// The time that a signal leaves after the writing was cancelled.
    fn time_to_leave(&self) -> Duration {
        let group = &self.config.group;
        Duration::from_millis(group.shutdown_timeout_ms.saturating_sub(group.settle_timeout_ms))
    }

    /// Connects to the brokers, where something is read from them.
    fn kafka(&self) -> anyhow::Result<Option<Kafka>> {
        if !self.args.selection.reads(SourceKind::Kafka) {
            return Ok(None);
        }
        let consumer: BaseConsumer<_> =
            settings::replay(&self.config)?.create_with_context(KafkaContext::new("replay"))?;
        // Asked for before anything else, so that a topic that is made anew meanwhile is noticed.
        let log_ids = ask(&consumer, |consumer| LogIds::fetch(consumer, &self.topics, TIMEOUT));
        let log_ids = log_ids.with_context(|| {
            format!("Kafka at {} does not tell the ids of the topics", self.config.kafka.bootstrap_servers)
        })?;
        Ok(Some(Kafka { consumer, log_ids }))
    }

    /// A dry run needs no state of its own: what another replay keeps in the file does not concern it.
    async fn resume_or_plan(
        &self,
        display: &Display,
        state: &StateFile,
        kafka: Option<&Kafka>,
        clickhouse: &ClickHouse,
    ) -> anyhow::Result<Progress> {
        let selection = &self.args.selection;
        let log_id = |name: &str| kafka.and_then(|kafka| kafka.log_id(&self.topics, name));
        match state.resume(log_id, selection) {
            Ok(Some(progress)) => {
                display.print_resumed(&self.args.state, &progress);
                return Ok(progress);
            }
            Ok(None) => {}
            Err(error) if self.args.dry_run => display.note(&format!("{error:#}; this dry run begins anew")),
            Err(error) => return Err(error),
        }
        let topics = &self.topics;
        let kafka = kafka.map(|Kafka { consumer, log_ids }| KafkaPlanner { consumer, topics, log_ids });
        let archive = selection
            .reads(SourceKind::Deliveries)
            .then(|| ArchivePlanner { client: clickhouse.client().clone(), cancel: CancellationToken::new() });
        let plan = plan(kafka.as_ref(), archive.as_ref(), selection, OffsetDateTime::now_utc()).await?;
        Ok(Progress {
            asked: selection.clone(),
            parts: plan.parts,
            dirty_hours: BTreeSet::new(),
            refreshing_hours: BTreeSet::new(),
            refreshed_hours: BTreeSet::new(),
            repaired: Repaired { expired: plan.expired, ..Repaired::default() },
        })
    }

    fn share(&self, display: &Display, progress: Progress, state: StateFile, stop: &CancellationToken) -> Shared {
        Shared {
            queue: Mutex::new(progress.parts.iter().filter(|part| part.next < part.end).cloned().collect()),
            state,
            pace: Pace::new(self.args.rate),
            bar: display.bar(progress.records(), progress.done(), report::RECORDS),
            progress: Mutex::new(progress),
            stopped: Mutex::default(),
            limits: self.config.batch.clone(),
            topics: self.topics.clone(),
            stop: stop.clone(),
            cancel: CancellationToken::new(),
        }
    }

    /// Reads what is left, and keeps the roll-up fresh beside it.
    fn read(
        &self,
        roll_up: &RollUp<'_>,
        clickhouse: &ClickHouse,
        kafka: Option<&Kafka>,
        runtime: &Handle,
    ) -> anyhow::Result<()> {
        let shared = roll_up.shared;
        let published = match kafka {
            Some(Kafka { log_ids, .. }) => {
                let inspector = Inspector::new(clickhouse.clone(), shared.cancel.clone());
                let (config, topics, stop) = (&self.config, &self.topics, &shared.stop);
                published::origins_not_in_the_table(config, topics, log_ids, &inspector, stop, runtime)?
            }
            None => HashSet::new(),
        };
        let readers = (0..self.args.parallel)
            .map(|_| {
                let kafka = kafka.map(|kafka| self.kafka_lane(kafka, &published, clickhouse, shared, runtime));
                let archive = self.args.selection.reads(SourceKind::Deliveries);
                let archive = archive.then(|| self.archive_lane(clickhouse, shared, runtime));
                Ok(Reader { kafka: kafka.transpose()?, archive, shared, runtime: runtime.clone() })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let run = |reader: Reader<'_>| {
                // A reader that fails or panics stops the others, so that the error shows at once.
                let stop_others = shared.stop.clone().drop_guard();
                reader.run()?;
                stop_others.disarm();
                anyhow::Ok(())
            };
            let done = CancellationToken::new();
            let _done = done.clone().drop_guard();
            scope.spawn(move || runtime.block_on(roll_up.refresh_as_it_goes(&done)));
            let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || run(reader))).collect();
            let ended: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader's thread panicked"))?)
                .collect();
            ended.into_iter().collect()
        })
    }

    fn kafka_lane<'s>(
        &self,
        kafka: &Kafka,
        published: &'s HashSet<String>,
        clickhouse: &ClickHouse,
        shared: &'s Shared,
        runtime: &Handle,
    ) -> anyhow::Result<Lane<'s>> {
        let client = |name| anyhow::Ok(settings::replay(&self.config)?.create_with_context(KafkaContext::new(name))?);
        let (topics, log_ids) = (self.topics.clone(), kafka.log_ids.clone());
        let writer = Writer::new(
            &self.config.kafka,
            clickhouse.clone(),
            topics.clone(),
            LogWatch::new(client("topic ids")?, topics, log_ids, Duration::MAX),
            self.metrics.clone(),
            Readiness::waiting_for(&[]),
        )?;
        Ok(Lane {
            source: Box::new(KafkaSource::new(client("reader")?, shared)),
            sink: Box::new(KafkaSink {
                writer,
                inspector: Inspector::new(clickhouse.clone(), shared.cancel.clone()),
                shared,
                published,
                already_published: HashSet::new(),
                dead_letter_log_id: kafka.log_ids.of(Topic::DeadLetter).to_owned(),
                runtime: runtime.clone(),
            }),
        })
    }

    fn archive_lane<'s>(&self, clickhouse: &ClickHouse, shared: &'s Shared, runtime: &Handle) -> Lane<'s> {
        let readiness = Readiness::waiting_for(&[]);
        Lane {
            source: Box::new(ArchiveSource::new(clickhouse.clone(), shared, runtime.clone())),
            sink: Box::new(ArchiveSink {
                tables: TableInserter::new(clickhouse.clone(), self.metrics.clone(), readiness),
                inspector: Inspector::new(clickhouse.clone(), shared.cancel.clone()),
                shared,
                runtime: runtime.clone(),
            }),
        }
    }
}
