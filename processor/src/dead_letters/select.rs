//! The arguments that select dead letters, and the condition that they are in ClickHouse.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use clickhouse::query::Query;
use hookline_schemas::dead_letter::DeadLetterReason;
use hookline_schemas::topics::{Offset, Partition};
use hookline_service::cli::TimePoint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::identity::parse_position;

/// The years that receive times are in.
const RECEIVED_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// Selects dead letters; without an argument, all of them. Of one option given several times any value will do; different options
/// must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct LetterSelection {
    /// Received at or after this time: 2026-11-25T10:00:00Z, an age such as 2h or -24h, or now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<TimePoint>,
    /// Received before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<TimePoint>,
    /// Only this reason, such as stale; may be given several times
    #[arg(long = "reason", value_name = "REASON", value_parser = reason)]
    pub reasons: Vec<DeadLetterReason>,
    /// Only this source; may be given several times
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Only this `type` of the body, known or not, such as video.completed; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only this job; may be given several times
    #[arg(long = "job", value_name = "JOB_ID")]
    pub jobs: Vec<String>,
    /// Only the dead letter at this position of the dead-letter topic; may be given several times
    #[arg(long = "position", value_name = "TOPIC/PARTITION/OFFSET")]
    pub positions: Vec<LetterPosition>,
}

/// Where a dead letter lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterPosition {
    topic: String,
    partition: Partition,
    offset: Offset,
}

impl FromStr for LetterPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = parse_position(text);
        let parsed = parsed.map(|(topic, partition, offset)| Self { topic: topic.into(), partition, offset });
        parsed.ok_or_else(|| format!("{text:?} is not TOPIC/PARTITION/OFFSET, such as hookline.dead-letter/0/42"))
    }
}

fn reason(text: &str) -> Result<DeadLetterReason, String> {
    text.parse().map_err(|_| {
        let all: Vec<_> = DeadLetterReason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("{text:?} is not a reason: expected one of {}", all.join(", "))
    })
}

enum Value {
    Number(i64),
    Text(String),
    Texts(Vec<String>),
}

/// A condition on rows of `dead_letters`, and the values for its question marks.
pub struct Condition {
    pub sql: String,
    values: Vec<Value>,
}

impl Condition {
    pub fn bind(&self, query: Query) -> Query {
        self.values.iter().fold(query, |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Texts(texts) => query.bind(texts),
        })
    }
}

impl LetterSelection {
    /// Refuses a range of time in which nothing can lie, and gives the same selection with moments in place of ages.
    pub fn fixed(&self, now: OffsetDateTime) -> anyhow::Result<Self> {
        let fixed = |point: Option<TimePoint>| point.map(|point| TimePoint::At(point.as_millis(now)));
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from.as_millis(now) >= to.as_millis(now)
        {
            bail!(
                "nothing lies between --from {} and --to {}: the first must be the earlier one",
                from.shown(now),
                to.shown(now)
            );
        }
        Ok(Self { from: fixed(self.from), to: fixed(self.to), ..self.clone() })
    }

    pub fn condition(&self, topic: &str, now: OffsetDateTime) -> Condition {
        let mut parts = vec!["topic = ?".to_owned()];
        let mut values = vec![Value::Text(topic.to_owned())];
        for (point, compared) in [(self.from, ">="), (self.to, "<")] {
            if let Some(point) = point {
                parts.push(format!("dead_letters.received_at {compared} fromUnixTimestamp64Milli(?, 'UTC')"));
                values.push(Value::Number(point.as_millis(now).clamp(RECEIVED_MS.start, RECEIVED_MS.end)));
            }
        }
        let reasons: Vec<_> = self.reasons.iter().map(|reason| reason.as_str().to_owned()).collect();
        for (column, wanted) in [("reason", &reasons), ("source", &self.sources), ("job_id", &self.jobs)] {
            if !wanted.is_empty() {
                parts.push(format!("dead_letters.{column} IN ?"));
                values.push(Value::Texts(wanted.clone()));
            }
        }
        if !self.types.is_empty() {
            // The column has known events only.
            parts.push(
                "(dead_letters.event_type IN ? OR (dead_letters.event_type = '' AND JSONExtractString(body, 'type') IN ?))"
                    .into(),
            );
            values.extend([Value::Texts(self.types.clone()), Value::Texts(self.types.clone())]);
        }
        if !self.positions.is_empty() {
            let one = "(topic = ? AND partition = ? AND dead_letters.offset = ?)";
            parts.push(format!("({})", vec![one; self.positions.len()].join(" OR ")));
            for LetterPosition { topic, partition, offset } in &self.positions {
                let numbers = [Value::Number(partition.0.into()), Value::Number(offset.0)];
                values.push(Value::Text(topic.clone()));
                values.extend(numbers);
            }
        }
        Condition { sql: parts.join(" AND "), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_no_condition() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let all = LetterSelection::default().condition("t", now);
        assert_eq!((&*all.sql, all.values.len()), ("topic = ?", 1));
        let some = LetterSelection {
            from: Some(TimePoint::Ago(60)),
            reasons: vec![DeadLetterReason::Stale],
            types: vec!["video.paused".into()],
            positions: vec!["t/0/1".parse().unwrap(), "t/1/9".parse().unwrap()],
            ..LetterSelection::default()
        };
        let some = some.condition("t", now);
        assert_eq!(some.sql.matches('?').count(), some.values.len(), "{}", some.sql);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(reason("stail").unwrap_err().contains("not_json, unknown_type"));
        assert!("ingest".parse::<LetterPosition>().unwrap_err().contains("hookline.dead-letter/0/42"));
        let now = OffsetDateTime::from_unix_timestamp(1_786_699_613).unwrap();
        let range = |from: &str, to: &str| {
            let point = |text: &str| Some(text.parse().unwrap());
            LetterSelection { from: point(from), to: point(to), ..LetterSelection::default() }.fixed(now)
        };
        assert!(range("1h", "2h").unwrap_err().to_string().contains("--from 1h (2026"));
        let fixed = range("2h", "1h").unwrap();
        assert_eq!(
            fixed.to,
            Some(TimePoint::At((1_786_699_613 - 3_600) * 1000)),
            "a plan does not move with the clock"
        );
    }
}
