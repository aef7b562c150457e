//! Compares attempts with rows: every acknowledged attempt must be in its table, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Difference, Receipt};
use super::rows::{DeadLetter, Delivery, Redrive};
use crate::ledger::{Answer, Attempt, sha256_hex};

/// The attempts with the same [`Receipt`], counted by answer, and their rows: an attempt that is repeated within the second is
/// signed alike.
#[derive(Default)]
struct Counts<'a> {
    /// Attempts that were answered 200, so each must be a delivery.
    deliveries: usize,
    /// Attempts that were answered 202, so each must be a dead letter.
    dead_letters: usize,
    /// Attempts that were answered 401, so each may be a dead letter, if it was stale.
    refused: usize,
    /// All other attempts, which may have arrived.
    uncertain: usize,
    body_sha256: &'a str,
    /// Rows of `deliveries`, and records that the processor turned into dead letters.
    delivery_rows: usize,
    /// Rows of `dead_letters` whose origin is ingest.
    dead_letter_rows: usize,
    /// Dead letters that were sent back, and the records that they became.
    redriven_letters: BTreeSet<&'a str>,
    redriven_records: BTreeSet<&'a str>,
}

pub(super) fn differences(
    attempts: &[Attempt],
    deliveries: &[Delivery],
    dead_letters: &[DeadLetter],
    redrives: &[Redrive],
) -> Vec<Difference> {
    let mut by_receipt = BTreeMap::<Receipt, Counts<'_>>::new();
    for attempt in attempts {
        let counts = by_receipt.entry(attempt.receipt()).or_default();
        counts.body_sha256 = &attempt.body_sha256;
        match attempt.answer {
            Answer::Status(200) => counts.deliveries += 1,
            Answer::Status(202) => counts.dead_letters += 1,
            Answer::Status(401) => counts.refused += 1,
            Answer::Status(_) | Answer::Unknown => counts.uncertain += 1,
        }
    }
    let mut found = Vec::new();
    let mut positions = BTreeSet::new();
    for row in deliveries {
        let counts = by_receipt.entry(row.receipt()).or_default();
        counts.delivery_rows += 1;
        positions.insert(row.position());
        if !counts.body_sha256.is_empty() && sha256_hex(row.body.as_bytes()) != counts.body_sha256 {
            found.push(Difference::Body { table: DELIVERIES, receipt: row.receipt() });
        }
    }
    for row in dead_letters {
        let counts = by_receipt.entry(row.receipt()).or_default();
        if row.is_from_ingest() {
            counts.dead_letter_rows += 1;
        } else if positions.insert(row.origin.clone()) {
            counts.delivery_rows += 1;
        }
        // A dead letter that ClickHouse rejected, too, is stored without its body.
        let stripped = !row.is_from_ingest() && row.body_sha256 == sha256_hex(b"");
        if !counts.body_sha256.is_empty() && row.body_sha256 != counts.body_sha256 && !stripped {
            found.push(Difference::Body { table: DEAD_LETTERS, receipt: row.receipt() });
        }
    }
    for row in redrives {
        let counts = by_receipt.entry(row.receipt()).or_default();
        counts.redriven_letters.insert(&row.letter);
        counts.redriven_records.insert(&row.record);
    }
    for (receipt, counts) in by_receipt {
        // A letter becomes one record. Two that were made of the same record may become the same one.
        let redriven = counts.redriven_letters.len().min(counts.redriven_records.len());
        let Counts { deliveries, dead_letters, refused, uncertain, delivery_rows, dead_letter_rows, .. } = counts;
        for (table, rows, acknowledged, possible) in [
            (DELIVERIES, delivery_rows, deliveries + redriven, deliveries + uncertain + redriven),
            (DEAD_LETTERS, dead_letter_rows, dead_letters, dead_letters + refused + uncertain),
        ] {
            if rows < acknowledged {
                found.push(Difference::Lost { table, receipt: receipt.clone(), acknowledged, rows });
            }
            if rows > possible {
                found.push(Difference::Invented { table, receipt: receipt.clone(), attempts: possible, rows });
            }
        }
    }
    found
}

const DELIVERIES: &str = "deliveries";
const DEAD_LETTERS: &str = "dead_letters";
