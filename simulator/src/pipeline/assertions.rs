//! Waits until everything that was sent has arrived, and asks the oracle whether the tables are right.

use std::time::{Duration, Instant};

use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, eventually, topic_offsets};

use super::Pipeline;
use super::answers::assert_answers_are_right;
use super::replays::ReplaySource;
use crate::ledger::Attempt;
use crate::oracle::rows::JobStats;
use crate::oracle::{Difference, Snapshot, tables};

const DEADLINE: Duration = Duration::from_secs(120);
/// A processor without a backlog commits a record within about a second.
const WITHOUT_BACKLOG: Duration = Duration::from_secs(3);

/// Waits until the processors have no backlog, under traffic that goes on: what is in the topics now is committed within
/// [`WITHOUT_BACKLOG`]. Returns how long that took.
pub async fn wait_until_caught_up(kafka: &KafkaConfig) -> Duration {
    let began = Instant::now();
    eventually("the processors to catch up", DEADLINE, async || {
        let offsets = topic_offsets(kafka).await?;
        let asked = Instant::now();
        while asked.elapsed() < WITHOUT_BACKLOG {
            if topic_offsets(kafka).await?.has_committed(&offsets) {
                return Some(began.elapsed());
            }
        }
        None
    })
    .await
}

/// Waits until every record is a row and every offset is committed; returns how long that took. Nothing may be sent meanwhile.
pub async fn wait_until_settled(pipeline: &Pipeline, processor: &mut Daemon) -> Duration {
    let began = Instant::now();
    eventually("every record to be a row, and committed", DEADLINE, async || {
        let offsets = topic_offsets(&pipeline.kafka).await?;
        let deliveries = pipeline.count("deliveries FINAL").await?;
        let rejected = pipeline.count("(SELECT DISTINCT origin FROM dead_letters WHERE origin != 'ingest')").await?;
        let dead_letters = pipeline.count("dead_letters FINAL").await?;
        let arrived = deliveries + rejected == offsets.resource_records && dead_letters == offsets.dead_letter_records;
        (arrived && offsets.has_committed(&offsets)).then_some(())
    })
    .await;
    eventually("no lag", DEADLINE, async || {
        (processor.metric_if_there("hookline_processor_lag_records", &[]).await == Some(0.0)).then_some(())
    })
    .await;
    began.elapsed()
}

/// Reads everything that the oracle compares with the ledger.
pub async fn snapshot(pipeline: &Pipeline, attempts: &[Attempt]) -> Snapshot {
    tables::read(&pipeline.clickhouse, attempts.to_vec()).await.unwrap()
}

/// Asserts that the tables agree with the ledger, and what the API and the gauges say with the tables. As a negative control, it then changes one fact and empties one group of the
/// roll-up: the oracle must find these and nothing else.
pub async fn assert_tables_are_right(pipeline: &Pipeline, attempts: &[Attempt]) {
    let right = snapshot(pipeline, attempts).await;
    assert!(!right.deliveries.is_empty() && !right.dead_letters.is_empty());
    assert!(!right.job_facts.is_empty() && !right.job_stats.is_empty());
    let found = right.differences();
    assert!(found.is_empty(), "{} differences: {:#?}", found.len(), &found[..found.len().min(20)]);
    assert_answers_are_right(pipeline, &right.job_facts).await;

    let job = right.job_facts.iter().find(|row| row.finished_at.is_some()).unwrap();
    let change = format!(
        "INSERT INTO jobs SELECT * REPLACE (99999 AS image_count) FROM jobs WHERE job_id = '{}' LIMIT 1",
        job.job_id
    );
    pipeline.execute(&change).await;
    let found = snapshot(pipeline, attempts).await.differences();
    assert!(
        matches!(&*found, [Difference::Column { column, actual, .. }] if column == "image_count" && actual == "99999"),
        "negative control: {found:#?}"
    );

    // The newest version of a group wins, and this one is empty.
    let JobStats { created_hour, source, resource, .. } = &right.job_stats[0];
    let empty = format!(
        "INSERT INTO job_stats SELECT * REPLACE (version + 1 AS version, [] AS minute_cells, [] AS hour_cells) FROM job_stats FINAL \
         WHERE created_hour = {created_hour} AND source = '{source}' AND resource = '{resource}'"
    );
    pipeline.execute(&empty).await;
    let emptied = |row: &&JobStats| (row.created_hour, &row.source, &row.resource) == (*created_hour, source, resource);
    let emptied = right.job_stats.iter().chain(&right.hourly_job_stats).filter(emptied).count();
    let found = snapshot(pipeline, attempts).await.differences();
    let missing = |difference: &&Difference| {
        matches!(difference, Difference::MissingRow { table: "job_stats_by_minute" | "job_stats_by_hour", .. })
    };
    let missing = found.iter().filter(missing).count();
    assert_eq!((missing, found.len()), (emptied, emptied + 1), "negative control: {found:#?}");
}

/// Asserts that a replay of each source reads records, and finds every row as it should be.
pub async fn assert_replay_changes_nothing(pipeline: &Pipeline) {
    for source in [ReplaySource::Kafka, ReplaySource::Deliveries] {
        let folder = tempfile::tempdir().unwrap();
        let report = pipeline.replay(source, &folder.path().join("replay.json")).await;
        assert_eq!(report["changed"], false, "a replay of {source} changed tables that are right: {report:#}");
        assert_ne!(report["records"], 0, "{report:#}");
    }
}
