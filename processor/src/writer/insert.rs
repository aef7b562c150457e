//! Inserts blocks, and finds the rows that ClickHouse refuses for their content.
//!
//! A code says what a refusal is about and not who is to blame: a view that an operator made wrong refuses every row with the
//! code that one bad row would have. So a row is guilty only beside a witness, a row that the table took and takes again both
//! before and after it refused the suspect. The witness changes nothing: it joins or replaces itself.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use hookline_service::admin::Readiness;
use hookline_service::shutdown::CancellationToken;
use rand::seq::IteratorRandom as _;

use crate::clickhouse::columns::Table;
use crate::clickhouse::error::{Cause, Operation, Remedy};
use crate::clickhouse::inserter::{ClickHouse, ClickHouseError};
use crate::clickhouse::native::Encoded;
use crate::metrics::Metrics;
use crate::retry::{Cancelled, until_cancelled};
use crate::writer::reject::RefusedRow;
use crate::writer::{CLICKHOUSE, NotWritten};

/// A witness that is longer is not kept: an earlier one is as good.
const MAX_WITNESS_BYTES: usize = 1 << 20;

pub struct TableInserter {
    clickhouse: ClickHouse,
    metrics: Metrics,
    readiness: Readiness,
    /// A row that each table took lately, as a block of its own.
    witnesses: RefCell<HashMap<Table, Vec<Bytes>>>,
    /// Where there is no witness, it is sought among so many rows.
    pub sought_among: usize,
}

/// How many rows are sent alone in search of a witness by whoever comes back with the same rows and later ones: a block that is bad
/// through and through costs so many statements at each try, and not two for each of its rows.
pub const SOUGHT_AMONG: usize = 16;

/// An answer that is neither success nor a reason to send the same again.
struct Refusal {
    remedy: Remedy,
    error: ClickHouseError,
}

impl TableInserter {
    pub fn new(clickhouse: ClickHouse, metrics: Metrics, readiness: Readiness) -> Self {
        Self { clickhouse, metrics, readiness, witnesses: RefCell::default(), sought_among: usize::MAX }
    }

    pub fn clickhouse(&self) -> &ClickHouse {
        &self.clickhouse
    }

