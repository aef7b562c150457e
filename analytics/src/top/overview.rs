//! What `top` knows at one moment. What nobody said is null, never 0.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::query::ReadFrom;
use crate::query::dead_letters::DeadLetterCount;
use crate::query::finished::FinishedJobs;
use crate::query::open::OpenCount;
use crate::query::pipeline::{PipelinePoint, PipelineTotals, Program, Reading, Unreachable};
use crate::query::range::Range;
use crate::query::timestamp::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// When everybody was asked.
    pub as_of: Timestamp,
    /// What the metrics say; null where neither `serve.admin_urls` nor `serve.prometheus_url` is configured.
    pub pipeline: Option<Pipeline>,
    /// What ClickHouse said last; null where it never did.
    pub tables: Option<Tables>,
    /// Why ClickHouse said nothing at `as_of`.
    pub clickhouse_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pipeline {
    /// Who did not answer, and whose figures are therefore missing.
    pub unreachable: Vec<Unreachable>,
    /// Seconds that the rates are about; null where there is no earlier reading.
    pub rates_over_seconds: Option<f64>,
    /// Null where no ingest answered, or none twice.
    pub ingest: Option<Ingest>,
    /// Null where no processor answered.
    pub processors: Option<Processors>,
}

/// Figures by the second, added up over all listeners.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ingest {
    /// Webhooks answered, whatever the answer was.
    pub webhooks_per_second: f64,
    /// Authentic webhooks.
    pub verified_per_second: f64,
    /// Webhooks answered 401, by reason.
    pub rejections_per_second: BTreeMap<String, f64>,
    /// Webhooks answered 503, by reason.
    pub refusals_per_second: BTreeMap<String, f64>,
    pub dead_letters_per_second: BTreeMap<String, f64>,
    /// Seconds of work by the second of each stage.
    pub stages: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Processors {
    /// Records that are not committed yet.
    pub lag_records: Option<f64>,
    /// The greatest age of the last record of a partition.
    pub lag_seconds: Option<f64>,
    /// Partitions that stopped and wait for an operator.
    pub stopped_partitions: f64,
    /// Null where no processor answered twice.
    pub rates: Option<ProcessorRates>,
}

/// Figures by the second, added up over all listeners.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessorRates {
    pub records_per_second: f64,
    pub dead_letters_per_second: BTreeMap<String, f64>,
    /// The mean delay from signing to the row being in ClickHouse, in seconds; null where no batch was inserted.
    pub signed_to_visible_seconds: Option<f64>,
    /// Seconds of work by the second of each stage.
    pub stages: BTreeMap<String, f64>,
}

/// What the tables say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tables {
    pub as_of: Timestamp,
    /// Jobs that finished, and dead letters that were received, within this range.
    pub range: Range,
    pub read_from: ReadFrom,
    /// Of all jobs, since the beginning of the range.
    pub finished_per_minute: f64,
    pub jobs: FinishedJobs,
    pub resources: Vec<FinishedJobs>,
    /// Jobs without an end, now.
    pub open: Vec<OpenCount>,
    /// By source and reason, the largest first.
    pub dead_letters: Vec<DeadLetterCount>,
    /// Seconds since the roll-up was refreshed last; null where it was not for two days.
    pub rollup_age_seconds: Option<f64>,
}

impl Pipeline {
    /// None without a reading. They are in the order of time.
    pub fn new(readings: &[Reading]) -> Option<Self> {
        let (first, last) = readings.first().zip(readings.last())?;
        let rates = |program| {
            let readings: Vec<_> = readings.iter().map(|reading| reading.of(program)).collect();
            PipelinePoint::new(&readings.iter().collect::<Vec<_>>(), None)
        };
        let processors = last.of(Program::Processor);
        Some(Self {
            unreachable: last.unreachable.clone(),
            rates_over_seconds: u32::try_from(last.at.0 - first.at.0)
                .ok()
                .filter(|elapsed| *elapsed > 0)
                .map(|elapsed| f64::from(elapsed) / 1_000.0),
            ingest: rates(Program::Ingest).filter(|_| !last.of(Program::Ingest).is_empty()).map(Ingest::new),
            processors: (!processors.is_empty())
                .then(|| Processors::new(&PipelineTotals::of(processors.samples()), rates(Program::Processor))),
        })
    }
}

