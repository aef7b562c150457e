//! What is committed is in the roll-up.

use hookline_schemas::ids::Resource;

use crate::stand::{Stand, job, now};

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
    let stand = Stand::new("rollup", 2).await;
    let mut daemon = stand.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    let created = now() - 7_000;
    stand.send_jobs(0..300, created);
    stand.until("SELECT count() FROM deliveries FINAL", 600).await;
    stand.until_no_lag(&mut daemon).await;
    assert_eq!(stand.number(DIFFERENCES).await, 0);
    assert_eq!(stand.number("SELECT sum(completed) FROM job_stats_by_minute").await, 200);

    // A job that had failed completes after all: its minute, code and outcome move.
    let mut late = job(Resource::Video, 1, created).remove(1);
    late.job = format!("c{:024}", 0);
    late.body = late.body.replace(&format!("c{:024}", 1), &late.job);
    stand.send(&late);
    stand.flush();
    stand.until("SELECT count() FROM deliveries FINAL", 601).await;
    stand.until_no_lag(&mut daemon).await;
    assert_eq!(stand.number(DIFFERENCES).await, 0);
    assert_eq!(stand.number("SELECT sum(completed) FROM job_stats_by_minute").await, 201);

    // The comparison can fail: a fact that nobody refreshed for.
    stand
        .execute(&format!(
            "INSERT INTO jobs SELECT * REPLACE (errored_at - toIntervalMinute(2) AS errored_at) FROM jobs \
             WHERE errored_at IS NOT NULL AND job_id != '{}' LIMIT 1",
            late.job
        ))
        .await;
    assert!(stand.number(DIFFERENCES).await > 0);
    assert!(daemon.terminate().await.success());
}
