//! Why an authentic delivery is in the dead-letter topic instead of in its resource's.

use std::fmt;
use std::str::FromStr;

/// The reason of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterReason {
    /// The body is not JSON in UTF-8.
    NotJson,
    /// No `type`, or one that is none of the nine events.
    UnknownType,
    /// `payload.id` is absent or not an id.
    BadId,
    /// `payload.created_at` is absent, not RFC 3339 or out of range.
    BadCreatedAt,
    /// A known key came twice, or both `payload` and `object`.
    Ambiguous,
    /// Signed too long ago or too far in the future.
    Stale,
    /// ClickHouse refused the row.
    InsertRefused,
    /// A record of a resource topic without the headers that ingest writes: somebody else produced it.
    BadRecord,
}

impl DeadLetterReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::NotJson,
        Self::UnknownType,
        Self::BadId,
        Self::BadCreatedAt,
        Self::Ambiguous,
        Self::Stale,
        Self::InsertRefused,
        Self::BadRecord,
    ];

    /// The text in headers, tables and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::UnknownType => "unknown_type",
            Self::BadId => "bad_id",
            Self::BadCreatedAt => "bad_created_at",
            Self::Ambiguous => "ambiguous",
            Self::Stale => "stale",
            Self::InsertRefused => "insert_refused",
            Self::BadRecord => "bad_record",
        }
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeadLetterReason {
    type Err = UnknownDeadLetterReason;

    fn from_str(text: &str) -> Result<Self, UnknownDeadLetterReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(UnknownDeadLetterReason)
    }
}

/// Text that is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason of a dead letter")]
pub struct UnknownDeadLetterReason;
