//! Writes a batch: `jobs`, then `deliveries` and `dead_letters`, so that the row of a delivery implies its facts. Waits out
//! what passes, and finds the records that are to blame for what does not.

pub mod rollup;
pub mod thread;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hookline_schemas::dead::Reason;
use hookline_schemas::record::DeadLetter;
use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Offset, Partition, Topics};
use hookline_service::admin::Readiness;
use hookline_service::shutdown::CancellationToken;

use crate::batch::dead_letter::Letter;
use crate::batch::fold::{Delivery, Folded, JobRow};
use crate::batch::position::Topic;
use crate::batch::{Batch, Positions};
use crate::clickhouse::columns::{self, Table};
use crate::clickhouse::error::Remedy;
use crate::clickhouse::inserter::{Refusal, Sink};
use crate::clickhouse::native::Encoded;
use crate::clickhouse::partitions;
use crate::dead_letter_producer::{Post, Rejected};
use crate::fail_point::{Fault, pass};
use crate::metrics::Metrics;
use crate::metrics::jobs::Business;
use crate::retry::{CalledOff, Patience};

/// The part of readiness that ClickHouse is.
pub const CLICKHOUSE: &str = "clickhouse";

/// Where batches go.
pub struct Writer {
    /// The tables.
    pub sink: Sink,
    /// The dead-letter topic.
    pub post: Post,
    /// Names of topics.
    pub topics: Topics,
    /// The Kafka cluster's id.
    pub log_id: Arc<str>,
    /// What the machinery did.
    pub metrics: Metrics,
    /// What became of jobs; a replay counts none.
    pub business: Option<Business>,
    /// Where a long wait shows.
    pub readiness: Readiness,
    /// Partitions that cannot go on, and the record that stopped them.
    pub stopped: BTreeMap<(Topic, Partition), Offset>,
}

