//! Asks the API and the gauges, as people do, and holds every number against the facts, which the oracle holds against the ledger.
//! Groups, counts, shares and maxima are made here, anew; quantiles are those that ClickHouse finds in the facts themselves.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use clickhouse::Row;
use hookline_testkit::{Daemon, Page, with};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Pipeline;
use crate::oracle::rows::JobFacts;
use crate::provider_time::ProviderTime;

/// A range that the facts answer, and one that the roll-up does.
const RANGES: [(&str, i64); 2] = [("facts", 2 * 3_600), ("rollup", 24 * 3_600)];
const LEVELS: [&str; 4] = ["p50", "p90", "p95", "p99"];

/// Source, resource, job type and error code.
type Group = [String; 4];

#[derive(Row, Deserialize)]
struct Quantiles {
    group: Vec<String>,
    total: Vec<f64>,
    run: Vec<f64>,
    queue: Vec<f64>,
}

/// Asserts that the API, from facts and roll-up alike, and the gauges tell what `facts` say.
pub async fn assert_answers_are_right(pipeline: &Pipeline, facts: &[JobFacts]) {
    let environment = with(&pipeline.environment, &[("HOOKLINE_ANALYTICS__SERVE__LISTEN", "127.0.0.1:0")]);
    let mut serve = Daemon::start("hookline-analytics", &["serve"], &environment);
    let url = format!("http://{}", serve.address("serve").await);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let to = (now / 60 + 2) * 60;
    for (read_from, seconds) in RANGES {
        let from = to - seconds;
        let [start, end] = [from, to].map(|second| ProviderTime(second * 1000).rfc3339(false));
        let by = "by=source&by=resource&by=job_type&by=error_code";
        let answer = reqwest::get(format!("{url}/api/v1/durations?from={start}&to={end}&{by}")).await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer["read_from"], read_from);
        let quantiles = quantiles(pipeline, (from, to)).await;
        let right = expected(facts, (from, to), &quantiles);
        let answered = sorted(answer["rows"].as_array().unwrap().clone());
        assert!(!right.is_empty() && answered == right, "{read_from}: {answered:#?} and not {right:#?}");
        // The control: one job less is another answer.
        let ended = facts.iter().position(|job| job.finished_at.is_some()).unwrap();
        let fewer: Vec<_> =
            facts.iter().enumerate().filter(|(index, _)| *index != ended).map(|(_, job)| job.clone()).collect();
        assert_ne!(answered, expected(&fewer, (from, to), &quantiles));
    }
    let page = Page(reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap());
    for (labels, ratio) in error_ratios(facts) {
        let labels = [&*labels[0], &*labels[1], "window=\"24h\""];
        assert_eq!(page.read("hookline_error_ratio", &labels), ratio, "{labels:?}");
    }
    assert!(serve.terminate().await.success());
}

impl Quantiles {
    fn of(&self, kind: &str) -> &[f64] {
        match kind {
            "total" => &self.total,
            "run" => &self.run,
            _ => &self.queue,
        }
    }
}

fn seconds(job: &JobFacts, kind: &str) -> Option<f64> {
    match kind {
        "total" => job.total_seconds,
        "run" => job.run_seconds,
        _ => job.queue_seconds,
    }
}

fn group_of(job: &JobFacts) -> Group {
    // A job that completed counts as completed alone, even if it had sent `errored` before.
    let code = if job.outcome == "errored" { job.error_code.clone() } else { String::new() };
    [job.source.clone(), job.resource.clone(), job.job_type.clone(), code]
}

/// The rows that the API should answer for the jobs that ended between two seconds, in the order of their groups.
fn expected(facts: &[JobFacts], (from, to): (i64, i64), quantiles: &[Quantiles]) -> Vec<Value> {
    let ended = |job: &&JobFacts| job.finished_at.is_some_and(|at| (from..to).contains(&at.second()));
    let mut groups = BTreeMap::<Group, Vec<&JobFacts>>::new();
    for job in facts.iter().filter(ended) {
        groups.entry(group_of(job)).or_default().push(job);
    }
    let row = |(group, jobs): (Group, Vec<&JobFacts>)| {
        let count = |outcome: &str| jobs.iter().filter(|job| job.outcome == outcome).count();
        let (completed, errored) = (count("completed"), count("errored"));
        let [source, resource, job_type, error_code] = &group;
        let mut row = json!({
            "source": source, "resource": resource, "job_type": job_type, "error_code": error_code, "completed": completed,
            "errored": errored, "error_rate": share(errored, completed),
        });
        let quantiles = quantiles.iter().find(|quantiles| quantiles.group == group);
        for kind in ["total", "run", "queue"] {
            let seconds: Vec<f64> = jobs.iter().filter_map(|job| seconds(job, kind)).collect();
            let Some(max) = seconds.iter().copied().reduce(f64::max) else { continue };
            let mut durations = json!({ "jobs": seconds.len(), "max": max });
            let found = quantiles.map(|quantiles| quantiles.of(kind)).unwrap_or_default();
            for (level, quantile) in LEVELS.iter().zip(found) {
                durations[level] = json!(quantile.min(max));
            }
            row[kind] = durations;
        }
        row
    };
    let rows: Vec<_> = groups.into_iter().map(row).collect();
    // Read as the answer is read, so that a number is the same if its digits are.
    sorted(serde_json::from_str(&serde_json::to_string(&rows).unwrap()).unwrap())
}

fn share(errored: usize, completed: usize) -> f64 {
    errored as f64 / (errored + completed) as f64
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.sort_by_key(|row| ["source", "resource", "job_type", "error_code"].map(|name| text(row, name)));
    rows
}

/// The labels and the value of each error ratio.
fn error_ratios(facts: &[JobFacts]) -> Vec<([String; 2], f64)> {
    let mut counts = BTreeMap::<[String; 2], (usize, usize)>::new();
    for job in facts.iter().filter(|job| job.outcome != "open") {
        let labels = [format!("source=\"{}\"", job.source), format!("resource=\"{}\"", job.resource)];
        let (errored, completed) = counts.entry(labels).or_default();
        *if job.outcome == "errored" { errored } else { completed } += 1;
    }
    counts.into_iter().map(|(labels, (errored, completed))| (labels, share(errored, completed))).collect()
}

async fn quantiles(pipeline: &Pipeline, (from, to): (i64, i64)) -> Vec<Quantiles> {
    let of = |kind: &str| {
        format!(
            "quantilesDDIf(0.01, 0.5, 0.9, 0.95, 0.99)(assumeNotNull({kind}_seconds), {kind}_seconds IS NOT NULL) AS {kind}"
        )
    };
    let query = format!(
        "SELECT [source, resource, job_type, if(outcome = 'errored', error_code, '')] AS group, {}, {}, {} FROM job_facts \
         WHERE outcome != 'open' AND finished_at >= toDateTime({from}, 'UTC') AND finished_at < toDateTime({to}, 'UTC') GROUP BY group",
        of("total"),
        of("run"),
        of("queue"),
    );
    pipeline.clickhouse.query(&query).fetch_all().await.unwrap()
}
