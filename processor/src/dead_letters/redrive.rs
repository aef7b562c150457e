//! `hookline-processor redrive`: plans what would become of dead letters now, and sends those that can be processed back.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hookline_schemas::ids::JobId;
use hookline_schemas::topics::{Offset, Topics};
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::{CancellationToken, exit_after, ignore_hangup, on_signal};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use super::arrived::Arrived;
use super::identity::{Identity, LogPosition, parse_position};
use super::judge::{self, Verdict, judge, place};
use super::letter::Letter;
use super::original::Originals;
use super::plan::{Plan, Tally};
use super::producer::{RedrivenRecord, ResourceProducer};
use super::report::Report;
use super::select::LetterSelection;
use super::tables::{Landing, LetterRange, RedriveRow, Tables, Wanted};
use crate::batch::fold::{Delivery, fold};
use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::settings;
use crate::fail_point::{FailPoint, hit};
use crate::log_ids::LogIds;
use crate::replay::inspect::Inspector;
use crate::replay::lock::StateLock;
use crate::replay::pace::Pace;
use crate::retry::Cancelled;
use crate::state_file::StateFile;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Letters that are judged, sent and noted together.
const PAGE: u64 = 200;
const CUT_SHORT: &str = "the redrive did not stop within group.shutdown_timeout_ms and is cut short: run `hookline-processor redrive --execute` \
     again to continue, which looks first for what has arrived";

/// Sends dead letters that can be processed now back into their resource topics.
///
/// Without --execute nothing is sent: it judges the selected letters by the code of today, says what would become of each, and
/// writes the selection to the plan file. `redrive --execute` then sends what the plan holds. A letter keeps its signed bytes and
/// its first times; one whose delivery the tables or topics have already is not sent again, so a redrive that was stopped or killed
/// is continued by the same command. Only one redrive at a time may run on a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    selection: LetterSelection,
    /// Send what the plan holds, or the rest of it
    #[arg(long, conflicts_with_all = ["from", "to", "reasons", "sources", "types", "jobs", "positions", "max_redrives", "again"])]
    execute: bool,
    /// Leave a letter that was sent back so often already
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    max_redrives: u16,
    /// Send letters again that were sent back and that no table and no topic has: what was sent is lost. Otherwise the table redrives
    /// is believed, since deliveries may have expired
    #[arg(long)]
    again: bool,
    /// Send at most this many letters a second, so that live traffic is not starved; 0 means no limit
    #[arg(long, value_name = "LETTERS", default_value_t = 1_000)]
    rate: u32,
    /// Keep the plan and the progress in this file until the redrive is done
    #[arg(long, value_name = "FILE", default_value = "hookline-redrive.json")]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub async fn redrive(config: ProcessorConfig, args: RedriveArgs) -> anyhow::Result<()> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || run(&config, &args, &runtime)).await?
}

fn run(config: &ProcessorConfig, args: &RedriveArgs, runtime: &Handle) -> anyhow::Result<()> {
    let file = StateFile::new(&args.state);
    let _lock = StateLock::acquire_for("redrive", &args.state)?;
    let report = Report { json: args.json, rate: args.rate, state: args.state.clone() };
    let cancel = CancellationToken::new();
    let redrive = Redrive::new(config, &cancel, runtime)?;
    if args.execute {
        let plan = Plan::read(&file)?.with_context(|| {
            format!(
                "there is no plan in {file}: `hookline-processor redrive` with a selection makes one and says what it would do"
            )
        })?;
        return redrive.execute(config, plan, &file, &report, &cancel);
    }
    Plan::check_replaceable(&file)?;
    let plan = redrive.plan(args)?;
    file.save(&plan)?;
    report.print_plan(&plan);
    Ok(())
}

/// The clients that judge letters and send them.
struct Redrive<'r> {
    config: &'r ProcessorConfig,
    topics: Topics,
    log_ids: LogIds,
    tables: Tables,
    inspector: Inspector,
    originals: Originals,
    runtime: &'r Handle,
}

/// Where letters are sent to; nothing is in a plan.
struct Sending<'s> {
    producer: &'s ResourceProducer,
    cancel: &'s CancellationToken,
}

