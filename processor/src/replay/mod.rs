//! Reads a range of the topics or of the archive again, beside the live group and without touching its offsets, and writes its
//! records once more: rows that were missing are repaired, and nothing changes where the tables are right.
//!
//! A plan is a list of parts, each a range of offsets of one partition of one log in one `source`. Readers take part after part,
//! page by page, and give each page to the `sink` of that source. Pace, progress, roll-up and report know neither.

mod dry_run;
pub(crate) mod give_way;
pub(crate) mod inspect;
mod lacking;
mod lanes;
pub(crate) mod lock;
pub(crate) mod pace;
pub(crate) mod plan;
mod progress;
mod published;
mod read;
pub(crate) mod report;
mod rollup;
pub mod select;
mod sink;
pub(crate) mod source;
mod verify;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
use hookline_sources::Sources;
use prometheus::Registry;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use self::dry_run::DryRun;
use self::give_way::{GiveWay, LiveLoadWatch};
use self::inspect::Inspector;
use self::lanes::{Kafka, Lanes};
use self::lock::StateLock;
use self::pace::Pace;
use self::plan::{Plan, plan};
use self::progress::{LeftOut, Progress, Repaired};
use self::read::{Reader, Shared};
use self::report::{Display, Took, count};
use self::rollup::RollUp;
use self::select::Selection;
use self::source::SourceKind;
use self::source::archive_plan::ArchivePlanner;
use self::source::kafka_plan::KafkaPlanner;
use self::verify::Verifier;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::metrics::{Metrics, Mode};
use crate::rebuild::{RebuildArgs, RebuildStep, rebuild};
use crate::state_file::StateFile;
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
    /// Build the table jobs anew from all that there is, beside the live one, and tell what would change: for when the code that reads
    /// events has changed. Nothing is live before --swap
    #[arg(long, conflicts_with_all = ["from", "to", "offsets", "resources", "partitions", "verify"], help_heading = "Rebuild")]
    rebuild: bool,
    #[command(flatten)]
    step: RebuildStep,
    /// With --swap: also where jobs or facts are lost that the old table has
    #[arg(long, requires = "swap", help_heading = "Rebuild")]
    accept_loss: bool,
    /// Only print which ranges each source has, what the tables lack of them, and how long the replay would take at least
    #[arg(long, conflicts_with = "rebuild_step")]
    dry_run: bool,
    /// Read at most this many records a second, so that live traffic is not starved; 0 means no limit
    #[arg(long, value_name = "RECORDS", default_value_t = 20_000)]
    rate: u32,
    /// Do not wait while the live group is behind or ClickHouse has too many parts
    #[arg(long)]
    no_give_way: bool,
    /// Read this many partitions at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Keep the progress in this file until the replay is done; a rebuild's is hookline-rebuild.json, with its diff beside it
    #[arg(
        long,
        value_name = "FILE",
        default_value = "hookline-replay.json",
        default_value_if("rebuild", "true", "hookline-rebuild.json")
    )]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl From<ReplayArgs> for RebuildArgs {
    fn from(args: ReplayArgs) -> Self {
        Self {
            sources: args.selection.sources,
            step: args.step,
            accept_loss: args.accept_loss,
            dry_run: args.dry_run,
            rate: args.rate,
            gives_way: !args.no_give_way,
            parallel: args.parallel,
            state: args.state,
            json: args.json,
        }
    }
}

