//! What is committed is in the roll-up.

use hookline_schemas::ids::Resource;

use crate::processor_under_test::{ProcessorUnderTest, now, records_of_job};

/// Rows of either side that the other does not have.
const DIFFERENCES: &str = "SELECT count() FROM (SELECT 1 FROM (
    SELECT created_hour, toStartOfMinute(assumeNotNull(finished_at)) AS minute, source, resource, job_type,
        if(outcome = 'errored', error_code, '') AS code, countIf(outcome = 'completed') AS completed,
        countIf(outcome = 'errored') AS errored, max(total_seconds) AS longest
    FROM job_facts WHERE outcome != 'open' GROUP BY created_hour, minute, source, resource, job_type, code
    UNION ALL
    SELECT created_hour, minute, source, resource, job_type, error_code, completed, errored, total_max
    FROM job_stats_by_minute
) GROUP BY created_hour, minute, source, resource, job_type, code, completed, errored, longest HAVING count() != 2)";

#[tokio::test]
async fn a_committed_offset_implies_a_fresh_roll_up() {
    let under_test = ProcessorUnderTest::new("rollup", 2).await;
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    let created = now() - 7_000;
    under_test.produce_jobs(0..300, created);
    under_test.wait_until("SELECT count() FROM deliveries FINAL", 600).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number(DIFFERENCES).await, 0);
    assert_eq!(under_test.query_number("SELECT sum(completed) FROM job_stats_by_minute").await, 200);

    // A job that had failed completes after all: its minute, code and outcome move.
    let mut late = records_of_job(Resource::Video, 1, created).remove(1);
    late.job = format!("c{:024}", 0);
    late.body = late.body.replace(&format!("c{:024}", 1), &late.job);
    under_test.produce(&late);
    under_test.flush();
    under_test.wait_until("SELECT count() FROM deliveries FINAL", 601).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number(DIFFERENCES).await, 0);
    assert_eq!(under_test.query_number("SELECT sum(completed) FROM job_stats_by_minute").await, 201);

    // The comparison can fail: a fact that nobody refreshed for.
    under_test
        .execute(&format!(
            "INSERT INTO jobs SELECT * REPLACE (errored_at - toIntervalMinute(2) AS errored_at) FROM jobs \
             WHERE errored_at IS NOT NULL AND job_id != '{}' LIMIT 1",
            late.job
        ))
        .await;
    assert!(under_test.query_number(DIFFERENCES).await > 0);
    assert!(daemon.terminate().await.success());
}
