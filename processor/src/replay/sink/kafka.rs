//! Writes records of the topics as the live group would: every row, and the dead letters that it would publish.

use std::collections::HashSet;

use anyhow::Context as _;
use hookline_schemas::topics::Topic;
use tokio::runtime::Handle;

use super::{PageWritten, Sink, Touched};
use crate::batch::Batch;
use crate::batch::fold::Folded;
use crate::clickhouse::columns::Table;
use crate::replay::inspect::Inspector;
use crate::replay::plan::PartitionRange;
use crate::replay::progress::Repaired;
use crate::replay::read::Shared;
use crate::replay::source::Page;
use crate::writer::{NotWritten, Writer};

pub struct KafkaSink<'s> {
    pub writer: Writer,
    pub inspector: Inspector,
    pub shared: &'s Shared,
    /// Records with a dead letter that the table does not tell of.
    pub published: &'s HashSet<String>,
    /// Those of the part with any dead letter: none is published again for these.
    pub already_published: HashSet<String>,
    pub dead_letter_log_id: String,
    pub runtime: Handle,
}

impl Sink for KafkaSink<'_> {
    fn begin(&mut self, part: &PartitionRange) -> anyhow::Result<()> {
        self.already_published =
            self.runtime.block_on(self.inspector.published_origins(part, &self.dead_letter_log_id))?;
        self.already_published.extend(self.published.iter().cloned());
        Ok(())
    }

    fn write(
        &mut self,
        part: &PartitionRange,
        page: &Page,
        batch: &Batch,
        folded: &Folded<'_>,
    ) -> anyhow::Result<PageWritten> {
        let topic = Topic::named(&part.topic, &self.shared.topics)
            .context("this is no topic of the configured prefix, kafka.topic_prefix")?;
        let table = match topic {
            Topic::Resource(_) => Table::Deliveries,
            Topic::DeadLetter => Table::DeadLetters,
        };
        let runtime = self.runtime.clone();
        let mut repaired = Repaired { expired: page.expired, ..Repaired::default() };
        let written = runtime.block_on(async {
            let present = self.inspector.present(table, part).await?;
            let missing = self.inspector.missing_facts(&folded.jobs.iter().collect::<Vec<_>>()).await?;
            (repaired.jobs, repaired.jobs_changed) = (missing.absent, missing.changed);
            let cancel = &self.shared.cancel;
            let _touched = Touched::new(self.shared, folded);
            // Also where nothing was read: the records of the plan may have gone together with their topic.
            let written = match self.writer.verify_logs(&[topic], cancel).await {
                Ok(()) => self.writer.write(batch, folded, &self.already_published, cancel).await,
                Err(error) => Err(error),
            };
            let written = written.map_err(NotWritten::into_anyhow)?;
            if present < batch.len() as u64 {
                let inserted = self.inspector.present(table, part).await?.saturating_sub(present);
                match table {
                    Table::DeadLetters => repaired.dead_letters = inserted,
                    Table::Jobs | Table::JobsRebuild | Table::Deliveries => repaired.deliveries = inserted,
                }
            }
            anyhow::Ok(written)
        })?;
        repaired.dead_letters += written.dead_letters_published;
        let stopped = written.stopped.into_values().flatten().min();
        if stopped.is_some() {
            // The records behind it are read again when the replay is continued.
            repaired.expired = 0;
            self.writer.forget_stopped_partitions();
        }
        Ok(PageWritten { repaired, stopped, ..PageWritten::default() })
    }
}