pub async fn replay(config: ProcessorConfig, args: ReplayArgs) -> anyhow::Result<()> {
    if args.rebuild {
        return rebuild(config, args.into()).await;
    }
    let runtime = Handle::current();
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    let metrics = Metrics::new(&Registry::new(), Mode::Replay, &topics)?;
    let job = Replay { topics, metrics, config, args };
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
        self.args.selection.check(OffsetDateTime::now_utc())?;
        let verifier = self.verifier()?;
        let kafka = Kafka::connect(&self.config, &self.topics, &self.args.selection)?;
        let clickhouse = ClickHouse::new(&self.config.clickhouse)?;
        for table in Table::ALL {
            runtime.block_on(clickhouse.check(table))?;
        }
        let display = Display { json: self.args.json, rate: self.args.rate };
        let state = StateFile::new(&self.args.state);
        let planned = || runtime.block_on(self.resume_or_plan(&display, &state, kafka.as_ref(), &clickhouse));
        if self.args.dry_run {
            return runtime.block_on(self.dry_run(display, &planned()?, kafka.as_ref(), &clickhouse));
        }
        let _lock = StateLock::acquire(&self.args.state)?;
        let progress = planned()?;
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
        let shared = self.share(&display, progress, state.clone(), verifier, &shutdown.child_token());
        self.cancel_when_stopped_for_long(&shared, runtime);
        let (metrics, readiness) = (self.metrics.clone(), Readiness::waiting_for(&[]));
        let refresher = Refresher { clickhouse: clickhouse.clone(), metrics, readiness };
        let every = Duration::from_millis(self.config.batch.refresh_ms);
        let roll_up = RollUp { refresher, shared: &shared, every };

        let give_way = shared.give_way.clone();
        let waits_for = move || give_way.to().map(|load| load.to_string());
        let lines = display.lines(&shared.bar, waits_for, done_before, runtime);
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
        let took = Took { took: began.elapsed(), waited: shared.give_way.waited() };
        display.print_result(&progress, &stopped, progress.done() - done_before, took);
        let Some(first) = stopped.first() else {
            state.remove()?;
            return if progress.left_out.is_nothing() { Ok(()) } else { Err(display.left_out(&progress.left_out)) };
        };
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
        match Progress::resume(state, log_id, selection) {
            Ok(Some(progress)) => {
                display.print_resumed(&self.args.state, &progress);
                return Ok(progress);
            }
            Ok(None) => {}
            Err(error) if self.args.dry_run => display.note(&format!("{error:#}; this dry run begins anew")),
            Err(error) => return Err(error),
        }
        let plan = self.plan(selection, kafka, clickhouse).await?;
        Ok(Progress {
            asked: selection.clone(),
            parts: plan.parts,
            dirty_hours: BTreeSet::new(),
            refreshing_hours: BTreeSet::new(),
            refreshed_hours: BTreeSet::new(),
            repaired: Repaired { expired: plan.expired, ..Repaired::default() },
            left_out: LeftOut::default(),
        })
    }

    /// Plans what a selection means now in its sources.
    async fn plan(
        &self,
        selection: &Selection,
        kafka: Option<&Kafka>,
        clickhouse: &ClickHouse,
    ) -> anyhow::Result<Plan> {
        let topics = &self.topics;
        let kafka = kafka.map(|Kafka { consumer, log_ids }| KafkaPlanner { consumer, topics, log_ids });
        let archive = selection
            .reads(SourceKind::Deliveries)
            .then(|| ArchivePlanner { clickhouse: clickhouse.clone(), cancel: CancellationToken::new() });
        plan(kafka.as_ref(), archive.as_ref(), selection, OffsetDateTime::now_utc()).await
    }

    /// Prints the plan, and what only the archive has where that is not read.
    async fn dry_run(
        &self,
        display: Display,
        progress: &Progress,
        kafka: Option<&Kafka>,
        clickhouse: &ClickHouse,
    ) -> anyhow::Result<()> {
        let mut everywhere = self.args.selection.clone();
        let mut not_read = Vec::new();
        if !everywhere.reads(SourceKind::Deliveries) && everywhere.resources != [Topic::DeadLetter] {
            everywhere.sources.push(SourceKind::Deliveries);
            not_read = self.plan(&everywhere, kafka, clickhouse).await?.parts;
            not_read.retain(|part| part.source == SourceKind::Deliveries);
        }
        let consumer = kafka.map(|kafka| &kafka.consumer);
        DryRun { display, clickhouse, consumer }.print(progress, &not_read).await
    }

    /// The secrets to verify with, where that is asked for.
    fn verifier(&self) -> anyhow::Result<Option<Verifier>> {
        if !self.args.selection.verify {
            return Ok(None);
        }
        let sources = Sources::read(&self.config.sources, |name| std::env::var(name).ok());
        Ok(Some(Verifier::new(sources.context("--verify needs the secrets of the sources")?)))
    }

    fn share(
        &self,
        display: &Display,
        progress: Progress,
        state: StateFile,
        verifier: Option<Verifier>,
        stop: &CancellationToken,
    ) -> Shared {
        Shared {
            queue: Mutex::new(progress.parts.iter().filter(|part| part.next < part.end).cloned().collect()),
            state,
            pace: Pace::new(self.args.rate),
            give_way: GiveWay::default(),
            verifier,
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
        let (config, metrics) = (&self.config, &self.metrics);
        let lanes = Lanes { config, metrics, kafka, published: &published, clickhouse, shared, runtime };
        let readers = (0..self.args.parallel).map(|_| lanes.reader()).collect::<anyhow::Result<Vec<_>>>()?;
        let watch = self.live_load_watch(clickhouse)?;
        watch.iter().for_each(|watch| watch.look(&shared.give_way, runtime));
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
            if let Some(watch) = &watch {
                let done = done.clone();
                scope.spawn(move || watch.run(&shared.give_way, &done, runtime));
            }
            scope.spawn(move || runtime.block_on(roll_up.refresh_as_it_goes(&done)));
            let threads: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || run(reader))).collect();
            let ended: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a reader's thread panicked"))?)
                .collect();
            ended.into_iter().collect()
        })
    }

    /// Looks at the live group and at ClickHouse, unless the replay does not give way.
    fn live_load_watch(&self, clickhouse: &ClickHouse) -> anyhow::Result<Option<LiveLoadWatch>> {
        if self.args.no_give_way {
            return Ok(None);
        }
        LiveLoadWatch::new(&self.config, &self.topics, clickhouse).map(Some)
    }
}