/// What a written batch leaves to do.
#[derive(Debug, Default)]
pub struct Written {
    /// How far every partition of it may be committed.
    pub positions: Positions,
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
        give_up: &CancellationToken,
    ) -> Result<Written, CalledOff> {
        let began = Instant::now();
        self.metrics.decoded.inc_by(folded.deliveries.len() as u64);
        self.metrics.wrong_types.inc_by(folded.wrong_types);
        self.reject_unreadable(batch, folded, give_up).await?;
        let dirty = folded.jobs.iter().map(|job| job.key.created_hour).collect();

        let blocks = partitions::blocks(folded.jobs.iter(), |job| job.key.created_hour.0);
        let guilty_jobs = self.insert(Table::Jobs, blocks, |rows| columns::jobs(rows), give_up).await?;
        pass(Fault::AfterJobs);

        let guilty = self.reject_jobs(batch, folded, &guilty_jobs, give_up).await?;
        let innocent = folded.deliveries.iter().filter(|delivery| !guilty.contains(&delivery.row.place.key_order()));
        let blocks = partitions::blocks(innocent, |delivery| i64::from(delivery.row.signed_at.0));
        let refused = self
            .insert(
                Table::Deliveries,
                blocks,
                |rows| columns::deliveries(rows, batch, &self.topics, &self.log_id),
                give_up,
            )
            .await?;
        for (delivery, refusal) in refused {
            self.reject(batch, delivery, Table::Deliveries, &refusal, give_up).await?;
        }
        self.write_letters(&batch.letters, give_up).await?;
        pass(Fault::AfterDeliveries);

        self.readiness.ready(CLICKHOUSE);
        self.observe(batch, began);
        if let Some(business) = &mut self.business {
            let is_in = |job: &&JobRow<'_>| !guilty_jobs.iter().any(|(refused, _)| refused.key == job.key);
            business.count(folded.jobs.iter().filter(is_in));
        }
        Ok(Written { positions: self.committable(batch), dirty })
    }

    /// Inserts blocks; returns the rows that ClickHouse refuses whatever stands beside them.
    async fn insert<'r, T>(
        &self,
        table: Table,
        blocks: Vec<Vec<&'r T>>,
        encode: impl for<'e> Fn(&'e [&'r T]) -> Encoded<'e>,
        give_up: &CancellationToken,
    ) -> Result<Vec<(&'r T, Refusal)>, CalledOff> {
        let mut guilty = Vec::new();
        let mut todo = blocks;
        while let Some(mut rows) = todo.pop() {
            let Some(first) = rows.first().copied() else { continue };
            let mut patience = Patience::until(give_up);
            loop {
                let Err(refusal) = patience.or_give_up(self.sink.insert(table, encode(&rows))).await? else {
                    self.metrics.inserted.with_label_values(&[table.as_str()]).inc_by(rows.len() as u64);
                    break;
                };
                let cause = refusal.cause;
                self.metrics.insert_retries.with_label_values(&[table.as_str(), cause.as_str()]).inc();
                match cause.remedy() {
                    Remedy::Halve | Remedy::Bisect if rows.len() > 1 => {
                        let half = rows.split_off(rows.len() / 2);
                        todo.extend([half, rows]);
                        break;
                    }
                    Remedy::Bisect => {
                        guilty.push((first, refusal));
                        break;
                    }
                    Remedy::Retry | Remedy::Wait | Remedy::Halve => {
                        tracing::warn!(table = table.as_str(), cause = cause.as_str(), error = %refusal, "insert failed, trying again");
                        self.readiness.not_ready(CLICKHOUSE, refusal.text);
                        patience.wait().await?;
                    }
                }
            }
        }
        Ok(guilty)
    }

    /// Records that nobody can read go to the dead-letter topic.
    async fn reject_unreadable(
        &self,
        batch: &Batch,
        folded: &Folded<'_>,
        give_up: &CancellationToken,
    ) -> Result<(), CalledOff> {
        for record in &batch.foreign {
            self.posted(Reason::BadRecord, give_up, || self.post.reject_foreign(record, &self.topics)).await?;
        }
        for (row, refusal) in &folded.refused {
            let origin = row.place.position(&self.topics).to_string();
            let rejected = Rejected {
                stamps: batch.stamps(row),
                event_type: refusal.event_type,
                job_id: refusal.job_id.as_ref().map_or("", |id| id.as_str()),
                body: batch.body(row),
                dead: DeadLetter { reason: refusal.reason, detail: &refusal.detail, origin: &origin, redrives: 0 },
            };
            self.posted(refusal.reason, give_up, || self.post.reject(&rejected)).await?;
        }
        Ok(())
    }

    /// The deliveries behind rows of `jobs` that were refused go to the dead-letter topic; returns where they lie.
    async fn reject_jobs(
        &self,
        batch: &Batch,
        folded: &Folded<'_>,
        guilty: &[(&JobRow<'_>, Refusal)],
        give_up: &CancellationToken,
    ) -> Result<HashSet<(u8, Partition, Offset)>, CalledOff> {
        let mut places = HashSet::new();
        for (job, refusal) in guilty {
            for delivery in folded.deliveries.iter().filter(|delivery| delivery.is_about(&job.key, batch)) {
                self.reject(batch, delivery, Table::Jobs, refusal, give_up).await?;
                places.insert(delivery.row.place.key_order());
            }
        }
        Ok(places)
    }

    async fn reject(
        &self,
        batch: &Batch,
        delivery: &Delivery<'_>,
        table: Table,
        refusal: &Refusal,
        give_up: &CancellationToken,
    ) -> Result<(), CalledOff> {
        let position = delivery.row.place.position(&self.topics);
        let code = refusal.cause.code().unwrap_or_default();
        tracing::error!(table = table.as_str(), code, %position, "ClickHouse refuses a record");
        let (detail, origin) = (format!("table {} code {code}", table.as_str()), position.to_string());
        let rejected = Rejected {
            stamps: batch.stamps(delivery.row),
            event_type: Some(delivery.event_type),
            job_id: delivery.job_id.as_str(),
            body: batch.body(delivery.row),
            dead: DeadLetter { reason: Reason::InsertRefused, detail: &detail, origin: &origin, redrives: 0 },
        };
        self.posted(Reason::InsertRefused, give_up, || self.post.reject(&rejected)).await
    }

    /// Sends a dead letter until the brokers have it.
    async fn posted<F: Future<Output = Result<(), rdkafka::error::KafkaError>>>(
        &self,
        reason: Reason,
        give_up: &CancellationToken,
        send: impl Fn() -> F,
    ) -> Result<(), CalledOff> {
        let mut patience = Patience::until(give_up);
        while let Err(error) = patience.or_give_up(send()).await? {
            tracing::warn!(%error, "a dead letter could not be sent, trying again");
            patience.wait().await?;
        }
        self.metrics.dead_lettered.with_label_values(&[reason.as_str()]).inc();
        Ok(())
    }

    /// A dead letter that is refused goes in without body and detail; if even that fails, its partition stops.
    async fn write_letters(&mut self, letters: &[Letter], give_up: &CancellationToken) -> Result<(), CalledOff> {
        let guilty = self.insert_letters(letters, give_up).await?;
        let bare: Vec<Letter> = guilty.iter().map(|(letter, _)| letter.bare()).collect();
        let refused = self.insert_letters(&bare, give_up).await?;
        let stops: Vec<_> = refused.into_iter().map(|(letter, refusal)| (letter.place, refusal)).collect();
        for (place, refusal) in stops {
            let position = place.position(&self.topics);
            tracing::error!(%position, error = %refusal, "a dead letter is refused even without its body: its partition stops");
            let partition = place.partition.0.to_string();
            self.metrics.partition_stopped.with_label_values(&[position.topic, &partition]).set(1);
            let at = self.stopped.entry((place.topic, place.partition)).or_insert(place.offset);
            *at = (*at).min(place.offset);
        }
        Ok(())
    }

    async fn insert_letters<'r>(
        &self,
        letters: &'r [Letter],
        give_up: &CancellationToken,
    ) -> Result<Vec<(&'r Letter, Refusal)>, CalledOff> {
        let blocks = partitions::blocks(letters.iter(), |letter| letter.received_at.0.div_euclid(1000));
        self.insert(Table::DeadLetters, blocks, |rows| columns::dead_letters(rows, &self.topics, &self.log_id), give_up)
            .await
    }

    /// A stopped partition is not committed beyond the record that stopped it.
    fn committable(&self, batch: &Batch) -> Positions {
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
            self.metrics.visible_seconds.observe((now - f64::from(oldest.0)).max(0.0));
        }
    }
}