impl<'r> Redrive<'r> {
    fn new(config: &'r ProcessorConfig, cancel: &CancellationToken, runtime: &'r Handle) -> anyhow::Result<Self> {
        let topics = Topics::new(&config.kafka.topic_prefix)?;
        let consumer: BaseConsumer<_> =
            settings::replay(config)?.create_with_context(KafkaContext::new("dead letters"))?;
        let log_ids = ask(&consumer, |consumer| LogIds::fetch(consumer, &topics, TIMEOUT));
        let log_ids = log_ids.with_context(|| {
            format!("Kafka at {} does not tell the ids of the topics", config.kafka.bootstrap_servers)
        })?;
        let clickhouse = ClickHouse::new(&config.clickhouse)?;
        runtime.block_on(config.clickhouse.answering_client())?;
        let tables = Tables::new(clickhouse.clone(), cancel.clone());
        runtime.block_on(tables.check())?;
        let inspector = Inspector::new(clickhouse, cancel.clone());
        let originals = Originals { consumer, topics: topics.clone(), log_ids: log_ids.clone() };
        Ok(Self { config, topics, log_ids, tables, inspector, originals, runtime })
    }

    fn plan(&self, args: &RedriveArgs) -> anyhow::Result<Plan> {
        let now = OffsetDateTime::now_utc();
        let selection = args.selection.fixed(now)?;
        let condition = selection.condition(self.topics.dead_letter(), now);
        let never = CancellationToken::new();
        let mut arrived = Arrived::read(self.config, &self.topics, &self.log_ids, &never)?;
        let ranges = self.runtime.block_on(self.tables.ranges(&condition))?;
        let mut planned = Tally::default();
        for mut range in ranges.clone() {
            while let Some(mut letters) = self.next_page(&mut range, &selection)? {
                let tally = self.judge_and_send(&mut letters, &mut arrived, (args.max_redrives, args.again), None)?;
                planned.add(tally);
            }
        }
        let RedriveArgs { max_redrives, again, .. } = *args;
        Ok(Plan { selection, max_redrives, again, ranges, planned, done: Tally::default(), has_begun: false })
    }

    /// Reads the next letters of a range and moves it behind them; `None` at its end.
    fn next_page(&self, range: &mut LetterRange, selection: &LetterSelection) -> anyhow::Result<Option<Vec<Letter>>> {
        if range.next >= range.end {
            return Ok(None);
        }
        let condition = selection.condition(self.topics.dead_letter(), OffsetDateTime::UNIX_EPOCH);
        let letters = self.runtime.block_on(self.tables.page(range, &condition, PAGE))?;
        let is_last = (letters.len() as u64) < PAGE;
        range.next = match letters.last() {
            Some(last) if !is_last => Offset(last.position.offset.0 + 1),
            Some(_) | None => range.end,
        };
        Ok((!letters.is_empty()).then_some(letters))
    }

    fn execute(
        &self,
        config: &ProcessorConfig,
        mut plan: Plan,
        file: &StateFile,
        report: &Report,
        cancel: &CancellationToken,
    ) -> anyhow::Result<()> {
        if let Some(other) = plan.ranges.iter().find(|range| range.topic != self.topics.dead_letter()) {
            bail!(
                "{file} holds a redrive of {}, and this is {}: name another file, or remove this one",
                other.topic,
                self.topics.dead_letter()
            );
        }
        let stop = {
            let _entered = self.runtime.enter();
            ignore_hangup()?;
            let stop = on_signal()?;
            exit_after(stop.clone(), Duration::from_millis(config.group.shutdown_timeout_ms), CUT_SHORT);
            stop
        };
        self.cancel_when_stopped_for_long(&stop, cancel);
        plan.has_begun = true;
        file.save(&plan)?;
        hit(FailPoint::RedriveBegun);
        let (began, done_before) = (Instant::now(), plan.done.letters());
        let bar = report.bar(&plan);
        let lines = report.lines(&bar, done_before, self.runtime);
        let sent = self.send_all(&mut plan, file, &bar, report.rate, (&stop, cancel));
        lines.abort();
        bar.finish_and_clear();
        match sent {
            Ok(()) if !stop.is_cancelled() || plan.is_done() => {
                report.print_result(&plan, plan.done.letters() - done_before, began.elapsed());
                file.remove()
            }
            Ok(()) => Err(report.not_finished(None, &plan)),
            Err(error) if error.is::<Cancelled>() => Err(report.not_finished(None, &plan)),
            Err(error) => Err(report.not_finished(Some(error), &plan)),
        }
    }

