//! Waits until everything has arrived, and asks the oracle.

use std::time::{Duration, Instant};

use hookline_simulator::ledger::Attempt;
use hookline_simulator::oracle::rows::JobStats;
use hookline_simulator::oracle::{Difference, Evidence, tables};
use hookline_testkit::{Daemon, eventually};

use crate::stage::Stage;
use crate::topics::census;

const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until every record is a row and every offset is committed, and returns how long that took.
pub async fn settled(stage: &Stage, processor: &mut Daemon) -> Duration {
    let began = Instant::now();
    eventually("every record to be a row, and committed", DEADLINE, async || {
        let census = census(&stage.kafka).await?;
        let deliveries = stage.count("deliveries FINAL").await?;
        let refused = stage.count("(SELECT DISTINCT origin FROM dead_letters WHERE origin != 'ingest')").await?;
        let dead_letters = stage.count("dead_letters FINAL").await?;
        let arrived = deliveries + refused == census.resources && dead_letters == census.dead_letters;
        (arrived && census.has_committed(&census)).then_some(())
    })
    .await;
    eventually("no lag", DEADLINE, async || {
        (processor.metric_if_there("hookline_processor_lag_records", &[]).await == Some(0.0)).then_some(())
    })
    .await;
    began.elapsed()
}

/// Everything that can be held against each other.
pub async fn evidence(stage: &Stage, attempts: &[Attempt]) -> Evidence {
    tables::read(&stage.clickhouse, attempts.to_vec()).await.unwrap()
}

/// The tables are right, and the oracle can tell: it finds a fact that is changed and a group of the roll-up that is emptied,
/// and nothing else.
pub async fn assert_right(stage: &Stage, attempts: &[Attempt]) {
    let right = evidence(stage, attempts).await;
    assert!(!right.deliveries.is_empty() && !right.dead_letters.is_empty());
    assert!(!right.job_facts.is_empty() && !right.job_stats.is_empty());
    let found = right.differences();
    assert!(found.is_empty(), "{} differences: {:#?}", found.len(), &found[..found.len().min(20)]);

    let job = right.job_facts.iter().find(|row| row.finished_at.is_some()).unwrap();
    change(
        stage,
        &format!(
            "INSERT INTO jobs SELECT * REPLACE (99999 AS image_count) FROM jobs WHERE job_id = '{}' LIMIT 1",
            job.job_id
        ),
    )
    .await;
    let found = evidence(stage, attempts).await.differences();
    assert!(
        matches!(&*found, [Difference::Column { column, actual, .. }] if column == "image_count" && actual == "99999"),
        "negative control: {found:#?}"
    );

    // The newest version of a group wins: this one has nothing in it.
    let JobStats { created_hour, source, resource, .. } = &right.job_stats[0];
    change(
        stage,
        &format!(
            "INSERT INTO job_stats SELECT created_hour, source, resource, now64(9, 'UTC'), [] FROM job_stats FINAL \
             WHERE created_hour = {created_hour} AND source = '{source}' AND resource = '{resource}'"
        ),
    )
    .await;
    let emptied = |row: &&JobStats| (row.created_hour, &row.source, &row.resource) == (*created_hour, source, resource);
    let emptied = right.job_stats.iter().filter(emptied).count();
    let found = evidence(stage, attempts).await.differences();
    let missing =
        |difference: &&Difference| matches!(difference, Difference::MissingRow { table: "job_stats_by_minute", .. });
    let missing = found.iter().filter(missing).count();
    assert_eq!((missing, found.len()), (emptied, emptied + 1), "negative control: {found:#?}");
}

/// A replay finds nothing to do.
pub async fn assert_nothing_to_repair(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    let result = stage.replay(&folder.path().join("replay.json")).await;
    assert_eq!(result["changed"], false, "a replay changed tables that are right: {result:#}");
    assert_ne!(result["records"], 0, "{result:#}");
}

/// Changes a table behind everybody's back.
pub async fn change(stage: &Stage, statement: &str) {
    stage.clickhouse.query(statement).execute().await.unwrap();
}
