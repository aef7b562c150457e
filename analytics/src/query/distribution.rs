//! The distribution of durations over time, for a heat map.

use clickhouse::Row;
use hookline_schemas::sql::created_hours_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::finished::Kind;
use super::range::{Range, Step};
use super::statement::Statement;
use super::timestamp::Timestamp;

/// Asks how the durations of one kind are distributed in each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    pub range: Range,
    pub filter: Filter,
    pub step: Step,
    pub kind: Kind,
}

/// The longest range that the facts answer, in seconds: a job at a time costs too much beyond it.
const LONGEST_OF_FACTS: i64 = 86_400;

/// How many quantiles of a sketch stand for its jobs.
const SHARES: u64 = 100;

/// The jobs whose duration lies between two borders.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Bin {
    /// Start of the step, a whole multiple of it since 1970.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The least duration of the bin, in seconds; bins are half a doubling wide, and the first begins at 0.
    pub from_seconds: f64,
    /// The first duration beyond it.
    pub to_seconds: f64,
    /// Jobs; an estimate, to a hundredth of the jobs of the step, where the roll-up answered.
    pub jobs: f64,
}

/// A row for each bin: its number, from 0, and the jobs in it.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub struct BinRow {
    at: i64,
    bin: u8,
    jobs: f64,
}

/// The upper border of bin 0, in seconds, and the number of bins: half doublings, up to 97 days.
const FIRST: f64 = 0.5;
const BINS: u8 = 49;

impl Distribution {
    pub const fn read_from(&self) -> ReadFrom {
        if self.range.is_within(LONGEST_OF_FACTS) || !self.filter.outcome.is_empty() {
            ReadFrom::Facts
        } else {
            ReadFrom::Rollup
        }
    }

    pub fn statement(&self) -> Statement {
        let (step, kind) = (self.step.seconds(), self.kind.name());
        let condition = self.filter.condition(self.read_from());
        // Milliseconds times the square root of 2 fall on a border now and then: the bin of a duration is that of its logarithm.
        let bin = |seconds: &str| {
            format!("toUInt8(least(greatest(floor(log2({seconds} / {FIRST}) * 2) + 1, 0), {last}))", last = BINS - 1)
        };
        let sql = match self.read_from() {
            ReadFrom::Facts => format!(
                "SELECT toInt64(intDiv(toUnixTimestamp(assumeNotNull(finished_at)), {step}) * {step}) AS at, {bin} AS bin, \
                 toFloat64(count()) AS jobs FROM job_facts WHERE outcome != 'open' AND {kind}_seconds IS NOT NULL AND {ended} \
                 AND {hours} AND {condition} GROUP BY at, bin ORDER BY at, bin",
                bin = bin(&format!("assumeNotNull({kind}_seconds)")),
                ended = self.range.contains("finished_at"),
                hours = created_hours_of(&self.range.from.sql()),
            ),
            ReadFrom::Rollup => {
                let shares = (0..SHARES).map(|share| format!("0.{:03}", share * 10 + 5)).collect::<Vec<_>>().join(", ");
                let columns = [format!("{kind}_jobs"), format!("{kind}_state")];
                let columns = columns.each_ref().map(String::as_str);
                let rows = self.range.in_rollup().rows(&columns, &condition, Some(step));
                format!(
                    "SELECT at, {bin} AS bin, sum(share) AS jobs FROM (SELECT \
                     toInt64(intDiv(toUnixTimestamp(ended), {step}) * {step}) AS at, sum({kind}_jobs) / {SHARES} AS share, \
                     quantilesDDMerge(0.01, {shares})({kind}_state) AS quantiles FROM ({rows}) GROUP BY at HAVING share > 0) \
                     ARRAY JOIN quantiles AS seconds GROUP BY at, bin ORDER BY at, bin",
                    bin = bin("seconds"),
                )
            }
        };
        Statement::new(sql, self.filter.parameters())
    }

    pub fn answer(rows: Vec<BinRow>) -> Vec<Bin> {
        let border = |bin: u8| FIRST * 2_f64.powf(f64::from(bin) / 2.0);
        let bin = |row: BinRow| Bin {
            at: Timestamp::of_seconds(row.at),
            from_seconds: row.bin.checked_sub(1).map_or(0.0, border),
            to_seconds: border(row.bin),
            jobs: row.jobs,
        };
        rows.into_iter().map(bin).collect()
    }
}
