//! Writes a batch: `jobs`, then `deliveries` and `dead_letters`, so that the row of a delivery implies its facts. Waits out
//! what passes, and finds the records that are to blame for what does not.

pub mod rollup;
pub mod thread;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::record::DeadLetter;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Offset, Partition, Topic, Topics};
use hookline_service::admin::Readiness;
use hookline_service::shutdown::CancellationToken;

use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::fold::{Delivery, Folded, JobRow};
use crate::batch::{Batch, PartitionOffsets};
use crate::clickhouse::columns::{self, Table};
use crate::clickhouse::error::{Operation, Remedy};
use crate::clickhouse::inserter::{ClickHouse, InsertError};
use crate::clickhouse::native::Encoded;
use crate::clickhouse::partitions;
use crate::dead_letter_producer::{DeadLetterProducer, Rejected};
use crate::fail_point::{FailPoint, hit};
use crate::metrics::Metrics;
use crate::metrics::jobs::JobMetrics;
use crate::retry::{Cancelled, until_cancelled};

/// The part of readiness that ClickHouse is.
pub const CLICKHOUSE: &str = "clickhouse";

/// Where batches go.
pub struct Writer {
    /// The tables.
    pub clickhouse: ClickHouse,
    /// The dead-letter topic.
    pub post: DeadLetterProducer,
    /// Names of topics.
    pub topics: Topics,
    /// The Kafka cluster's id.
    pub log_id: Arc<str>,
    /// What the machinery did.
    pub metrics: Metrics,
    /// What became of jobs; a replay counts none.
    pub job_metrics: Option<JobMetrics>,
    /// Where a long wait shows.
    pub readiness: Readiness,
    /// Partitions that cannot go on, and the record that stopped them.
    pub stopped: BTreeMap<(Topic, Partition), Offset>,
}

/// What a written batch leaves to do.
#[derive(Debug, Default)]
pub struct Written {
    /// How far every partition of it may be committed.
    pub positions: PartitionOffsets,
    /// Created hours whose roll-up is no longer right.
    pub dirty: BTreeSet<CreatedHour>,
}

impl Written {
    /// And what the next batch leaves.
    pub fn append(&mut self, mut next: Self) {
        self.positions.append(&mut next.positions);
        self.dirty.append(&mut next.dirty);
    }
}

impl Writer {
    /// Writes all of a batch. Nothing of it may be committed unless this succeeds.
    pub async fn write(
        &mut self,
        batch: &Batch,
        folded: &Folded<'_>,
        cancel: &CancellationToken,
    ) -> Result<Written, Cancelled> {
        let began = Instant::now();
        self.metrics.decoded.inc_by(folded.deliveries.len() as u64);
        self.metrics.invalid_fields.inc_by(folded.invalid_fields);
        self.reject_unreadable(batch, folded, cancel).await?;
        let dirty = folded.jobs.iter().map(|job| job.key.created_hour).collect();

        let blocks = partitions::blocks(folded.jobs.iter(), |job| job.key.created_hour.0);
        let guilty_jobs = self.insert(Table::Jobs, blocks, |rows| columns::jobs(rows), cancel).await?;
        hit(FailPoint::AfterJobs);

        let guilty = self.reject_jobs(batch, folded, &guilty_jobs, cancel).await?;
        let innocent = folded.deliveries.iter().filter(|delivery| !guilty.contains(&delivery.row.position.key_order()));
        let blocks = partitions::blocks(innocent, |delivery| i64::from(delivery.row.signed_at.0));
        let refused = self
            .insert(
                Table::Deliveries,
                blocks,
                |rows| columns::deliveries(rows, batch, &self.topics, &self.log_id),
                cancel,
            )
            .await?;
        for (delivery, refusal) in refused {
            self.reject(batch, delivery, Table::Deliveries, &refusal, cancel).await?;
        }
        self.write_letters(&batch.dead_letters, cancel).await?;
        hit(FailPoint::AfterDeliveries);

        self.readiness.ready(CLICKHOUSE);
        self.observe(batch, began);
        if let Some(job_metrics) = &mut self.job_metrics {
            let is_in = |job: &&JobRow<'_>| !guilty_jobs.iter().any(|(refused, _)| refused.key == job.key);
            job_metrics.count(folded.jobs.iter().filter(is_in));
        }
        Ok(Written { positions: self.committable(batch), dirty })
    }

    /// Inserts blocks; returns the rows that ClickHouse refuses whatever stands beside them.
    async fn insert<'r, T>(
        &self,
        table: Table,
        blocks: Vec<Vec<&'r T>>,
        encode: impl for<'e> Fn(&'e [&'r T]) -> Encoded<'e>,
        cancel: &CancellationToken,
    ) -> Result<Vec<(&'r T, InsertError)>, Cancelled> {
        let mut guilty = Vec::new();
        let mut todo = blocks;
        while let Some(mut rows) = todo.pop() {
            let Some(first) = rows.first().copied() else { continue };
            let retry = |error: &InsertError| {
                let cause = error.cause.as_str();
                self.metrics.insert_retries.with_label_values(&[table.as_str(), cause]).inc();
                let retry = error.cause.remedy(Operation::Insert { rows: rows.len() }) == Remedy::Retry;
                if retry {
                    tracing::warn!(table = table.as_str(), cause, %error, "insert failed, trying again");
                    self.readiness.not_ready(CLICKHOUSE, error.text.clone());
                }
                retry
            };
            let insert = async || self.clickhouse.insert(table, encode(&rows)).await;
            match until_cancelled(cancel, insert, retry).await? {
                Ok(()) => self.metrics.inserted.with_label_values(&[table.as_str()]).inc_by(rows.len() as u64),
                Err(_) if rows.len() > 1 => {
                    let half = rows.split_off(rows.len() / 2);
                    todo.extend([half, rows]);
                }
                Err(error) => guilty.push((first, error)),
            }
        }
        Ok(guilty)
    }

