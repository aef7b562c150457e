//! What is not as it should be.

use std::fmt;

use serde::Serialize;

/// What identifies an attempt: its source, and what its signature covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Receipt {
    /// The source.
    pub source: String,
    /// The timestamp header.
    pub signed_at_text: String,
    /// The signature.
    pub signature: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signed {} as {}", self.source, self.signed_at_text, self.signature)
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// Fewer rows than attempts that were acknowledged.
    Lost {
        /// The table.
        table: &'static str,
        /// The attempt.
        receipt: Receipt,
        /// Acknowledged attempts.
        acknowledged: usize,
        /// Rows.
        rows: usize,
    },
    /// More rows than attempts that may have arrived.
    Invented {
        /// The table.
        table: &'static str,
        /// The attempt.
        receipt: Receipt,
        /// Attempts that may have arrived.
        attempts: usize,
        /// Rows.
        rows: usize,
    },
    /// A row's body is not the one that was signed.
    Body {
        /// The table.
        table: &'static str,
        /// The attempt.
        receipt: Receipt,
    },
    /// A body in `deliveries` that does not belong there.
    Unreadable {
        /// Where the record lies.
        position: String,
        /// What is wrong.
        reason: String,
    },
    /// A column is not what follows from the bodies.
    Column {
        /// The table or view.
        table: &'static str,
        /// The row.
        row: String,
        /// The column.
        column: String,
        /// What follows.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// A row is missing.
    MissingRow {
        /// The table or view.
        table: &'static str,
        /// The row.
        row: String,
    },
    /// A row is there that should not be.
    ExtraRow {
        /// The table or view.
        table: &'static str,
        /// The row.
        row: String,
    },
    /// A time is not one that the ledger knows.
    Time {
        /// The job.
        job: String,
        /// The column.
        column: &'static str,
        /// Seconds that the ledger allows.
        allowed: Vec<i64>,
        /// The second that is there.
        actual: Option<i64>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { table, receipt, acknowledged, rows } => {
                write!(f, "{table}: lost: {receipt}: {acknowledged} acknowledged, {rows} rows")
            }
            Self::Invented { table, receipt, attempts, rows } => {
                write!(f, "{table}: invented: {receipt}: {attempts} attempts may have arrived, {rows} rows")
            }
            Self::Body { table, receipt } => write!(f, "{table}: another body than was signed: {receipt}"),
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
