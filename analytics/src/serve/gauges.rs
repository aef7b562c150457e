//! Gauges of the jobs that ended in the last minutes and hours, by event time: what `/metrics` adds to the figures of the process.

use prometheus::{Encoder as _, GaugeVec, IntGauge, Opts, Registry, TextEncoder};
use time::OffsetDateTime;

use super::problem::Problem;
use super::state::ServeState;
use crate::query::Dimension;
use crate::query::filter::Filter;
use crate::query::finished::{Finished, FinishedJobs, Kind};
use crate::query::open::{OpenCount, OpenNow};
use crate::query::range::Range;

/// The windows, which end with the current minute.
const WINDOWS: [(&str, i64); 3] = [("5m", 300), ("1h", 3_600), ("24h", 86_400)];

/// The families; made anew for each page, so that a window without jobs has no series.
struct Gauges {
    registry: Registry,
    error_ratio: GaugeVec,
    duration: GaugeVec,
    open: GaugeVec,
    stuck: GaugeVec,
    oldest: GaugeVec,
    as_of: IntGauge,
}

impl Gauges {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let vector = |name, help, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let of_jobs = ["source", "resource"];
        let gauges = Self {
            error_ratio: vector(
                "hookline_error_ratio",
                "Share of errored jobs among those that ended in the window; no series where none ended",
                &["source", "resource", "window"],
            )?,
            duration: vector(
                "hookline_job_duration_seconds",
                "Durations of the jobs that ended in the window; no series where none has one",
                &["source", "resource", "kind", "percentile", "window"],
            )?,
            open: vector("hookline_open_jobs", "Jobs without an end whose last event may still come", &of_jobs)?,
            stuck: vector("hookline_stuck_jobs", "Open jobs beyond the threshold of their resource", &of_jobs)?,
            oldest: vector(
                "hookline_oldest_open_job_seconds",
                "Age of the oldest open job, 0 where none is open",
                &of_jobs,
            )?,
            as_of: IntGauge::new(
                "hookline_as_of_timestamp_seconds",
                "When ClickHouse was asked for the gauges of jobs",
            )?,
            registry: registry.clone(),
        };
        registry.register(Box::new(gauges.as_of.clone()))?;
        Ok(gauges)
    }

    fn set_window(&self, window: &str, groups: &[FinishedJobs]) {
        for group in groups {
            let (source, resource) =
                (group.source.as_deref().unwrap_or_default(), group.resource.as_deref().unwrap_or_default());
            for of_now in [&self.open, &self.stuck, &self.oldest] {
                of_now.with_label_values(&[source, resource]);
            }
            if let Some(ratio) = group.error_rate {
                self.error_ratio.with_label_values(&[source, resource, window]).set(ratio);
            }
            for (kind, durations) in [(Kind::Total, group.total), (Kind::Run, group.run), (Kind::Queue, group.queue)] {
                let Some(durations) = durations else { continue };
                let percentiles =
                    [("p50", durations.p50), ("p90", durations.p90), ("p95", durations.p95), ("p99", durations.p99)];
                for (percentile, seconds) in percentiles {
                    let labels = [source, resource, kind.name(), percentile, window];
                    self.duration.with_label_values(&labels).set(seconds);
                }
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 jobs are open")]
    fn set_open(&self, counts: &[OpenCount]) {
        for count in counts {
            let labels = [count.source.as_str(), count.resource.as_str()];
            // Where jobs are known, none that is stuck is a 0, and not a name that is missing.
            self.stuck.with_label_values(&labels);
            match count.state.as_str() {
                "open" => {
                    self.open.with_label_values(&labels).set(count.jobs as f64);
                    if let Some(seconds) = count.oldest_seconds {
                        self.oldest.with_label_values(&labels).set(seconds);
                    }
                }
                "stuck" => self.stuck.with_label_values(&labels).set(count.jobs as f64),
                _ => {}
            }
        }
    }
}

/// The gauges in the text format of Prometheus.
pub async fn text(state: &ServeState) -> Result<String, Problem> {
    let internal =
        |error: prometheus::Error| Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let gauges = Gauges::new().map_err(internal)?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let end = (now + 59) / 60 * 60;
    for (window, seconds) in WINDOWS {
        let Ok(range) = Range::new(end - seconds, end) else { continue };
        let by = vec![Dimension::Source, Dimension::Resource];
        let question =
            Finished { range, filter: Filter::default(), by, step: None, kinds: Kind::ALL.to_vec(), read_from: None };
        gauges.set_window(window, &question.answer(state.rows(&question.statement()).await?));
    }
    gauges.set_open(&state.rows(&OpenNow { filter: Filter::default() }.statement()).await?);
    gauges.as_of.set(now);
    let mut page = Vec::new();
    TextEncoder::new().encode(&gauges.registry.gather(), &mut page).map_err(internal)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use hookline_testkit::docs::assert_section;
    use hookline_testkit::metrics_table;

    use super::*;
    use crate::query::finished::Durations;

    fn group() -> FinishedJobs {
        let durations = Durations { jobs: 1, p50: 1.0, p90: 2.0, p95: 3.0, p99: 4.0, max: 5.0 };
        let (source, resource) = (Some("s".to_owned()), Some("video".to_owned()));
        FinishedJobs {
            source,
            resource,
            completed: 3,
            errored: 1,
            error_rate: Some(0.25),
            run: Some(durations),
            ..FinishedJobs::NONE
        }
    }

    fn count(state: &str) -> OpenCount {
        let (source, resource) = ("s".to_owned(), "video".to_owned());
        OpenCount { state: state.to_owned(), source, resource, jobs: 2, oldest_seconds: Some(7.0) }
    }

    #[test]
    fn an_empty_window_has_no_series() {
        let gauges = Gauges::new().unwrap();
        gauges.set_window("5m", &[]);
        gauges.set_window("1h", &[group()]);
        let page = TextEncoder::new().encode_to_string(&gauges.registry.gather()).unwrap();
        assert!(!page.contains("5m"), "{page}");
        assert!(page.contains("hookline_error_ratio{resource=\"video\",source=\"s\",window=\"1h\"} 0.25"), "{page}");
        let p95 = "hookline_job_duration_seconds{kind=\"run\",percentile=\"p95\",resource=\"video\",source=\"s\",window=\"1h\"} 3";
        assert!(page.contains(p95) && !page.contains("kind=\"total\""), "{page}");
    }

    #[test]
    fn where_jobs_are_known_none_that_is_open_or_stuck_is_a_zero() {
        let gauges = Gauges::new().unwrap();
        gauges.set_window("24h", &[group()]);
        gauges.set_open(&[OpenCount { resource: "image".into(), ..count("open") }]);
        let page = TextEncoder::new().encode_to_string(&gauges.registry.gather()).unwrap();
        for series in [
            "hookline_open_jobs{resource=\"video\",source=\"s\"} 0",
            "hookline_stuck_jobs{resource=\"video\",source=\"s\"} 0",
            "hookline_oldest_open_job_seconds{resource=\"video\",source=\"s\"} 0",
            "hookline_open_jobs{resource=\"image\",source=\"s\"} 2",
            "hookline_stuck_jobs{resource=\"image\",source=\"s\"} 0",
        ] {
            assert!(page.lines().any(|line| line == series), "{series}: {page}");
        }
    }

    #[test]
    fn the_documentation_is_up_to_date() {
        let gauges = Gauges::new().unwrap();
        gauges.set_window("1h", &[group()]);
        gauges.set_open(&[count("open"), count("stuck"), count("unresolved")]);
        let statements = super::super::statements().unwrap();
        gauges.registry.register(Box::new(statements)).unwrap();
        assert_section("metrics.md", "analytics", &metrics_table(&gauges.registry.gather()));
    }
}
