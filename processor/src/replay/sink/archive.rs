//! Writes the facts of archived records. Their deliveries stand in the archive already: only those whose columns today's decoder
//! reads otherwise are written anew. Nothing here needs a broker, so that the archive alone is enough.

use hookline_schemas::time::CreatedHour;
use hookline_schemas::topics::{Topic, Topics};
use tokio::runtime::Handle;

use super::{PageWritten, Sink, Touched};
use crate::batch::Batch;
use crate::batch::fold::{Delivery, Folded};
use crate::clickhouse::columns::{self, CountedBy, Table};
use crate::clickhouse::partitions;
use crate::log_ids::LogIds;
use crate::replay::inspect::Inspector;
use crate::replay::plan::PartitionRange;
use crate::replay::progress::{LeftOut, Repaired};
use crate::replay::read::Shared;
use crate::replay::source::Page;
use crate::replay::source::archive::{digest_of, topic_of};
use crate::writer::NotWritten;
use crate::writer::insert::TableInserter;

pub struct ArchiveSink<'s> {
    pub tables: TableInserter,
    pub inspector: Inspector,
    pub shared: &'s Shared,
    pub runtime: Handle,
    /// Facts of earlier created hours have expired, or will with the next merge: the archive is kept longer than `jobs`.
    pub jobs_kept_since: CreatedHour,
}

impl Sink for ArchiveSink<'_> {
    fn begin(&mut self, _: &PartitionRange) -> anyhow::Result<()> {
        self.jobs_kept_since = self.runtime.block_on(self.inspector.jobs_kept_since())?;
        Ok(())
    }

    fn write(
        &mut self,
        part: &PartitionRange,
        page: &Page,
        batch: &Batch,
        folded: &Folded<'_>,
    ) -> anyhow::Result<PageWritten> {
        let topic = topic_of(part)?;
        for (row, error) in &folded.unreadable {
            let (offset, detail) = (row.position.offset.0, &error.detail);
            tracing::warn!(
                log_id = part.log_id,
                topic = part.topic,
                partition = part.partition.0,
                offset,
                detail,
                "an archived body cannot be decoded any more; its row of deliveries stays as it is"
            );
        }
        let runtime = self.runtime.clone();
        runtime.block_on(self.write_rows(part, topic, page, batch, folded))
    }
}

impl ArchiveSink<'_> {
    async fn write_rows(
        &self,
        part: &PartitionRange,
        topic: Topic,
        page: &Page,
        batch: &Batch,
        folded: &Folded<'_>,
    ) -> anyhow::Result<PageWritten> {
        let kept: Vec<_> = folded.jobs.iter().filter(|job| job.key.created_hour >= self.jobs_kept_since).collect();
        let missing = self.inspector.missing_facts(&kept).await?;
        let cancel = &self.shared.cancel;
        let _touched = Touched::new(self.shared, folded);
        let blocks = partitions::blocks(kept.iter().copied(), |job| job.key.created_hour.0);
        let refused_jobs =
            self.tables.insert(Table::Jobs, blocks, |rows| columns::jobs(rows, CountedBy::Nobody), cancel).await;
        let refused_jobs = refused_jobs.map_err(NotWritten::into_anyhow)?;
        for refused in &refused_jobs {
            let (job, code, error) = (refused.row.key.job_id.as_str(), refused.code, &refused.text);
            tracing::error!(job, code, error, "ClickHouse refuses the facts of an archived job");
        }
        let changed = changed_deliveries(page, folded);
        let (topics, log_ids) = (Topics::new(part.prefix())?, LogIds::of_topic(topic, &part.log_id));
        let blocks = partitions::blocks(changed.iter().copied(), |row| i64::from(row.row.signed_at.0));
        let refused = self
            .tables
            .insert(Table::Deliveries, blocks, |rows| columns::deliveries(rows, batch, &topics, &log_ids), cancel)
            .await
            .map_err(NotWritten::into_anyhow)?;
        for refused in &refused {
            let (position, code, error) = (refused.row.row.position.named(&topics), refused.code, &refused.text);
            tracing::error!(%position, code, error, "ClickHouse refuses the new columns of a delivery; its row stays as it is");
        }
        let repaired = Repaired {
            jobs: missing.absent,
            jobs_changed: missing.changed,
            deliveries_changed: (changed.len() - refused.len()) as u64,
            ..Repaired::default()
        };
        let left_out = LeftOut {
            unreadable: folded.unreadable.len() as u64 + page.damaged,
            refused: (refused_jobs.len() + refused.len()) as u64,
            ..LeftOut::default()
        };
        Ok(PageWritten { repaired, left_out, stopped: None })
    }
}

/// The deliveries whose stored columns are not those that today's decoder gives.
fn changed_deliveries<'f, 'b>(page: &Page, folded: &'f Folded<'b>) -> Vec<&'f Delivery<'b>> {
    let mut archived = page.archived.iter().peekable();
    let is_changed = |delivery: &&Delivery<'_>| {
        let offset = delivery.row.position.offset;
        while archived.next_if(|columns| columns.offset < offset).is_some() {}
        archived.peek().and_then(|columns| columns.digest) != Some(digest_of(delivery))
    };
    folded.deliveries.iter().filter(is_changed).collect()
}
