//! The rows of each table as a block. The name and type of a column are written here and in `schemas/tables/`; a test
//! compares the two.

use hookline_schemas::fact_columns;
use hookline_schemas::topics::Topics;

use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::fold::{Delivery, JobRow};
use crate::clickhouse::native::{Block, Encoded};
use crate::log_ids::LogIds;
use crate::metrics::jobs::TerminalEvents;

/// A table that the processor fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    Jobs,
    Deliveries,
    DeadLetters,
    /// The table that a rebuild makes of `jobs`; once the two are exchanged, the one that was `jobs`.
    JobsRebuild,
}

impl Table {
    /// The tables that the live processor and a replay fill.
    pub const ALL: [Self; 3] = [Self::Jobs, Self::Deliveries, Self::DeadLetters];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Deliveries => "deliveries",
            Self::DeadLetters => "dead_letters",
            Self::JobsRebuild => "jobs_rebuild",
        }
    }

    /// Name and type of each column that is inserted.
    pub fn columns(self) -> Vec<(String, String)> {
        let (topics, log_ids) = (|| Topics::new(Topics::DEFAULT_PREFIX), LogIds::default());
        let columns = match self {
            Self::Jobs | Self::JobsRebuild => Ok(jobs(&[], CountedBy::Nobody).columns),
            Self::Deliveries => topics().map(|topics| deliveries(&[], &Batch::default(), &topics, &log_ids).columns),
            Self::DeadLetters => topics().map(|topics| dead_letters(&[], &topics, &log_ids).columns),
        };
        columns.unwrap_or_default()
    }
}

/// Who counts the jobs of the rows that are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// The process that inserts them, which consumes for the group.
    Inserter,
    /// A replay counts nothing: the group counts a job when it consumes the job's end, before or after the replay.
    Nobody,
}

/// Encodes rows of `jobs`: the columns of the key, those of the facts as [`fact_columns`] lists them, and the terminal events that
/// whoever inserts the rows counts.
pub fn jobs<'t>(rows: &[&JobRow<'_>], counted: CountedBy) -> Encoded<'t> {
    macro_rules! value {
        (texts, $field:expr) => {
            $field.as_bytes()
        };
        (low_cardinality, $field:expr) => {
            &*$field
        };
        ($kind:ident, $field:expr) => {
            $field
        };
    }
    let mut block = Block::new(rows.len());
    macro_rules! write_facts {
        ($($(#[$doc:meta])* $name:ident: $type:ty, $kind:ident, $join:ident;)*) => {$(
            block.$kind(stringify!($name), rows.iter().map(|row| value!($kind, row.facts.$name)));
        )*};
    }
    block.low_cardinality("source", rows.iter().map(|row| row.key.source));
    block.low_cardinality("resource", rows.iter().map(|row| row.key.resource.as_str()));
    block.numbers("created_hour", rows.iter().map(|row| row.key.created_hour));
    block.texts("job_id", rows.iter().map(|row| row.key.job_id.as_str().as_bytes()));
    fact_columns!(write_facts);
    block.numbers(
        "counted_ends",
        rows.iter().map(|row| match counted {
            CountedBy::Inserter => TerminalEvents::of(&row.facts).bits(),
            CountedBy::Nobody => 0,
        }),
    );
    block.finish()
}

