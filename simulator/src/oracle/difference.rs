//! The differences that the oracle can find.

use std::fmt;

use serde::Serialize;

/// Identifies an attempt: its source, and what its signature covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Receipt {
    pub source: String,
    /// The value of the timestamp header.
    pub signed_at_text: String,
    /// The value of the signature header.
    pub signature: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signed {} as {}", self.source, self.signed_at_text, self.signature)
    }
}

/// A row or a column that does not follow from the ledger and the bodies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// There are fewer rows than acknowledged attempts.
    Lost { table: &'static str, receipt: Receipt, acknowledged: usize, rows: usize },
    /// There are more rows than attempts that may have arrived.
    Invented {
        table: &'static str,
        receipt: Receipt,
        /// The attempts that may have arrived.
        attempts: usize,
        rows: usize,
    },
    /// The body of a row is not the one that was signed.
    Body { table: &'static str, receipt: Receipt },
    /// A body in `deliveries` is not that of a processable event.
    Unreadable {
        /// The position of the record: topic, partition and offset.
        position: String,
        reason: String,
    },
    /// The value of a column does not follow from the bodies.
    Column { table: &'static str, row: String, column: String, expected: String, actual: String },
    /// No row has the key, though one follows from the bodies.
    MissingRow { table: &'static str, row: String },
    /// A row has the key, though none follows from the bodies.
    ExtraRow { table: &'static str, row: String },
    /// A time of a job is not a second that was signed for its event.
    Time {
        job: String,
        column: &'static str,
        /// The Unix seconds that the ledger allows.
        allowed: Vec<i64>,
        /// The Unix second in the column.
        actual: Option<i64>,
    },
}

impl Difference {
    /// The table and the kind, by which differences are counted.
    pub fn group(&self) -> (&'static str, &'static str) {
        match self {
            Self::Lost { table, .. } => (table, "lost"),
            Self::Invented { table, .. } => (table, "invented"),
            Self::Body { table, .. } => (table, "body"),
            Self::Unreadable { .. } => ("deliveries", "unreadable"),
            Self::Column { table, .. } => (table, "column"),
            Self::MissingRow { table, .. } => (table, "missing_row"),
            Self::ExtraRow { table, .. } => (table, "extra_row"),
            Self::Time { .. } => ("job_facts", "time"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { table, receipt, acknowledged, rows } => {
                write!(f, "{table}: lost: {receipt}: {acknowledged} acknowledged attempts, {rows} rows")
            }
            Self::Invented { table, receipt, attempts, rows } => {
                write!(f, "{table}: invented: {receipt}: {attempts} attempts may have arrived, {rows} rows")
            }
            Self::Body { table, receipt } => write!(f, "{table}: the body is not the one that was signed: {receipt}"),
            Self::Unreadable { position, reason } => write!(f, "deliveries: {position}: {reason}"),
            Self::Column { table, row, column, expected, actual } => {
                write!(f, "{table}: {row}: {column} is {actual}, not {expected}")
            }
            Self::MissingRow { table, row } => write!(f, "{table}: {row} is missing"),
            Self::ExtraRow { table, row } => write!(f, "{table}: {row} should not be there"),
            Self::Time { job, column, allowed, actual: Some(actual) } => {
                write!(f, "job_facts: {job}: {column} is in second {actual}, the ledger allows {allowed:?}")
            }
            Self::Time { job, column, allowed, actual: None } => {
                write!(f, "job_facts: {job}: {column} is NULL, the ledger allows {allowed:?}")
            }
        }
    }
}
