//! Reads the records of a part from the archive: rows of `deliveries` in the order of the table's key, page by page.

use std::hash::{BuildHasher as _, Hash};

use anyhow::Context as _;
use clickhouse::{Client, Row};
use foldhash::fast::FixedState;
use hookline_schemas::ids::{KeyName, Source as SourceName};
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::HexSignature;
use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
use hookline_schemas::topics::{Offset, Topic};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::{ArchivedColumns, Page, Reading, Source};
use crate::batch::Batch;
use crate::batch::fold::Delivery;
use crate::batch::position::RecordPosition;
use crate::clickhouse::inserter::ClickHouse;
use crate::replay::plan::PartitionRange;

/// Bytes of a body before the first page has told their mean.
const FIRST_BODY_BYTES: usize = 2_048;
/// A row that is merged no more often than others stands there twice or thrice; what a page cannot take of them is read again.
const PAGE: &str = "SELECT ?fields FROM deliveries \
    WHERE log_id = ? AND topic = ? AND partition = ? AND offset >= ? AND offset < ? \
    ORDER BY log_id, topic, partition, offset LIMIT ?";

/// The columns that make a record, and then those that were parsed from its body.
#[derive(Debug, Row, Deserialize)]
struct ArchivedRow<'a> {
    offset: i64,
    source: &'a str,
    key_name: &'a str,
    signature: &'a str,
    signed_at_text: &'a str,
    first_signed_at: Option<u32>,
    received_at: i64,
    body: &'a [u8],
    resource: &'a str,
    action: &'a str,
    job_id: &'a [u8],
    created_at: i64,
    occurred_at: i64,
}

impl ArchivedRow<'_> {
    /// What its headers said; `None` where they cannot have said that.
    fn metadata(&self) -> Option<DeliveryMetadata<'_>> {
        Some(DeliveryMetadata {
            source: SourceName::check(self.source).ok()?,
            received_at: ReceivedAt::new(self.received_at)?,
            signed_at: SignedAt::parse(self.signed_at_text.as_bytes())?,
            signed_at_text: self.signed_at_text,
            signature: HexSignature::parse(self.signature.as_bytes())?,
            key_name: KeyName::check(self.key_name).ok()?,
            first_signed_at: self.first_signed_at.map(SignedAt),
        })
    }

    fn digest(&self) -> u64 {
        digest((self.resource, self.action, self.job_id, self.created_at, self.occurred_at))
    }
}

/// The digest of the same columns as today's decoder gives them.
pub fn digest_of(delivery: &Delivery<'_>) -> u64 {
    let event = delivery.event_type;
    let job_id = delivery.job_id.as_str().as_bytes();
    digest((event.resource.as_str(), event.action.as_str(), job_id, delivery.created_at.0, delivery.occurred_at.0))
}

fn digest(columns: impl Hash) -> u64 {
    FixedState::default().hash_one(columns)
}

pub struct ArchiveSource<'s> {
    clickhouse: ClickHouse,
    reading: Reading<'s>,
    runtime: Handle,
    next: Offset,
    /// The mean of the bodies of the last page: a page asks for no more rows than a batch takes.
    body_bytes: usize,
}

impl<'s> ArchiveSource<'s> {
    pub fn new(clickhouse: ClickHouse, reading: Reading<'s>, runtime: Handle) -> Self {
        Self { clickhouse, reading, runtime, next: Offset(0), body_bytes: FIRST_BODY_BYTES }
    }

    /// How many rows a page asks for.
    fn page_rows(&self) -> usize {
        let limits = self.reading.limits;
        (limits.max_bytes / (size_of::<ArchivedRow<'_>>() + self.body_bytes)).clamp(1, limits.max_rows)
    }

    async fn page(
        &self,
        client: &Client,
        part: &PartitionRange,
        topic: Topic,
        rows: usize,
        batch: &mut Batch,
    ) -> clickhouse::error::Result<Page> {
        let query = client.query(PAGE).bind(&part.log_id).bind(&part.topic).bind(part.partition.0);
        let mut cursor = query.bind(self.next.0).bind(part.end.0).bind(rows).fetch::<ArchivedRow<'_>>()?;
        let (mut page, mut found) = (Page::up_to(self.next), 0);
        while let Some(row) = cursor.next().await? {
            found += 1;
            let offset = Offset(row.offset);
            // The row of a record stands there once for each time it was inserted since the last merge.
            if offset < page.next {
                if let Some(last) = page.archived.last_mut().filter(|last| last.offset == offset) {
                    last.digest = last.digest.filter(|digest| *digest == row.digest());
                }
                continue;
            }
            if batch.is_full(self.reading.limits) {
                return Ok(page);
            }
            let position =
                RecordPosition { topic, partition: part.partition, offset, appended_at: AppendedAt(row.received_at) };
            match row.metadata() {
                Some(metadata) => {
                    batch.push_delivery(position, &metadata, 0, row.body);
                    page.archived.push(ArchivedColumns { offset, digest: Some(row.digest()) });
                }
                None => {
                    tracing::warn!(log_id = part.log_id, position = %format_args!("{}/{}/{}", part.topic, part.partition.0, offset.0), "a row of deliveries is not what ingest can have verified, and is left out");
                    page.damaged += 1;
                }
            }
            page.next = Offset(offset.0 + 1);
        }
        // Only an answer with less than was asked for is the rest.
        if found < rows {
            page.next = part.end;
        }
        Ok(page)
    }
}

impl Source for ArchiveSource<'_> {
    fn begin(&mut self, part: &PartitionRange) -> anyhow::Result<()> {
        self.next = part.next;
        Ok(())
    }

    fn read_page(&mut self, part: &PartitionRange, batch: &mut Batch) -> anyhow::Result<Page> {
        let topic = topic_of(part)?;
        let ask = async |client: &Client| {
            batch.clear();
            self.page(client, part, topic, self.page_rows(), batch).await
        };
        // The question is dropped with the replay, for the next one asks again.
        let page = self.runtime.block_on(self.clickhouse.query_until_cancelled(self.reading.stop, ask))??;
        if !batch.is_empty() {
            self.body_bytes = batch.bytes() / batch.len();
        }
        self.next = page.next;
        Ok(page)
    }
}

/// The archive holds topics of every prefix that ever was.
pub fn topic_of(part: &PartitionRange) -> anyhow::Result<Topic> {
    let (_, name) = part.topic.rsplit_once('.').unwrap_or_default();
    name.parse()
        .ok()
        .filter(|topic| *topic != Topic::DeadLetter)
        .with_context(|| format!("the archive holds records of {}, which is the topic of no resource", part.topic))
}