/// Encodes rows of `deliveries`. Their bodies are copied only while the block is sent.
pub fn deliveries<'b>(rows: &'b [&Delivery<'_>], batch: &'b Batch, topics: &Topics, log_ids: &LogIds) -> Encoded<'b> {
    let mut block = Block::new(rows.len());
    let records = || rows.iter().map(|row| row.row);
    block.low_cardinality("log_id", records().map(|row| log_ids.of(row.position.topic)));
    block.low_cardinality("topic", records().map(|row| row.position.topic.name(topics)));
    block.numbers("partition", records().map(|row| row.position.partition.0));
    block.numbers("offset", records().map(|row| row.position.offset.0));
    block.low_cardinality("source", records().map(|row| batch.source(row)));
    block.low_cardinality("resource", rows.iter().map(|row| row.event_type.resource.as_str()));
    block.low_cardinality("action", rows.iter().map(|row| row.event_type.action.as_str()));
    block.texts("job_id", rows.iter().map(|row| row.job_id.as_str().as_bytes()));
    block.numbers("created_at", rows.iter().map(|row| row.created_at));
    block.numbers("signed_at", records().map(|row| row.signed_at));
    block.texts("signed_at_text", records().map(|row| batch.signed_at_text(row)));
    block.nullable("first_signed_at", records().map(|row| row.first_signed_at));
    block.numbers("received_at", records().map(|row| row.received_at));
    block.numbers("occurred_at", rows.iter().map(|row| row.occurred_at));
    block.low_cardinality("key_name", records().map(|row| batch.key_name(row)));
    block.texts("signature", records().map(|row| row.signature.as_str().as_bytes()));
    block.finish_with_texts("body", rows.iter().map(|row| batch.body(row.row)))
}

/// Encodes rows of `dead_letters` as one block.
pub fn dead_letters<'t>(rows: &[&DeadLetterRow], topics: &Topics, log_ids: &LogIds) -> Encoded<'t> {
    let mut block = Block::new(rows.len());
    block.low_cardinality("log_id", rows.iter().map(|row| log_ids.of(row.position.topic)));
    block.low_cardinality("topic", rows.iter().map(|row| row.position.topic.name(topics)));
    block.numbers("partition", rows.iter().map(|row| row.position.partition.0));
    block.numbers("offset", rows.iter().map(|row| row.position.offset.0));
    block.low_cardinality("source", rows.iter().map(|row| &*row.source));
    block.low_cardinality("reason", rows.iter().map(|row| row.reason.as_str()));
    block.texts("detail", rows.iter().map(|row| row.detail.as_bytes()));
    block.texts("origin", rows.iter().map(|row| row.origin.as_bytes()));
    block.low_cardinality("origin_log_id", rows.iter().map(|row| &*row.origin_log_id));
    block.low_cardinality("event_type", rows.iter().map(|row| &*row.event_type));
    block.texts("job_id", rows.iter().map(|row| row.job_id.as_bytes()));
    block.low_cardinality("key_name", rows.iter().map(|row| &*row.key_name));
    block.texts("signature", rows.iter().map(|row| row.signature.as_bytes()));
    block.texts("signed_at_text", rows.iter().map(|row| row.signed_at_text.as_bytes()));
    block.nullable("first_signed_at", rows.iter().map(|row| row.first_signed_at));
    block.numbers("redrives", rows.iter().map(|row| row.redrives));
    block.numbers("received_at", rows.iter().map(|row| row.received_at));
    block.texts("body", rows.iter().map(|row| &*row.body));
    block.finish()
}

#[cfg(test)]
mod tests {
    use hookline_schemas::migrations::MIGRATIONS;

    use super::*;
    use crate::clickhouse::inserter::plain;

    /// Name and type of each column of a `CREATE TABLE`.
    fn declared(table: Table) -> Vec<(String, String)> {
        let migration = MIGRATIONS.iter().find(|migration| migration.name == table.as_str()).unwrap();
        let (_, columns) = migration.sql.split_once("\n(\n").unwrap();
        let (columns, _) = columns.split_once("\n)\n").unwrap();
        let columns = columns.lines().map(|line| line.trim().trim_end_matches(','));
        let columns = columns.filter(|line| !line.starts_with("INDEX ")).map(|line| line.split_once(' ').unwrap());
        let kind = |declared: &str| plain(declared.split(" CODEC").next().unwrap().split(" COMMENT").next().unwrap());
        columns.map(|(name, declared)| (name.into(), kind(declared))).collect()
    }

    #[test]
    fn every_table_has_the_columns_that_are_inserted() {
        for table in Table::ALL {
            assert_eq!(table.columns(), declared(table), "{table:?}");
        }
    }

    #[test]
    fn a_block_begins_with_the_numbers_of_its_columns_and_rows() {
        let mut block = jobs(&[], CountedBy::Inserter);
        let columns = block.columns.len();
        assert_eq!(block.next().unwrap()[..2], [columns as u8, 0]);
    }
}
