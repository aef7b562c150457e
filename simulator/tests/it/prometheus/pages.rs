//! The pages of metrics keep what they promise: names and units as Prometheus wants them, every series that can be known there from
//! the start, nothing negative in a histogram, and the version in all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use hookline_simulator::pipeline::assertions::wait_until_settled;
use hookline_simulator::pipeline::traffic::Traffic;
use hookline_testkit::{OF_DATA, Page, eventually, promtool};

use super::{Services, folder};

const DEADLINE: Duration = Duration::from_secs(60);
/// The labels whose values are known with the assignment of partitions, and not before.
const OF_PARTITIONS: &str = "partition=\"";

/// What promtool says against a page.
fn complaints(page: &Page) -> String {
    let checked = promtool(&folder("."), &["check", "metrics"], &page.0);
    [&*checked.stdout, &checked.stderr].map(String::from_utf8_lossy).concat()
}

/// The series of a page without their values; those of gauges left out, since a gauge is no total that began somewhere.
fn totals(page: &Page) -> BTreeSet<String> {
    let kinds: Vec<_> = page.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let kind_of = |name: &str| kinds.iter().find(|(family, _)| name.starts_with(family)).map(|(_, kind)| *kind);
    let lines = page.0.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    series.filter(|series| kind_of(series.split('{').next().unwrap_or_default()) != Some("gauge")).collect()
}

/// Series of `after` that were not there `before`, and could have been.
fn late(before: &Page, after: &Page) -> Vec<String> {
    let of_data = |series: &String| OF_DATA.iter().any(|family| series.starts_with(family));
    let late = totals(after).into_iter().filter(|series| !totals(before).contains(series));
    late.filter(|series| !of_data(series) && !series.contains(OF_PARTITIONS)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_keep_what_they_promise() {
    let mut services = Services::start("pages").await;
    let first = services.pages().await;
    let url = services.pipeline.url.clone();
    Traffic { jobs: 200, rate: 400.0, seed: 6 }.send(url.clone()).await.unwrap();
    // One that is not authentic, and one for a source that nobody knows.
    let client = reqwest::Client::new();
    for path in ["", "/nobody"] {
        client.post(format!("{url}{path}")).body("{}").send().await.unwrap();
    }
    wait_until_settled(&services.pipeline, &mut services.processor).await;
    services.pipeline.execute("RENAME TABLE jobs TO away").await;
    let more = Traffic { jobs: 20, rate: 400.0, seed: 7 }.send(url).await.unwrap();
    assert!(more.0.acknowledged > 0);
    eventually("a retry", DEADLINE, async || {
        let retries = services.processor.metric("hookline_processor_insert_retries_total", &[]).await;
        (retries > 0.0).then_some(())
    })
    .await;
    services.pipeline.execute("RENAME TABLE away TO jobs").await;
    wait_until_settled(&services.pipeline, &mut services.processor).await;
    let committed = services.processor.metric("hookline_processor_commits_total", &["result=\"ok\""]).await;
    assert!(committed > 0.0, "no commit is counted");
    let last = services.pages().await;

    for (job, page) in first.iter().chain(&last) {
        let said = complaints(page);
        assert!(said.is_empty(), "{job}: {said}");
        assert_eq!(page.read("hookline_build_info", &["version=\"0.1.0\""]), 1.0, "{job}");
        let negative = |line: &&str| {
            !line.starts_with('#')
                && (line.contains("le=\"-")
                    || line.split('{').next().is_some_and(|name| name.ends_with("_sum")) && line.contains(" -"))
        };
        assert_eq!(page.0.lines().find(negative), None, "{job}");
    }
    for ((job, before), (_, after)) in first.iter().zip(&last) {
        assert_eq!(late(before, after), Vec::<String>::new(), "{job}: they begin with their first event");
    }

    let pages: String = last.iter().map(|(_, page)| page.0.as_str()).collect();
    let topics: BTreeSet<_> = pages.split("topic=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let prefix = &services.pipeline.kafka.topic_prefix;
    assert!(topics.len() == 4 && topics.iter().all(|topic| topic.starts_with(prefix)), "{topics:?}");

    // The controls: a wrong unit, and a counter that comes with its first event.
    let wrong = Page("# HELP a_hours_total A.\n# TYPE a_hours_total counter\na_hours_total 1\n".into());
    assert!(complaints(&wrong).contains("seconds"), "{}", complaints(&wrong));
    let empty = Page(String::new());
    assert_eq!(late(&empty, &wrong), ["a_hours_total"]);
}
