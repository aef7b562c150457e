//! 2,000 jobs with repeated, late and missing events, and a processor that is killed in the middle.

use std::time::Duration;

use hookline_simulator::oracle::Difference;
use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::assertions::{assert_tables_are_right, snapshot, wait_until_settled};
use hookline_simulator::pipeline::traffic::Traffic;
use hookline_testkit::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_is_right_though_the_processor_was_killed() {
    let pipeline = Pipeline::on_shared_servers("end_to_end").await;
    let mut processor = pipeline.processor("one", &[]);
    let traffic = Traffic { jobs: 2_000, rate: 400.0, seed: 4 }.send(pipeline.url.clone());
    eventually("a quarter of the rows", Duration::from_secs(60), async || {
        pipeline.count("deliveries").await.filter(|rows| *rows >= 1_000)
    })
    .await;
    processor.kill();
    let before = pipeline.count("deliveries").await.unwrap();
    processor = pipeline.processor("one", &[]);
    let (counts, attempts) = traffic.await.unwrap();
    assert!(before < counts.webhooks / 2, "it was killed too late: {before} rows");
    wait_until_settled(&pipeline, &mut processor).await;

    // Nothing was answered with 503 and nothing went unanswered: the tables must be exactly the ledger.
    assert_eq!(counts.attempts, counts.acknowledged, "{counts:?}");
    assert_tables_are_right(&pipeline, &attempts).await;
    assert!(processor.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_finds_what_is_wrong_and_nothing_else() {
    let pipeline = Pipeline::on_shared_servers("oracle").await;
    let mut processor = pipeline.processor("one", &[]);
    let (_, mut attempts) = Traffic { jobs: 200, rate: 400.0, seed: 5 }.send(pipeline.url.clone()).await.unwrap();
    wait_until_settled(&pipeline, &mut processor).await;
    let right = snapshot(&pipeline, &attempts).await;
    assert_eq!(right.differences(), []);

    // An attempt that is in no table.
    let known = attempts[0].signature.clone();
    attempts[0].signature = "0".repeat(64);
    let found = snapshot(&pipeline, &attempts).await.differences();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(matches!(found[0], Difference::Lost { .. }) && matches!(found[1], Difference::Invented { .. }));
    attempts[0].signature = known;

    // A row that somebody deleted: the delivery is lost, and the facts of its job follow from no body any longer.
    let lost = right.deliveries.iter().find(|row| row.action == "completed").unwrap();
    let statement =
        format!("DELETE FROM deliveries WHERE signature = '{}' SETTINGS lightweight_deletes_sync = 2", lost.signature);
    pipeline.execute(&statement).await;
    let found = snapshot(&pipeline, &attempts).await.differences();
    assert!(matches!(&found[0], Difference::Lost { receipt, .. } if receipt.signature == lost.signature), "{found:#?}");
    for difference in &found[1..] {
        assert!(difference.to_string().contains(&lost.job_id), "{difference}");
    }

    // A job that ended after the last refresh of the roll-up.
    let job = right.job_facts.iter().find(|row| row.outcome == "completed").unwrap();
    let statement = format!(
        "INSERT INTO jobs SELECT * REPLACE ('late' AS job_id) FROM (SELECT * FROM jobs FINAL WHERE job_id = '{}')",
        job.job_id
    );
    pipeline.execute(&statement).await;
    let found = snapshot(&pipeline, &attempts).await.differences();
    let stale =
        |difference: &&Difference| matches!(difference, Difference::Column { table: "job_stats_by_minute", .. });
    let stale: Vec<_> = found.iter().filter(stale).collect();
    assert!(matches!(&*stale, [Difference::Column { column, .. }, ..] if column == "completed"), "{found:#?}");
}
