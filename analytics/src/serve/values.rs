//! What the texts of parameters mean. Each that cannot be used is a problem that names the parameter and the way to mend it.

use hookline_service::cli::TimePoint;
use time::OffsetDateTime;

use super::problem::Problem;
use crate::query::Dimension;
use crate::query::finished::Kind;
use crate::query::range::{Range, Step, StepError};

/// The values that a filter may have: all of them go to ClickHouse in the address of a request.
const MAX_VALUES: usize = 100;
/// The bytes of one value.
const MAX_VALUE_BYTES: usize = 1_024;
/// The rows of a page.
const MAX_LIMIT: u16 = 500;
const DEFAULT_LIMIT: u16 = 50;

pub fn range(from: Option<&str>, to: Option<&str>, now: OffsetDateTime, default: i64) -> Result<Range, Problem> {
    let seconds = |name: &str, text: Option<&str>| -> Result<Option<i64>, Problem> {
        let point = text.map(|text| text.parse::<TimePoint>().map_err(|reason| Problem::parameter(name, reason)));
        Ok(point.transpose()?.map(|point| point.as_millis(now).div_euclid(1_000)))
    };
    let to = seconds("to", to)?.unwrap_or(now.unix_timestamp());
    let from = seconds("from", from)?.unwrap_or(to.saturating_sub(default).max(0));
    Range::new(from, to).map_err(|error| Problem::parameter("from", format!("{error}: change `from` or `to`")))
}

/// The comparison range that lies so much earlier.
pub fn compared(text: Option<&str>, range: Range) -> Result<Option<Range>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let seconds = span("compare", text)?;
    if seconds < 60 {
        return Err(Problem::parameter(
            "compare",
            format!("{text:?}: compare with a range at least a minute earlier, such as -24h"),
        ));
    }
    range.earlier(seconds).map(Some).map_err(|error| Problem::parameter("compare", format!("{text:?}: {error}")))
}

pub fn step(text: Option<&str>, range: Range) -> Result<Option<Step>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |error: StepError| Problem::parameter("step", format!("{text:?}: {error}"));
    Step::new(span("step", text)?, range).map(Some).map_err(wrong)
}

/// A span such as `90s`, `15m` or `-7d`, in seconds.
fn span(name: &str, text: &str) -> Result<i64, Problem> {
    let span = text.parse::<TimePoint>().ok().and_then(|point| match point {
        TimePoint::Ago(seconds) if text != "now" => Some(seconds),
        TimePoint::Ago(_) | TimePoint::At(_) => None,
    });
    span.ok_or_else(|| Problem::parameter(name, format!("{text:?} is not a span of time: expected 15m, 6h or 7d")))
}

pub fn texts(name: &str, values: &[String]) -> Result<Vec<String>, Problem> {
    if values.len() > MAX_VALUES || values.iter().any(|value| value.len() > MAX_VALUE_BYTES) {
        return Err(Problem::parameter(
            name,
            format!("at most {MAX_VALUES} values of at most {MAX_VALUE_BYTES} bytes each"),
        ));
    }
    // The same values in another order are the same question.
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

pub fn one_of<T: Copy>(name: &str, text: &str, all: &[T], names: impl Fn(T) -> &'static str) -> Result<T, Problem> {
    all.iter().copied().find(|value| names(*value) == text).ok_or_else(|| {
        let all: Vec<_> = all.iter().map(|value| names(*value)).collect();
        Problem::parameter(name, format!("{text:?} is not one of {}", all.join(", ")))
    })
}

/// Dimensions in their order, each once.
pub fn dimensions(texts: &[String], default: &[Dimension]) -> Result<Vec<Dimension>, Problem> {
    if texts.is_empty() {
        return Ok(default.to_vec());
    }
    let asked = texts.iter().map(|text| one_of("by", text, &Dimension::ALL, Dimension::name));
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    Ok(Dimension::ALL.into_iter().filter(|dimension| asked.contains(dimension)).collect())
}

pub fn kinds(texts: &[String], default: &[Kind]) -> Result<Vec<Kind>, Problem> {
    if texts.is_empty() {
        return Ok(default.to_vec());
    }
    let asked = texts.iter().map(|text| one_of("kind", text, &Kind::ALL, Kind::name));
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    Ok(Kind::ALL.into_iter().filter(|kind| asked.contains(kind)).collect())
}

pub fn limit(text: Option<&str>) -> Result<u16, Problem> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::parameter("limit", format!("{text:?}, expected a number from 1 to {MAX_LIMIT}")))
}
