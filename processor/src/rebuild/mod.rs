//! Builds `jobs` anew beside the live table, while live traffic goes on: for when the code that reads events has changed, and what it wrote
//! before must go. Minima and maxima cannot take a fact back, so a replay in place cannot.
//!
//! plan → fill a shadow → verify it → exchange the two tables on the operator's word → catch up. What each step did is in a [`state`] file,
//! and which table is live is asked of the server, so that a rebuild that was killed anywhere goes on. `deliveries` and `dead_letters`
//! stay, because they hold what was signed, and `job_stats` is computed from `jobs`.

mod build;
mod comparison;
mod counted;
mod counts;
mod diff;
mod fill;
mod inserts;
mod members;
mod plan;
mod positions;
mod report;
mod roll_up;
mod state;
mod swap;
mod tables;
mod verify;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clickhouse::Client;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
use prometheus::Registry;
use rdkafka::consumer::BaseConsumer;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use self::fill::{Filler, until_stopped};
use self::positions::extend;
use self::state::{Live, State, Step};
use self::tables::Tables;
use crate::batch::fold::Folded;
use crate::clickhouse::columns::Table;
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::fail_point::{FailPoint, hit};
use crate::log_ids::LogIds;
use crate::metrics::{Metrics, Mode};
use crate::replay::give_way::{GiveWay, LiveLoadWatch};
use crate::replay::lock::StateLock;
use crate::replay::pace::Pace;
use crate::replay::plan::{PartitionRange, plan};
use crate::replay::report::{Display, RECORDS};
use crate::replay::select::Selection;
use crate::replay::source::SourceKind;
use crate::replay::source::archive_plan::ArchivePlanner;
use crate::replay::source::kafka_plan::KafkaPlanner;
use crate::state_file::StateFile;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever is missing is read from wherever it is.
const BOTH: [SourceKind; 2] = [SourceKind::Kafka, SourceKind::Deliveries];
const CUT_SHORT: &str = "the rebuild did not stop within group.shutdown_timeout_ms and is cut short: run the same command again to continue";

/// The steps of a rebuild that an operator asks for by name. Without one it is planned, filled and verified.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[group(id = "rebuild_step", multiple = false)]
pub struct RebuildStep {
    /// Tell how far the rebuild is, and what can be done next
    #[arg(long, requires = "rebuild", help_heading = "Rebuild")]
    pub status: bool,
    /// Make the table that was built and verified the live one
    #[arg(long, requires = "rebuild", help_heading = "Rebuild")]
    pub swap: bool,
    /// Make the old table live again, with what was written since
    #[arg(long, requires = "rebuild", help_heading = "Rebuild")]
    pub undo: bool,
    /// Drop the table that is not live, and end the rebuild
    #[arg(long, requires = "rebuild", help_heading = "Rebuild")]
    pub drop: bool,
}

/// What was asked for, as far as a rebuild is concerned.
#[derive(Clone, Debug)]
pub struct RebuildArgs {
    /// Where the first fill reads from.
    pub sources: Vec<SourceKind>,
    pub step: RebuildStep,
    pub accept_loss: bool,
    pub dry_run: bool,
    pub rate: u32,
    /// Filling waits for live work.
    pub gives_way: bool,
    pub parallel: u16,
    pub state: PathBuf,
    pub json: bool,
}

pub async fn rebuild(config: ProcessorConfig, args: RebuildArgs) -> anyhow::Result<()> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || run(config, &args, runtime)).await?
}

fn run(config: ProcessorConfig, args: &RebuildArgs, runtime: Handle) -> anyhow::Result<()> {
    let file = StateFile::new(&args.state);
    let clickhouse = ClickHouse::new(&config.clickhouse)?;
    let tables = Tables::new(clickhouse.client().clone());
    if args.step.status {
        let (state, names) = (State::load(&file, &config.clickhouse.database)?, runtime.block_on(tables.names())?);
        report::print_status(args.json, &file, state.as_ref(), &names);
        return Ok(());
    }
    let topics = Topics::new(&config.kafka.topic_prefix)?;
    // The live group's id, for its committed offsets. The consumer does not join it.
    let consumer: BaseConsumer<_> = settings::replay(&config)?
        .set("group.id", config.group_id())
        .create_with_context(KafkaContext::new("rebuild"))?;
    // Asked for before anything else, so that a topic that is made anew meanwhile is noticed.
    let log_ids = ask(&consumer, |consumer| LogIds::fetch(consumer, &topics, TIMEOUT));
    let log_ids = log_ids
        .with_context(|| format!("Kafka at {} does not tell the ids of the topics", config.kafka.bootstrap_servers))?;
    let lock = if args.dry_run { None } else { Some(StateLock::acquire(&args.state)?) };
    let stop = {
        let _entered = runtime.enter();
        ignore_hangup()?;
        let stop = on_signal()?;
        exit_after(stop.clone(), Duration::from_millis(config.group.shutdown_timeout_ms), CUT_SHORT);
        stop
    };
    let watch = args.gives_way.then(|| LiveLoadWatch::new(&config, &topics, &clickhouse)).transpose()?;
    let kept_since = until_stopped(&runtime, &stop, tables.kept_since())??;
    let known = State::load(&file, &config.clickhouse.database)?;
    let rebuild = Rebuild {
        metrics: Metrics::new(&Registry::new(), Mode::Replay, &topics)?,
        pace: Pace::new(args.rate),
        give_way: GiveWay::default(),
        parallel: args.parallel,
        display: Display { json: args.json, rate: args.rate },
        config,
        topics,
        consumer,
        log_ids,
        clickhouse,
        tables,
        runtime,
        kept_since,
        stop,
        file,
        sources: args.sources.clone(),
        _lock: lock,
    };
    if args.dry_run {
        return rebuild.plan(known.as_ref())?.print(&rebuild.display);
    }
    std::thread::scope(|scope| {
        let done = CancellationToken::new();
        let _done = done.clone().drop_guard();
        if let Some(watch) = &watch {
            let (give_way, runtime) = (&rebuild.give_way, &rebuild.runtime);
            watch.look(give_way, runtime);
            scope.spawn(move || watch.run(give_way, &done, runtime));
        }
        rebuild.take(args.step, known, args.accept_loss)
    })
}