    /// Records that nobody can read go to the dead-letter topic.
    async fn reject_unreadable(
        &self,
        batch: &Batch,
        folded: &Folded<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        for record in &batch.unattributed {
            self.posted(DeadLetterReason::BadRecord, cancel, || self.post.reject_foreign(record, &self.topics)).await?;
        }
        for (row, refusal) in &folded.refused {
            let origin = row.position.named(&self.topics).to_string();
            let rejected = Rejected {
                metadata: batch.metadata(row),
                event_type: refusal.event_type,
                job_id: refusal.job_id.as_ref().map_or("", |id| id.as_str()),
                body: batch.body(row),
                dead: DeadLetter { reason: refusal.reason, detail: &refusal.detail, origin: &origin, redrives: 0 },
            };
            self.posted(refusal.reason, cancel, || self.post.reject(&rejected)).await?;
        }
        Ok(())
    }

    /// The deliveries behind rows of `jobs` that were refused go to the dead-letter topic; returns where they lie.
    async fn reject_jobs(
        &self,
        batch: &Batch,
        folded: &Folded<'_>,
        guilty: &[(&JobRow<'_>, InsertError)],
        cancel: &CancellationToken,
    ) -> Result<HashSet<(u8, Partition, Offset)>, Cancelled> {
        let mut places = HashSet::new();
        for (job, refusal) in guilty {
            for delivery in folded.deliveries.iter().filter(|delivery| delivery.is_about(&job.key, batch)) {
                self.reject(batch, delivery, Table::Jobs, refusal, cancel).await?;
                places.insert(delivery.row.position.key_order());
            }
        }
        Ok(places)
    }

    async fn reject(
        &self,
        batch: &Batch,
        delivery: &Delivery<'_>,
        table: Table,
        refusal: &InsertError,
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        let position = delivery.row.position.named(&self.topics);
        let code = refusal.cause.code().unwrap_or_default();
        tracing::error!(table = table.as_str(), code, %position, "ClickHouse refuses a record");
        let (detail, origin) = (format!("table {} code {code}", table.as_str()), position.to_string());
        let rejected = Rejected {
            metadata: batch.metadata(delivery.row),
            event_type: Some(delivery.event_type),
            job_id: delivery.job_id.as_str(),
            body: batch.body(delivery.row),
            dead: DeadLetter { reason: DeadLetterReason::InsertRefused, detail: &detail, origin: &origin, redrives: 0 },
        };
        self.posted(DeadLetterReason::InsertRefused, cancel, || self.post.reject(&rejected)).await
    }

    /// Sends a dead letter until the brokers have it.
    async fn posted<F: Future<Output = Result<(), rdkafka::error::KafkaError>>>(
        &self,
        reason: DeadLetterReason,
        cancel: &CancellationToken,
        send: impl Fn() -> F,
    ) -> Result<(), Cancelled> {
        let retry = |error: &rdkafka::error::KafkaError| {
            tracing::warn!(%error, "a dead letter could not be sent, trying again");
            true
        };
        let _ = until_cancelled(cancel, async || send().await, retry).await?;
        self.metrics.dead_lettered.with_label_values(&[reason.as_str()]).inc();
        Ok(())
    }

    /// A dead letter that is refused goes in without body and detail; if even that fails, its partition stops.
    async fn write_letters(
        &mut self,
        dead_letters: &[DeadLetterRow],
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        let guilty = self.insert_letters(dead_letters, cancel).await?;
        let without_payload: Vec<DeadLetterRow> = guilty.iter().map(|(letter, _)| letter.without_payload()).collect();
        let refused = self.insert_letters(&without_payload, cancel).await?;
        let stops: Vec<_> = refused.into_iter().map(|(letter, refusal)| (letter.position, refusal)).collect();
        for (position, refusal) in stops {
            let named = position.named(&self.topics);
            tracing::error!(position = %named, error = %refusal, "a dead letter is refused even without its body: its partition stops");
            let partition = position.partition.0.to_string();
            self.metrics.partition_stopped.with_label_values(&[named.topic, &partition]).set(1);
            let at = self.stopped.entry((position.topic, position.partition)).or_insert(position.offset);
            *at = (*at).min(position.offset);
        }
        Ok(())
    }

    async fn insert_letters<'r>(
        &self,
        dead_letters: &'r [DeadLetterRow],
        cancel: &CancellationToken,
    ) -> Result<Vec<(&'r DeadLetterRow, InsertError)>, Cancelled> {
        let blocks = partitions::blocks(dead_letters.iter(), |letter| letter.received_at.0.div_euclid(1000));
        self.insert(Table::DeadLetters, blocks, |rows| columns::dead_letters(rows, &self.topics, &self.log_id), cancel)
            .await
    }

    /// A stopped partition is not committed beyond the record that stopped it.
    fn committable(&self, batch: &Batch) -> PartitionOffsets {
        let mut positions = batch.positions.clone();
        for (key, progress) in &mut positions {
            if let Some(stop) = self.stopped.get(key) {
                progress.next = progress.next.min(*stop);
            }
        }
        positions
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