    /// Inserts blocks; returns the rows that ClickHouse refuses for their content. All others are in when this succeeds.
    pub async fn insert<'r, T>(
        &self,
        table: Table,
        blocks: Vec<Vec<&'r T>>,
        encode: impl for<'e> Fn(&'e [&'r T]) -> Encoded<'e>,
        cancel: &CancellationToken,
    ) -> Result<Vec<RefusedRow<'r, T>>, NotWritten> {
        let suspects = self.insert_or_suspect(table, blocks, false, &encode, cancel).await?;
        let Some(RefusedRow { text, .. }) = suspects.first() else { return Ok(suspects) };
        self.hear_witness(table, text, cancel).await?;
        // What refused them before may be gone by now.
        let again = suspects.iter().map(|suspect| vec![suspect.row]).collect();
        let guilty = self.insert_or_suspect(table, again, true, &encode, cancel).await?;
        if let Some(RefusedRow { text, .. }) = guilty.first() {
            self.hear_witness(table, text, cancel).await?;
        }
        Ok(guilty)
    }

    /// Inserts blocks, in halves where they are refused whole; returns the rows that are refused alone. `takes_rows` says whether
    /// the table took a row just before.
    async fn insert_or_suspect<'r, T>(
        &self,
        table: Table,
        blocks: Vec<Vec<&'r T>>,
        mut takes_rows: bool,
        encode: &impl for<'e> Fn(&'e [&'r T]) -> Encoded<'e>,
        cancel: &CancellationToken,
    ) -> Result<Vec<RefusedRow<'r, T>>, NotWritten> {
        let mut suspects = Vec::new();
        let mut todo = blocks;
        while let Some(mut rows) = todo.pop() {
            let Some(row) = rows.first().copied() else { continue };
            let Err(Refusal { remedy, error }) = self.send(table, rows.len(), || encode(&rows), cancel).await? else {
                self.metrics.inserted.with_label_values(&[table.as_str()]).inc_by(rows.len() as u64);
                self.keep_witness(table, encode(std::slice::from_ref(&row)));
                takes_rows = true;
                continue;
            };
            // Where the table takes nothing at all, halving would only find that each row is refused.
            if !takes_rows && matches!(error.cause, Cause::Refused(_)) {
                if self.has_witness(table) {
                    self.hear_witness(table, &error.text, cancel).await?;
                } else {
                    // A row that was sent alone is none of those.
                    let block = rows.iter().filter(|_| rows.len() > 1);
                    let some = todo.iter().flatten().chain(block).copied().sample(&mut rand::rng(), self.sought_among);
                    self.seek_witness(table, &some, &error.text, encode, cancel).await?;
                }
                takes_rows = true;
            }
            if let Remedy::Suspect { code } = remedy {
                suspects.push(RefusedRow { row, code, text: error.text });
                continue;
            }
            let half = rows.split_off(rows.len() / 2);
            todo.extend([half, rows]);
        }
        Ok(suspects)
    }

    /// Sends a block until the table takes it or something else has to be done.
    async fn send<B: Iterator<Item = Bytes>>(
        &self,
        table: Table,
        rows: usize,
        block: impl Fn() -> B,
        cancel: &CancellationToken,
    ) -> Result<Result<(), Refusal>, Cancelled> {
        let mut attempts = 0;
        let mut remedy = Remedy::Retry;
        let retry = |error: &ClickHouseError| {
            attempts += 1;
            remedy = error.cause.remedy(Operation::Insert { rows, attempts });
            let cause = error.cause.as_str();
            self.metrics.insert_retries.with_label_values(&[table.as_str(), cause]).inc();
            if remedy == Remedy::Retry {
                tracing::warn!(table = table.as_str(), cause, rows, %error, "a block was not inserted, trying again");
                self.readiness.not_ready(CLICKHOUSE, error.to_string());
            }
            remedy == Remedy::Retry
        };
        let sent = until_cancelled(cancel, async || self.clickhouse.insert(table, block()).await, retry).await?;
        Ok(sent.map_err(|error| Refusal { remedy, error }))
    }

    /// Sends the witness again; succeeds if the table takes it. `refusal` is what it stands beside.
    async fn hear_witness(&self, table: Table, refusal: &str, cancel: &CancellationToken) -> Result<(), NotWritten> {
        let witness = self.witnesses.borrow().get(&table).cloned();
        let accepted = match witness {
            Some(block) => self.send(table, 1, || block.iter().cloned(), cancel).await?.is_ok(),
            None => false,
        };
        if accepted {
            return Ok(());
        }
        Err(self.no_witness(table, refusal))
    }

    /// Sends rows alone until the table takes one, which is the witness then. `refusal` is what it stands beside.
    async fn seek_witness<'r, T>(
        &self,
        table: Table,
        rows: &[&'r T],
        refusal: &str,
        encode: &impl for<'e> Fn(&'e [&'r T]) -> Encoded<'e>,
        cancel: &CancellationToken,
    ) -> Result<(), NotWritten> {
        for row in rows {
            let row = std::slice::from_ref(row);
            if self.send(table, 1, || encode(row), cancel).await?.is_ok() {
                self.keep_witness(table, encode(row));
                return Ok(());
            }
        }
        Err(self.no_witness(table, refusal))
    }

    fn no_witness(&self, table: Table, refusal: &str) -> NotWritten {
        let no_witness = NotWritten::NoWitness { table };
        tracing::warn!(table = table.as_str(), refusal, "{no_witness}; its batch waits, and later ones are tried");
        self.readiness.not_ready(CLICKHOUSE, format!("{no_witness}; ClickHouse says: {refusal}"));
        no_witness
    }

    fn has_witness(&self, table: Table) -> bool {
        self.witnesses.borrow().contains_key(&table)
    }

    fn keep_witness(&self, table: Table, block: Encoded<'_>) {
        let mut bytes = 0;
        let mut chunks = Vec::new();
        for chunk in block {
            bytes += chunk.len();
            if bytes > MAX_WITNESS_BYTES {
                return;
            }
            chunks.push(chunk);
        }
        self.witnesses.borrow_mut().insert(table, chunks);
    }
}
