//! An overview to draw.

use std::collections::BTreeMap;

use super::super::overview::{Ingest, Overview, Pipeline, ProcessorRates, Processors, Tables};
use crate::query::ReadFrom;
use crate::query::dead_letters::DeadLetterCount;
use crate::query::finished::{Durations, FinishedJobs};
use crate::query::open::OpenCount;
use crate::query::range::Range;
use crate::query::timestamp::Timestamp;

fn rates<const N: usize>(rates: [(&str, f64); N]) -> BTreeMap<String, f64> {
    rates.map(|(name, rate)| (name.to_owned(), rate)).into()
}

fn finished(resource: Option<&str>, completed: u64, errored: u64, p50: f64) -> FinishedJobs {
    let (p95, p99, max) = (p50 * 4.0, p50 * 6.0, p50 * 7.0);
    FinishedJobs {
        resource: resource.map(str::to_owned),
        completed,
        errored,
        error_rate: crate::query::finished::error_rate(completed, errored),
        total: Some(Durations { jobs: completed, p50, p90: p95, p95, p99, max }),
        ..FinishedJobs::NONE
    }
}

fn open(state: &str, resource: &str, jobs: u64, oldest: f64) -> OpenCount {
    let (state, source, resource) = (state.to_owned(), "magichour".to_owned(), resource.to_owned());
    OpenCount { state, source, resource, jobs, oldest_seconds: Some(oldest) }
}

/// Everybody answers, and something is wrong here and there.
pub fn overview() -> Overview {
    let as_of = Timestamp::of_seconds(1_795_599_600);
    let range = Range::new(1_795_598_700, 1_795_599_600).unwrap();
    let letters = |reason: &str, dead_letters, ago: i64| DeadLetterCount {
        source: "magichour".to_owned(),
        reason: reason.to_owned(),
        dead_letters,
        first_received_at: Timestamp::of_seconds(range.from.0 + 5),
        last_received_at: Timestamp(as_of.0 - ago * 1_000),
    };
    Overview {
        as_of,
        pipeline: Some(Pipeline {
            unreachable: Vec::new(),
            rates_over_seconds: Some(60.0),
            ingest: Some(Ingest {
                webhooks_per_second: 41.7,
                verified_per_second: 41.2,
                rejections_per_second: rates([("signature_wrong", 0.5), ("stale_past", 0.0)]),
                refusals_per_second: rates([("draining", 0.0)]),
                dead_letters_per_second: rates([("not_json", 0.02)]),
                stages: rates([("produce", 0.31), ("read", 0.02), ("verify", 0.01)]),
            }),
            processors: Some(Processors {
                lag_records: Some(12.0),
                lag_seconds: Some(0.4),
                stopped_partitions: 0.0,
                rates: Some(ProcessorRates {
                    records_per_second: 41.2,
                    dead_letters_per_second: rates([("bad_record", 0.02)]),
                    signed_to_visible_seconds: Some(0.8),
                    stages: rates([
                        ("commit", 0.01),
                        ("decode", 0.01),
                        ("fold", 0.02),
                        ("insert_deliveries", 0.17),
                        ("insert_jobs", 0.22),
                        ("refresh", 0.09),
                        ("wait", 0.49),
                    ]),
                }),
            }),
        }),
        tables: Some(Tables {
            as_of,
            range,
            read_from: ReadFrom::Facts,
            finished_per_minute: 823.0,
            jobs: finished(None, 11_820, 525, 21.3),
            resources: vec![
                finished(Some("audio"), 1_204, 12, 3.1),
                finished(Some("image"), 8_310, 203, 12.8),
                finished(Some("video"), 2_306, 310, 74.9),
            ],
            open: vec![
                open("open", "audio", 9, 14.0),
                open("open", "image", 204, 95.0),
                open("open", "video", 391, 8_100.0),
                open("stuck", "video", 2, 8_100.0),
            ],
            dead_letters: vec![letters("stale", 3, 62), letters("not_json", 1, 260)],
            rollup_age_seconds: Some(3.4),
        }),
        clickhouse_error: None,
    }
}
