//! The tables' columns as blocks. A column is written under its name and type exactly once, here.

use hookline_schemas::topics::Topics;

use crate::batch::Batch;
use crate::batch::dead_letter::DeadLetterRow;
use crate::batch::fold::{Delivery, JobRow};
use crate::clickhouse::native::{Block, Encoded, Millis, Seconds};

/// A table that the processor fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Facts.
    Jobs,
    /// Receipts.
    Deliveries,
    /// Dead dead_letters.
    DeadLetters,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 3] = [Self::Jobs, Self::Deliveries, Self::DeadLetters];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Deliveries => "deliveries",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// Name and type of each column that is written.
    pub fn columns(self) -> Vec<(String, String)> {
        let topics = || Topics::new(Topics::DEFAULT_PREFIX);
        let columns = match self {
            Self::Jobs => Ok(jobs(&[]).columns),
            Self::Deliveries => topics().map(|topics| deliveries(&[], &Batch::default(), &topics, "").columns),
            Self::DeadLetters => topics().map(|topics| dead_letters(&[], &topics, "").columns),
        };
        columns.unwrap_or_default()
    }
}

/// Rows of `jobs`.
pub fn jobs<'t>(rows: &[&JobRow<'_>]) -> Encoded<'t> {
    let mut block = Block::new(21, rows.len());
    let facts = || rows.iter().map(|row| &row.facts);
    block.low_cardinality("source", rows.iter().map(|row| row.key.source));
    block.low_cardinality("resource", rows.iter().map(|row| row.key.resource.as_str()));
    block.numbers("created_hour", rows.iter().map(|row| Seconds::from(row.key.created_hour)));
    block.texts("job_id", rows.iter().map(|row| row.key.job_id.as_str().as_bytes()));
    block.numbers("created_at", facts().map(|facts| Millis::from(facts.created_at)));
    block.low_cardinality("job_type", facts().map(|facts| &*facts.job_type));
    block.nullable("width", facts().map(|facts| facts.width));
    block.nullable("height", facts().map(|facts| facts.height));
    block.nullable("media_seconds", facts().map(|facts| facts.media_seconds));
    block.nullable("image_count", facts().map(|facts| facts.image_count));
    block.nullable("started_at", facts().map(|facts| facts.started_at.map(Millis::from)));
    block.nullable("completed_at", facts().map(|facts| facts.completed_at.map(Millis::from)));
    block.nullable("errored_at", facts().map(|facts| facts.errored_at.map(Millis::from)));
    block.texts("error", facts().map(|facts| facts.error.as_bytes()));
    block.nullable("credits_estimated", facts().map(|facts| facts.credits_estimated));
    block.nullable("credits_completed", facts().map(|facts| facts.credits_completed));
    block.nullable("credits_errored", facts().map(|facts| facts.credits_errored));
    block.nullable("fps", facts().map(|facts| facts.fps));
    block.numbers("first_received_at", facts().map(|facts| Millis::from(facts.first_received_at)));
    block.numbers("last_received_at", facts().map(|facts| Millis::from(facts.last_received_at)));
    block.numbers("fold_version", facts().map(|facts| facts.fold_version));
    block.finish()
}

/// Rows of `deliveries`.
pub fn deliveries<'b>(rows: &'b [&Delivery<'_>], batch: &'b Batch, topics: &Topics, log_id: &str) -> Encoded<'b> {
    let mut block = Block::new(17, rows.len());
    let records = || rows.iter().map(|row| row.row);
    block.low_cardinality("log_id", rows.iter().map(|_| log_id));
    block.low_cardinality("topic", records().map(|row| row.position.topic.name(topics)));
    block.numbers("partition", records().map(|row| row.position.partition.0));
    block.numbers("offset", records().map(|row| row.position.offset.0));
    block.low_cardinality("source", records().map(|row| batch.source(row)));
    block.low_cardinality("resource", rows.iter().map(|row| row.event_type.resource.as_str()));
    block.low_cardinality("action", rows.iter().map(|row| row.event_type.action.as_str()));
    block.texts("job_id", rows.iter().map(|row| row.job_id.as_str().as_bytes()));
    block.numbers("created_at", rows.iter().map(|row| Millis::from(row.created_at)));
    block.numbers("signed_at", records().map(|row| Seconds::from(row.signed_at)));
    block.texts("signed_at_text", records().map(|row| batch.signed_at_text(row)));
    block.nullable("first_signed_at", records().map(|row| row.first_signed_at.map(Seconds::from)));
    block.numbers("received_at", records().map(|row| Millis::from(row.received_at)));
    block.numbers("occurred_at", rows.iter().map(|row| Millis::from(row.occurred_at)));
    block.low_cardinality("key_name", records().map(|row| batch.key_name(row)));
    block.texts("signature", records().map(|row| row.signature.as_str().as_bytes()));
    block.finish_with_texts("body", rows.iter().map(|row| batch.body(row.row)))
}

/// Rows of `dead_letters`.
pub fn dead_letters<'t>(rows: &[&DeadLetterRow], topics: &Topics, log_id: &str) -> Encoded<'t> {
    let mut block = Block::new(16, rows.len());
    block.low_cardinality("log_id", rows.iter().map(|_| log_id));
    block.low_cardinality("topic", rows.iter().map(|row| row.position.topic.name(topics)));
    block.numbers("partition", rows.iter().map(|row| row.position.partition.0));
    block.numbers("offset", rows.iter().map(|row| row.position.offset.0));
    block.low_cardinality("source", rows.iter().map(|row| &*row.source));
    block.low_cardinality("reason", rows.iter().map(|row| row.reason.as_str()));
    block.texts("detail", rows.iter().map(|row| row.detail.as_bytes()));
    block.texts("origin", rows.iter().map(|row| row.origin.as_bytes()));
    block.low_cardinality("event_type", rows.iter().map(|row| &*row.event_type));
    block.texts("job_id", rows.iter().map(|row| row.job_id.as_bytes()));
    block.low_cardinality("key_name", rows.iter().map(|row| &*row.key_name));
    block.texts("signature", rows.iter().map(|row| row.signature.as_bytes()));
    block.texts("signed_at_text", rows.iter().map(|row| row.signed_at_text.as_bytes()));
    block.numbers("redrives", rows.iter().map(|row| row.redrives));
    block.numbers("received_at", rows.iter().map(|row| Millis::from(row.received_at)));
    block.texts("body", rows.iter().map(|row| &*row.body));
    block.finish()
}
