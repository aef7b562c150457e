//! Writes a batch, once through: `jobs`, then `deliveries`, so that the row of a delivery implies its facts, then
//! `dead_letters`, and last the rejections to the dead-letter topic.

pub mod channel;
pub mod held;
pub mod insert;
pub mod reject;
pub mod rollup;
mod stopped;
pub mod thread;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Instant, SystemTime};

use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::config::ConfigError;
use hookline_service::kafka::KafkaConfig;
use hookline_service::shutdown::CancellationToken;

use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::fold::{Delivery, Folded, JobRow};
use crate::clickhouse::columns::{self, CountedBy, Table};
use crate::clickhouse::inserter::ClickHouse;
use crate::clickhouse::partitions;
use crate::consumer::offset_tracker::WrittenRanges;
use crate::dead_letter_producer::{DeadLetterMessage, DeadLetterProducer, PublishError, Remedy as PublishRemedy};
use crate::fail_point::{FailPoint, hit};
use crate::log_ids::{LogChanged, LogError, LogWatch};
use crate::metrics::Metrics;
use crate::metrics::jobs::JobMetrics;
use crate::metrics::stages::Stage;
use crate::retry::Cancelled;
use crate::writer::insert::{SOUGHT_AMONG, TableInserter};
use crate::writer::reject::{RefusedRow, Rejection};
use crate::writer::stopped::{StoppedLetter, StoppedPartitions, StoppedRecords};

/// The name of ClickHouse in a daemon's readiness.
pub const CLICKHOUSE: &str = "clickhouse";
/// The name of the dead-letter topic in a daemon's readiness, where something cannot be published to it.
const DEAD_LETTER_TOPIC: &str = "dead_letter_topic";

pub struct Writer {
    tables: TableInserter,
    dead_letter_producer: DeadLetterProducer,
    topics: Topics,
    log_watch: LogWatch,
    metrics: Metrics,
    job_metrics: Option<JobMetrics>,
    readiness: Readiness,
    stopped: StoppedPartitions,
}

/// Why nothing of a batch, or not all of it, was written. Without a witness it may be written again, also after later ones.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotWritten {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "ClickHouse refuses a row of {} and took no other row just then: nothing says yet whether it is the row",
        table.as_str()
    )]
    NoWitness { table: Table },
}

impl NotWritten {
    /// Keeps the kind of the cause, so that a cancelled write can be told from one that failed.
    pub fn into_anyhow(self) -> anyhow::Error {
        match self {
            Self::Cancelled(cancelled) => cancelled.into(),
            Self::Log(error) => error.into(),
            no_witness @ Self::NoWitness { .. } => no_witness.into(),
        }
    }
}

/// What a written batch leaves to do.
#[derive(Debug, Default)]
pub struct Written {
    /// What may be committed once the roll-up is refreshed: the ranges of the batch without the records in `stopped`.
    pub ranges: WrittenRanges,
    /// Created hours whose roll-up has to be refreshed.
    pub dirty: BTreeSet<CreatedHour>,
    /// Records that stop their partition: dead letters that were refused even without their payload, and records whose dead
    /// letter cannot be published.
    pub stopped: StoppedRecords,
    pub dead_letters_published: u64,
}

impl Written {
    pub fn append(&mut self, mut next: Self) {
        self.ranges.append(next.ranges);
        self.dirty.append(&mut next.dirty);
        self.stopped.append(&mut next.stopped);
        self.dead_letters_published += next.dead_letters_published;
    }
}

