//! Topics that get more partitions while webhooks come in.

use std::collections::BTreeSet;
use std::time::Duration;

use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::assertions::{assert_tables_are_right, wait_until_settled};
use hookline_simulator::pipeline::traffic::Traffic;
use hookline_testkit::{eventually, run_successfully, topic_offsets};

const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_counters_are_right_though_partitions_were_added() {
    let pipeline = Pipeline::on_shared_servers("partitions").await;
    let mut processor = pipeline.processor("one", &[]);
    let stream = Traffic { jobs: 200, rate: 200.0, seed: 6 }.stream(pipeline.url.clone());
    pipeline.wait_for_rows(100).await;
    assert_eq!(written_partitions(&pipeline).await, BTreeSet::from([0, 1]), "two are the default");
    let counted_before = processor.metric("hookline_jobs_finished_total", &[]).await;

    let migrate = ["migrate", "--json", "--partitions", "5"];
    let report = run_successfully("hookline-analytics", &migrate, &pipeline.environment).await;
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let grown = |step: &&serde_json::Value| step["outcome"] == "done" && step["detail"] == "partitions 2 → 5";
    assert_eq!(report["steps"].as_array().unwrap().iter().filter(grown).count(), 4, "{report:#}");
    eventually("records in every partition", DEADLINE, async || {
        (written_partitions(&pipeline).await.len() == 5).then_some(())
    })
    .await;

    let attempts = stream.end().await;
    wait_until_settled(&pipeline, &mut processor).await;
    let counted = processor.metric("hookline_jobs_finished_total", &[]).await;
    assert!(counted > counted_before, "{counted}, before {counted_before}");
    assert_eq!(counted, pipeline.count("job_facts WHERE outcome != 'open'").await.unwrap() as f64);
    assert_tables_are_right(&pipeline, &attempts).await;
    assert!(processor.terminate().await.success());
}

/// The numbers of the partitions that have records.
async fn written_partitions(pipeline: &Pipeline) -> BTreeSet<i32> {
    let offsets = topic_offsets(&pipeline.kafka).await.unwrap();
    offsets.partitions.iter().filter(|(_, offsets)| offsets.end > 0).map(|((_, partition), _)| *partition).collect()
}
