//! Why an authentic delivery is in the dead-letter topic instead of in its resource's.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

/// The reason of a dead letter, in headers, tables and metrics. It prints and parses as its name in snake case.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    VariantArray,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeadLetterReason {
    /// The body is not JSON in UTF-8.
    NotJson,
    /// The body has no `type`, or one that is none of the nine events.
    UnknownType,
    /// `payload.id` is absent or not an id.
    BadId,
    /// `payload.created_at` is absent, not RFC 3339 or out of range.
    BadCreatedAt,
    /// A known key came twice, or both `payload` and `object`.
    Ambiguous,
    /// The delivery was signed too long ago or too far in the future.
    Stale,
    /// ClickHouse refuses the row for its content.
    InsertRefused,
    /// A record of a resource topic has not the headers that ingest writes: somebody else produced it.
    BadRecord,
}

impl DeadLetterReason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The text in headers, tables and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
