//! No rule and no panel asks for what there is not: every expression names metrics and labels that the daemons show, and has data
//! in a Prometheus that scrapes them under traffic.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hookline_simulator::pipeline::traffic::Traffic;
use hookline_testkit::{PrometheusServer, Setup, eventually};

use super::dashboards::asked;
use super::question::{Known, questions};
use super::{Services, files};

const DEADLINE: Duration = Duration::from_secs(120);

/// An expression and where it stands.
type Expression = (String, String);

/// The p95 of the last seven days at this time of the day, as `serve` would have shown it.
fn past_days() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut text = "# TYPE hookline_job_duration_seconds gauge\n".to_owned();
    for resource in ["video", "image", "audio"] {
        for day in (1..=7).rev() {
            for minute in 0..20 {
                let at = now - day * 86_400 - 300 + minute * 60;
                let labels = format!(
                    "kind=\"total\",percentile=\"p95\",resource=\"{resource}\",source=\"magichour\",window=\"1h\""
                );
                writeln!(text, "hookline_job_duration_seconds{{{labels}}} 60 {at}").unwrap();
            }
        }
    }
    text + "# EOF\n"
}

/// Every expression of the rules, as Prometheus has read them, and the names that they record.
async fn of_rules(prometheus: &PrometheusServer) -> (Vec<Expression>, BTreeSet<String>) {
    let groups = prometheus.rule_groups().await;
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let recorded = rules.iter().filter(|rule| rule["type"] == "recording").map(|rule| text(&rule["name"]));
    (rules.iter().map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect(), recorded.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_names_what_there_is_and_has_data() {
    let services = Services::start("expressions").await;
    let traffic = Traffic { jobs: 50, rate: 20.0, seed: 8 }.stream(services.pipeline.url.clone());
    let rules = files("deploy/prometheus/rules", "yml");
    let setup = Setup { targets: services.targets.clone(), rules, history: Some(past_days()) };
    let prometheus = PrometheusServer::start(&setup).await;
    let (mut expressions, recorded) = of_rules(&prometheus).await;
    let asked = asked();
    expressions.extend(asked.expressions);
    assert!(expressions.len() > 70, "{} expressions", expressions.len());
    assert!(asked.statements.len() >= 5, "{:?}", asked.statements);
    for (of, statement) in &asked.statements {
        let run = services.pipeline.clickhouse.query(&format!("{statement} FORMAT Null")).execute().await;
        assert!(run.is_ok(), "{of}: {statement}: {run:?}");
    }

    // The page of a process that has seen every kind of job, and knows how far behind it is, has every label.
    let known = eventually("jobs that finished", DEADLINE, async || {
        let pages = services.pages().await;
        let has_seen = |name: &str| pages.iter().any(|(_, page)| page.find(name, &[]).is_some());
        let all = [
            "hookline_jobs_finished_total",
            "hookline_error_ratio",
            "hookline_job_duration_seconds",
            "hookline_processor_lag_seconds",
            "hookline_processor_partition_stopped",
        ];
        all.iter().all(|name| has_seen(name)).then(|| Known::new(pages.iter().map(|(_, page)| page), recorded.clone()))
    })
    .await;
    let faults = expressions.iter().flat_map(|(of, text)| known.faults(text).into_iter().map(move |fault| (of, fault)));
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{faults:#?}");

    for (of, text) in &expressions {
        for question in questions(text) {
            eventually(&format!("data for {question}, of {of}"), DEADLINE, async || {
                (!prometheus.query(&question).await.is_empty()).then_some(())
            })
            .await;
        }
    }
    // The control: a label and a value that nobody has, and a column that is none.
    assert!(services.pipeline.clickhouse.query("SELECT nothing FROM stuck_jobs").execute().await.is_err());
    assert_eq!(known.faults("sum by (nobody) (hookline_ready)").len(), 1);
    assert!(prometheus.query("hookline_ready{part=\"moon\"}").await.is_empty());
    traffic.end().await;
}