/// What a process needs to take a rebuild on.
struct Rebuild {
    config: ProcessorConfig,
    topics: Topics,
    consumer: BaseConsumer<KafkaContext>,
    log_ids: LogIds,
    clickhouse: ClickHouse,
    tables: Tables,
    metrics: Metrics,
    runtime: Handle,
    pace: Pace,
    give_way: GiveWay,
    parallel: u16,
    /// Created hours before it stay out: their jobs may have expired.
    kept_since: CreatedHour,
    stop: CancellationToken,
    file: StateFile,
    display: Display,
    sources: Vec<SourceKind>,
    _lock: Option<StateLock>,
}

impl Rebuild {
    fn take(&self, step: RebuildStep, known: Option<State>, accept_loss: bool) -> anyhow::Result<()> {
        match (known, step) {
            (Some(state), RebuildStep { swap: true, .. }) => self.swap(state, accept_loss),
            (Some(state), RebuildStep { undo: true, .. }) => self.undo(state),
            (Some(state), RebuildStep { drop: true, .. }) => self.drop_other(state),
            (None, RebuildStep { swap, undo, drop, .. }) if swap || undo || drop => bail!(
                "{} does not exist, so there is no rebuild that could go on: `replay --rebuild` begins one",
                self.file
            ),
            (known, _) => self.build(known),
        }
    }

    /// Waits for something that a signal may drop at any time: what was not recorded as done is done again.
    fn wait<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        until_stopped(&self.runtime, &self.stop, work)?
    }

    fn client(&self) -> &Client {
        self.clickhouse.client()
    }

    fn record(&self, state: &mut State, step: Step) -> anyhow::Result<()> {
        state.step = step;
        self.file.save(state)
    }

    fn live(&self, state: &State) -> anyhow::Result<Live> {
        state.live(&self.wait(self.tables.names())?)
    }

    /// What `sources` hold now: Kafka what it has, the archive what lies before that and in other logs.
    fn planned(&self, sources: &[SourceKind]) -> anyhow::Result<Vec<PartitionRange>> {
        let resources = Topic::ALL.into_iter().filter(|topic| *topic != Topic::DeadLetter).collect();
        let selection = Selection { sources: sources.to_vec(), resources, ..Selection::default() };
        let kafka = KafkaPlanner { consumer: &self.consumer, topics: &self.topics, log_ids: &self.log_ids };
        let archive = ArchivePlanner { clickhouse: self.clickhouse.clone(), cancel: self.stop.clone() };
        let (kafka, archive) = (
            selection.reads(SourceKind::Kafka).then_some(&kafka),
            selection.reads(SourceKind::Deliveries).then_some(&archive),
        );
        Ok(self.wait(plan(kafka, archive, &selection, OffsetDateTime::now_utc()))?.parts)
    }

    fn filler(&self) -> Filler<'_> {
        Filler {
            config: &self.config,
            topics: &self.topics,
            log_ids: &self.log_ids,
            clickhouse: &self.clickhouse,
            metrics: &self.metrics,
            runtime: &self.runtime,
            pace: &self.pace,
            give_way: &self.give_way,
            parallel: self.parallel,
            kept_since: self.kept_since,
            stop: &self.stop,
            file: &self.file,
        }
    }

    /// Reads into `table`, which is the one that `state` tells the ranges of, whatever it does not have yet, up to the end of the log as it
    /// is now. Hands the jobs of each batch that is in to
    /// `take`, before the state is saved.
    fn read_to_the_end(
        &self,
        state: &mut State,
        table: Table,
        take: &(dyn Fn(&mut State, &Folded<'_>) + Sync),
    ) -> anyhow::Result<()> {
        let expired = extend(&mut state.ranges, self.planned(&BOTH)?);
        if expired > 0 {
            bail!(
                "{expired} records that {} does not have yet are neither in the topics any more nor in deliveries: `replay --rebuild --drop` gives \
                 the rebuild up",
                table.as_str()
            );
        }
        let ranges = state.ranges.clone();
        let bar = self.display.bar(state.records(), state.done(), RECORDS);
        let give_way = self.give_way.clone();
        let waits_for = move || give_way.to().map(|load| load.to_string());
        let lines = self.display.lines(&bar, waits_for, state.done(), &self.runtime);
        let state = Mutex::new(state);
        let read = self.filler().fill(table, &ranges, &|range, folded| {
            bar.inc(range.done());
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            take(&mut state, folded);
            state.advance(range);
            self.file.save(&**state)?;
            hit(FailPoint::AfterFilledBatch);
            Ok(())
        });
        lines.abort();
        bar.finish_and_clear();
        read
    }
}