impl Ingest {
    fn new(rates: PipelinePoint) -> Self {
        Self {
            webhooks_per_second: rates.answers_per_second,
            verified_per_second: rates.verified_per_second,
            rejections_per_second: rates.rejections_per_second,
            refusals_per_second: rates.refusals_per_second,
            dead_letters_per_second: rates.dead_letters_per_second,
            stages: rates.ingest_stages,
        }
    }
}

impl Processors {
    fn new(now: &PipelineTotals, rates: Option<PipelinePoint>) -> Self {
        Self {
            lag_records: now.lag_records,
            lag_seconds: now.lag_seconds,
            stopped_partitions: now.stopped_partitions,
            rates: rates.map(|rates| ProcessorRates {
                records_per_second: rates.records_per_second,
                dead_letters_per_second: rates.dead_letters_per_second,
                signed_to_visible_seconds: rates.signed_to_visible_seconds,
                stages: rates.processor_stages,
            }),
        }
    }
}

impl Overview {
    /// Who did not answer, and why, for the one who started the command.
    pub fn failures(&self) -> Vec<String> {
        let silent = self.pipeline.iter().flat_map(|pipeline| &pipeline.unreachable);
        let silent = silent.map(|Unreachable { url, error }| format!("no metrics of {url}: {error}"));
        silent.chain(self.clickhouse_error.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INGEST: &str = "hookline_ingest_answers_total{status=\"200\"} ";
    const PROCESSOR: &str = "hookline_processor_lag_records{partition=\"0\",topic=\"t\"} 3\n\
                             hookline_processor_records_consumed_total{topic=\"video\"} ";

    fn reading(seconds: i64, ingest: Option<u32>, processor: Option<u32>) -> Reading {
        let mut reading = Reading::new(Timestamp::of_seconds(seconds));
        for (url, page, count) in [("i", INGEST, ingest), ("p", PROCESSOR, processor)] {
            match count {
                Some(count) => reading.add_page(url, &format!("{page}{count}\n")),
                None => reading.unreachable.push(Unreachable { url: url.to_owned(), error: "refused".to_owned() }),
            }
        }
        reading
    }

    #[test]
    fn who_does_not_tell_has_no_figures() {
        assert_eq!(Pipeline::new(&[]), None);
        let both = Pipeline::new(&[reading(0, Some(1), Some(1)), reading(10, Some(21), Some(11))]).unwrap();
        assert_eq!(both.ingest.map(|ingest| ingest.webhooks_per_second), Some(2.0));
        let processors = both.processors.unwrap();
        assert_eq!((processors.lag_records, processors.lag_seconds), (Some(3.0), None));
        assert_eq!(processors.rates.map(|rates| rates.records_per_second), Some(1.0));
        assert_eq!(both.rates_over_seconds, Some(10.0));

        let away = Pipeline::new(&[reading(0, Some(1), None), reading(10, None, Some(11))]).unwrap();
        assert_eq!(away.ingest, None, "it told once, and is away");
        let processors = away.processors.unwrap();
        assert_eq!((processors.lag_records, processors.rates), (Some(3.0), None), "it told once: no rate");
        assert_eq!(away.unreachable.len(), 1);

        let new = Pipeline::new(&[reading(0, Some(1), None), reading(10, Some(21), Some(11))]).unwrap();
        assert_eq!(new.ingest.map(|ingest| ingest.webhooks_per_second), Some(2.0));
        assert_eq!(
            new.processors.map(|processors| processors.rates),
            Some(None),
            "a rate of ingest is none of a processor"
        );

        let once = Pipeline::new(&[reading(0, Some(1), Some(1))]).unwrap();
        assert_eq!((once.ingest, once.rates_over_seconds), (None, None));
    }
}