    /// What is being sent when a signal comes is waited for as long as an insert of the live group would be.
    fn cancel_when_stopped_for_long(&self, stop: &CancellationToken, cancel: &CancellationToken) {
        let (stop, cancel) = (stop.clone(), cancel.clone());
        let settle_timeout = Duration::from_millis(self.config.group.settle_timeout_ms);
        self.runtime.spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(settle_timeout).await;
            cancel.cancel();
        });
    }

    fn send_all(
        &self,
        plan: &mut Plan,
        file: &StateFile,
        bar: &indicatif::ProgressBar,
        rate: u32,
        (stop, cancel): (&CancellationToken, &CancellationToken),
    ) -> anyhow::Result<()> {
        let mut arrived = Arrived::read(self.config, &self.topics, &self.log_ids, stop)?;
        let producer = ResourceProducer::new(&self.config.kafka, self.topics.clone(), self.log_ids.clone())?;
        let pace = Pace::new(rate);
        for index in 0..plan.ranges.len() {
            while let Some(mut range) = plan.ranges.get(index).cloned()
                && !stop.is_cancelled()
            {
                let Some(mut letters) = self.next_page(&mut range, &plan.selection)? else {
                    plan.move_to(index, range);
                    break;
                };
                let sending = Sending { producer: &producer, cancel };
                let guard = (plan.max_redrives, plan.again);
                let tally = self.judge_and_send(&mut letters, &mut arrived, guard, Some(&sending))?;
                let sent = usize::try_from(tally.sent()).unwrap_or(usize::MAX);
                plan.done.add(tally);
                plan.move_to(index, range);
                file.save(plan)?;
                hit(FailPoint::RedriveSaved);
                bar.inc(letters.len() as u64);
                let wait = pace.take(sent, Instant::now());
                let _ = self.runtime.block_on(async { tokio::time::timeout(wait, stop.cancelled()).await });
            }
        }
        Ok(())
    }

    /// Judges a page of letters and, if it is told where to, sends those that can be processed and are nowhere yet; then it notes
    /// in the tables what became of them. A crash between the two is made good by the next run, which finds them.
    fn judge_and_send(
        &self,
        letters: &mut [Letter],
        arrived: &mut Arrived,
        (max_redrives, again): (u16, bool),
        sending: Option<&Sending<'_>>,
    ) -> anyhow::Result<Tally> {
        self.originals.complete(letters)?;
        let letters = &*letters;
        let batch = judge::batch(letters);
        let folded = fold(&batch);
        let deliveries: HashMap<usize, &Delivery<'_>> =
            folded.deliveries.iter().map(|delivery| (place(delivery), delivery)).collect();
        let identity = |delivery: &Delivery<'_>| Identity::of(&batch.metadata(delivery.row));
        let wanted: BTreeMap<_, _> = folded
            .deliveries
            .iter()
            .map(|delivery| {
                let (job_id, signed_at) = (delivery.job_id.as_str().to_owned(), delivery.row.signed_at.0);
                (identity(delivery), Wanted { job_id, signed_at })
            })
            .collect();
        for (identity, landing) in self.runtime.block_on(self.tables.arrived(&wanted))? {
            arrived.add(identity, landing);
        }
        let noted = if again { HashMap::new() } else { self.runtime.block_on(self.tables.noted(letters))? };
        let mut tally = Tally::default();
        let (mut to_send, mut there) = (Vec::new(), Vec::new());
        let (mut taken, mut twins) = (HashMap::new(), Vec::new());
        for (index, (letter, verdict)) in letters.iter().zip(judge(letters, &batch, &folded)).enumerate() {
            let delivery = deliveries.get(&index).copied();
            match (verdict, delivery) {
                (Verdict::Processable(event), Some(delivery)) => {
                    let identity = identity(delivery);
                    if let Some(position) = arrived.landing(&identity, letter.redrives) {
                        tally.already_there(letter, position);
                        there.push((letter, position.clone()));
                    } else if let Some(position) = noted.get(&letter.position.offset) {
                        tally.already_there(letter, position);
                    } else if letter.redrives >= max_redrives {
                        tally.too_often(letter);
                    } else if let Some(twin) = taken.get(&identity) {
                        // Two letters of one record, of which one is sent: a crash may have published the record's letter twice.
                        tally.already_there(letter, twin);
                        twins.push((letter, identity));
                    } else {
                        taken.insert(identity.clone(), letter.position.clone());
                        tally.redriven(letter, event, delivery.job_id.as_str());
                        to_send.push((letter, delivery, identity));
                    }
                }
                (Verdict::NotProcessable(reason, detail), _) => {
                    tally.not_processable(letter, reason.as_str(), &detail);
                }
                (Verdict::BodyLost | Verdict::Processable(_), _) => tally.body_lost(letter),
            }
        }
        let to_fold = judge::batch(to_send.iter().map(|(letter, ..)| *letter));
        let folded = fold(&to_fold);
        let jobs: Vec<_> = folded.jobs.iter().collect();
        let missing = self.runtime.block_on(self.inspector.missing_facts(&jobs))?;
        (tally.jobs_absent, tally.jobs_changed) = (missing.absent, missing.changed);
        let Some(Sending { producer, cancel }) = sending else { return Ok(tally) };

        let mut notes: Vec<_> = there
            .iter()
            // A record that a table refused may have been inserted from where it was, by a replay.
            .filter(|(letter, position)| !is_origin(letter, position))
            .map(|(letter, position)| RedriveRow::new(letter, position, now_ms()))
            .collect();
        let mut pending = Vec::with_capacity(to_send.len());
        for (letter, delivery, identity) in to_send {
            let record = RedrivenRecord {
                metadata: batch.metadata(delivery.row),
                event_type: delivery.event_type,
                job_id: JobId::as_str(&delivery.job_id),
                body: letter.body(),
                redrives: letter.redrives.saturating_add(1),
                from: &letter.position,
            };
            let sent = producer.send(&record).with_context(|| format!("cannot send the letter {}", letter.position))?;
            pending.push((letter, delivery.event_type, identity, sent));
        }
        for (letter, event, identity, sent) in pending {
            let landed = self.runtime.block_on(async {
                tokio::select! {
                    landed = producer.landed(sent) => Ok(landed),
                    () = cancel.cancelled() => Err(Cancelled),
                }
            })?;
            let position = match landed {
                Ok(position) => position,
                Err(error) if is_too_large(error.rdkafka_error_code()) => {
                    tally.was_too_large(letter, event);
                    continue;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("the letter {} was not sent", letter.position));
                }
            };
            notes.push(RedriveRow::new(letter, &position, now_ms()));
            arrived.add(identity, Landing { redrives: letter.redrives.saturating_add(1), position });
            hit(FailPoint::RedriveOneSent);
        }
        hit(FailPoint::RedriveAllSent);
        notes.extend(twins.into_iter().filter_map(|(letter, identity)| {
            let position = arrived.landing(&identity, letter.redrives)?;
            Some(RedriveRow::new(letter, position, now_ms()))
        }));
        self.runtime.block_on(self.tables.note(&notes))?;
        hit(FailPoint::RedriveNoted);
        Ok(tally)
    }
}

fn is_origin(letter: &Letter, position: &LogPosition) -> bool {
    parse_position(&letter.origin).is_some_and(|(topic, partition, offset)| {
        (&*letter.origin_log_id, topic, partition, offset)
            == (&*position.log_id, &*position.topic, position.partition, position.offset)
    })
}

fn is_too_large(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize))
}

fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1_000 + i64::from(now.millisecond())
}