impl Writer {
    pub fn new(
        kafka: &KafkaConfig,
        clickhouse: ClickHouse,
        topics: Topics,
        log_watch: LogWatch,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Self, ConfigError> {
        let dead_letter_producer = DeadLetterProducer::new(kafka, &topics)?;
        let (job_metrics, stopped) = (None, StoppedPartitions::default());
        let tables = TableInserter::new(clickhouse, metrics.clone(), readiness.clone());
        Ok(Self { tables, dead_letter_producer, topics, log_watch, metrics, job_metrics, readiness, stopped })
    }

    /// Makes it the writer of the live group. It counts finished jobs; a replay does not, for the group counts a job when it
    /// consumes the job's end. What it could not write comes back every few seconds, and with later records, so it looks for a
    /// witness among some rows only; a replay ends without one.
    pub fn live(mut self, job_metrics: JobMetrics) -> Self {
        self.tables.sought_among = SOUGHT_AMONG;
        Self { job_metrics: Some(job_metrics), ..self }
    }

    /// Forgets what is left of partitions that are revoked: their records are read again from the committed offset, by whoever has
    /// them next. What is missing for them, readiness need not say any more; the probe goes on.
    pub fn forget_assignment(&mut self) {
        self.forget_stopped_partitions();
        self.readiness.ready(CLICKHOUSE);
        self.readiness.ready(DEAD_LETTER_TOPIC);
    }

    /// Asks the tables which jobs other processes counted; `cancel` and the daemon's end cut that short.
    pub async fn reload_counted_jobs(&mut self, cancel: &CancellationToken, shutdown: &CancellationToken) {
        if let Some(job_metrics) = &mut self.job_metrics {
            job_metrics.reload(self.tables.clickhouse(), cancel, shutdown).await;
        }
    }

    /// Tells whether a topic was made anew, also if nothing is read from it. Blocks its thread while it asks.
    pub fn log_made_anew(&self) -> Option<LogChanged> {
        self.log_watch.made_anew()
    }

    /// Asks whether these topics, from which records were read, are still the same.
    pub async fn verify_logs(&self, topics: &[Topic], cancel: &CancellationToken) -> Result<(), NotWritten> {
        Ok(self.log_watch.verify(topics, cancel).await??)
    }

    /// Writes all of a batch; nothing of it may be committed unless this succeeds. Nothing is written where the records may come
    /// from another log than the one whose id would stand beside them. No dead letter is published again for an
    /// origin in `already_published`.
    pub async fn write(
        &mut self,
        batch: &Batch,
        folded: &Folded<'_>,
        already_published: &HashSet<String>,
        cancel: &CancellationToken,
    ) -> Result<Written, NotWritten> {
        let began = Instant::now();
        let mut topics: Vec<Topic> = batch.positions.keys().map(|(topic, _)| *topic).collect();
        topics.dedup();
        let stages = self.metrics.stages.clone();
        stages.time_async(Stage::VerifyLogs, self.verify_logs(&topics, cancel)).await?;
        let mut rejections = reject::unprocessable(batch, folded);

        let blocks = partitions::blocks(folded.jobs.iter(), |job| job.key.created_hour.0);
        let counted = if self.job_metrics.is_some() { CountedBy::Inserter } else { CountedBy::Nobody };
        let inserted = self.tables.insert(Table::Jobs, blocks, |rows| columns::jobs(rows, counted), cancel);
        let refused_jobs = stages.time_async(Stage::InsertJobs, inserted).await?;
        hit(FailPoint::AfterJobs);
        // From here on the table says that these jobs are counted, so nothing may come between.
        if let Some(job_metrics) = &mut self.job_metrics {
            let is_in = |job: &&JobRow<'_>| !refused_jobs.iter().any(|refused| refused.row.key == job.key);
            job_metrics.count(folded.jobs.iter().filter(is_in));
        }
        let without_facts: Vec<_> = reject::refused_jobs(batch, folded, &refused_jobs).collect();
        let inserted = self.insert_deliveries(batch, folded, &without_facts, cancel);
        let refused_deliveries = stages.time_async(Stage::InsertDeliveries, inserted).await?;
        let inserted = self.insert_dead_letters(&batch.dead_letters, cancel);
        let mut stopped = stages.time_async(Stage::InsertDeadLetters, inserted).await?;
        hit(FailPoint::AfterDeliveries);

        self.readiness.ready(CLICKHOUSE);
        self.metrics.decoded.inc_by(folded.deliveries.len() as u64);
        self.metrics.invalid_fields.inc_by(folded.invalid_fields);
        rejections.extend(without_facts);
        rejections.extend(refused_deliveries.iter().map(Rejection::of_delivery));
        let published = self.publish(&rejections, batch, already_published, &mut stopped, cancel);
        let dead_letters_published = stages.time_async(Stage::Publish, published).await?;
        self.observe(batch, began);
        let dirty = folded.jobs.iter().map(|job| job.key.created_hour).collect();
        stopped.values_mut().for_each(|offsets| offsets.sort_unstable());
        let ranges = stopped::ranges_around(batch, &stopped);
        Ok(Written { ranges, dirty, stopped, dead_letters_published })
    }

    async fn insert_deliveries<'r, 'b>(
        &self,
        batch: &'r Batch,
        folded: &'r Folded<'b>,
        without_facts: &[Rejection<'_>],
        cancel: &CancellationToken,
    ) -> Result<Vec<RefusedRow<'r, Delivery<'b>>>, NotWritten> {
        let without_facts: HashSet<_> =
            without_facts.iter().map(|rejection| rejection.position().key_order()).collect();
        // The table sorts by log id before it sorts by topic.
        let mut topics: Vec<_> =
            folded.deliveries.chunk_by(|a, b| a.row.position.topic == b.row.position.topic).collect();
        let log_ids = self.log_watch.log_ids();
        topics.sort_by_key(|rows| rows.first().map(|delivery| log_ids.of(delivery.row.position.topic)));
        let with_facts =
            topics.into_iter().flatten().filter(|delivery| !without_facts.contains(&delivery.row.position.key_order()));
        let blocks = partitions::blocks(with_facts, |delivery| i64::from(delivery.row.signed_at.0));
        let (topics, log_ids) = (&self.topics, self.log_watch.log_ids());
        self.tables
            .insert(Table::Deliveries, blocks, |rows| columns::deliveries(rows, batch, topics, log_ids), cancel)
            .await
    }

    /// Publishes the dead letters of a batch, last of all: what ClickHouse refuses is known only then. A crash before
    /// the commit repeats the batch, and may publish some of them twice.
    async fn publish(
        &mut self,
        rejections: &[Rejection<'_>],
        batch: &Batch,
        already_published: &HashSet<String>,
        stopped: &mut StoppedRecords,
        cancel: &CancellationToken,
    ) -> Result<u64, Cancelled> {
        let mut published = 0;
        for rejection in rejections {
            let message = rejection.message(batch, &self.topics, self.log_watch.log_ids());
            if already_published.contains(&message.origin) {
                continue;
            }
            if let Rejection::RefusedByTable { table, code, .. } = rejection {
                let (table, position) = (table.as_str(), &message.origin);
                tracing::error!(table, code, position, "ClickHouse refuses a record; it becomes a dead letter");
            }
            let cut = || rejection.message_cut(batch, &self.topics, self.log_watch.log_ids());
            if let Err(error) = self.publish_whole_or_cut(&message, cut, cancel).await? {
                let why = format!(
                    "the dead letter of {} cannot be published, so its partition stops: {error}",
                    message.origin
                );
                tracing::error!(origin = message.origin, %error, "a dead letter cannot be published: the partition of its record stops until the dead-letter topic takes it");
                self.readiness.not_ready(DEAD_LETTER_TOPIC, why);
                let position = rejection.position();
                stopped.entry((position.topic, position.partition)).or_default().push(position.offset);
                let cut = cut().keep();
                self.stopped.add_letter(StoppedLetter { position, whole: message.keep(), cut });
                continue;
            }
            published += 1;
        }
        Ok(published)
    }

    /// Publishes a dead letter without its body if the topic does not take it whole.
    async fn publish_whole_or_cut<'m>(
        &self,
        message: &DeadLetterMessage<'_>,
        cut: impl FnOnce() -> DeadLetterMessage<'m>,
        cancel: &CancellationToken,
    ) -> Result<Result<(), PublishError>, Cancelled> {
        let waiting = |error: &PublishError| self.readiness.not_ready(DEAD_LETTER_TOPIC, error.to_string());
        let published = match self.dead_letter_producer.publish(message, cancel, waiting).await? {
            Err(error) if error.remedy() == PublishRemedy::Cut => {
                let (cut, bytes) = (cut(), message.body.len());
                tracing::warn!(origin = cut.origin, bytes, %error, "a dead letter is too large for its topic and is published without its body");
                self.dead_letter_producer.publish(&cut, cancel, waiting).await?
            }
            result => result,
        };
        if published.is_ok() {
            self.readiness.ready(DEAD_LETTER_TOPIC);
            self.metrics.dead_lettered.with_label_values(&[message.reason.as_str()]).inc();
        }
        Ok(published)
    }

    /// Inserts dead letters; those that are refused in every form stop their partitions.
    async fn insert_dead_letters(
        &mut self,
        dead_letters: &[DeadLetterRow],
        cancel: &CancellationToken,
    ) -> Result<StoppedRecords, NotWritten> {
        let refused = self.insert_with_or_without_payload(dead_letters, cancel).await?;
        let mut stopped = StoppedRecords::new();
        for (row, text) in refused {
            let named = row.position.named(&self.topics);
            tracing::error!(position = %named, error = text, "ClickHouse refuses a dead letter even without its payload: its partition stops until the table takes it");
            stopped.entry((row.position.topic, row.position.partition)).or_default().push(row.position.offset);
            self.stopped.add_row(row);
        }
        Ok(stopped)
    }

    /// Inserts a refused dead letter once more without its payload; returns those that are refused even so, with the reason.
    async fn insert_with_or_without_payload<'r>(
        &self,
        dead_letters: &'r [DeadLetterRow],
        cancel: &CancellationToken,
    ) -> Result<Vec<(&'r DeadLetterRow, String)>, NotWritten> {
        let refused = self.insert_rows_of_dead_letters(dead_letters, cancel).await?;
        let without_payload: Vec<_> = refused.iter().map(|refused| refused.row.without_payload()).collect();
        let refused = self.insert_rows_of_dead_letters(&without_payload, cancel).await?;
        let mut reasons: BTreeMap<_, _> =
            refused.into_iter().map(|refused| (refused.row.position.key_order(), refused.text)).collect();
        let whole = |row: &'r DeadLetterRow| Some((row, reasons.remove(&row.position.key_order())?));
        Ok(dead_letters.iter().filter_map(whole).collect())
    }

    async fn insert_rows_of_dead_letters<'r>(
        &self,
        rows: &'r [DeadLetterRow],
        cancel: &CancellationToken,
    ) -> Result<Vec<RefusedRow<'r, DeadLetterRow>>, NotWritten> {
        let blocks = partitions::blocks(rows.iter(), |row| row.received_at.0.div_euclid(1000));
        let (topics, log_ids) = (&self.topics, self.log_watch.log_ids());
        self.tables
            .insert(Table::DeadLetters, blocks, |rows| columns::dead_letters(rows, topics, log_ids), cancel)
            .await
    }

    fn observe(&self, batch: &Batch, began: Instant) {
        self.metrics.batch_records.observe(batch.len() as f64);
        self.metrics.batch_seconds.observe(began.elapsed().as_secs_f64());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if let Some(oldest) = batch.rows.iter().map(|row| row.signed_at).min() {
            self.metrics.end_to_end_latency_seconds.observe((now - f64::from(oldest.0)).max(0.0));
        }
    }
}
