//! Whoever wrote a job first, the group counts it once; and what the group knows of counted jobs is read within bounds.

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, RefusingProxy, eventually};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

const RELOADS: &str = "hookline_processor_counted_jobs_reloads_total";
/// A text that only the question for the counted jobs has.
const RELOAD: &str = "SELECT source, resource, job_id, started_at, counted_ends";

async fn finished(daemon: &mut Daemon) -> f64 {
    daemon.metric_or_zero("hookline_jobs_finished_total", &[]).await
}

async fn replay_all(under_test: &ProcessorUnderTest) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let output = under_test.run(&["replay", "--rate", "0", "--state", state.to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn jobs_that_a_replay_wrote_first_are_counted_by_the_group() {
    let under_test = ProcessorUnderTest::new("counting_replayed", 2).await;
    let created = now() - 600;
    let mut daemon = under_test.daemon(&[]);
    under_test.produce_jobs(0..30, created);
    under_test.wait_until(DELIVERIES, 60).await;
    daemon.wait_ready().await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 30.0);
    assert!(daemon.terminate().await.success());

    under_test.produce_jobs(30..60, created);
    replay_all(&under_test).await;
    under_test.wait_until(DELIVERIES, 120).await;

    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 30.0, "those that only the replay has written");
    assert_eq!(
        daemon.metric("hookline_job_run_seconds_count", &["outcome=\"completed\""]).await,
        20.0,
        "their starts are known, too"
    );
    // A control: what the group wrote first is not counted again, also after a replay of it.
    replay_all(&under_test).await;
    under_test.produce_jobs(0..60, created);
    under_test.wait_until(DELIVERIES, 240).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 30.0);
    assert!(daemon.terminate().await.success());
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..61, created);
    under_test.wait_until(DELIVERIES, 362).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 1.0, "another process knows all of that from the tables");
}

#[tokio::test]
async fn an_end_that_only_a_replay_wrote_still_contradicts_one_that_was_counted() {
    let under_test = ProcessorUnderTest::new("counting_ends", 1).await;
    let created = now() - 600;
    // Of jobs with numbers that three divides the end is an error; the other end is that of the neighbour.
    let [_, errored] = records_of_job(Resource::Video, 3, created).try_into().unwrap();
    let mut completed = records_of_job(Resource::Video, 4, created).remove(1);
    completed.body = completed.body.replace(&completed.job, &errored.job);
    completed.job.clone_from(&errored.job);

    let mut daemon = under_test.daemon(&[]);
    under_test.produce(&completed);
    under_test.flush();
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 1).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 1.0);
    assert!(daemon.terminate().await.success());

    under_test.produce(&errored);
    under_test.flush();
    replay_all(&under_test).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 0.0, "the job is counted at its first end");
    assert_eq!(daemon.metric("hookline_job_contradictions_total", &["kind=\"outcome\""]).await, 1.0);
}

#[tokio::test]
async fn beyond_its_bound_a_reload_keeps_the_latest() {
    const JOBS: usize = 400;
    let under_test = ProcessorUnderTest::new("counting_bound", 1).await;
    let created = now() - 3_600 / 2;
    // The later a job ended, the earlier its row is in the order of the table's key.
    let jobs = |range: std::ops::Range<usize>| {
        for number in range {
            for mut record in records_of_job(Resource::Video, JOBS - number, created) {
                record.received_ms += number as i64 * 1_000;
                under_test.produce(&record);
            }
        }
        under_test.flush();
    };
    let mut daemon = under_test.daemon(&[]);
    jobs(0..JOBS);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 2 * JOBS as u64).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, JOBS as f64);
    assert!(daemon.terminate().await.success());

    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__COUNTING__REMEMBERED_JOBS", "100")]);
    daemon.wait_ready().await;
    jobs(JOBS - 50..JOBS);
    under_test.wait_until(DELIVERIES, 2 * JOBS as u64 + 100).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 0.0, "at least half of the bound is kept, and these are the latest");
    assert_eq!(daemon.metric(RELOADS, &["result=\"truncated\""]).await, 1.0);
    assert!(daemon.metric("hookline_processor_counted_jobs_entries", &[]).await <= 100.0);
    // A control: what is beyond the bound is counted again.
    jobs(0..50);
    under_test.wait_until(DELIVERIES, 2 * JOBS as u64 + 200).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 50.0);
}

#[tokio::test]
async fn a_reload_without_an_answer_ends_at_its_limit_and_at_shutdown() {
    let under_test = ProcessorUnderTest::new("counting_silent", 1).await;
    let proxy = RefusingProxy::to(&under_test.servers.clickhouse.url).await;
    let url = proxy.url();
    proxy.silence(Some(RELOAD));
    let limit = ("HOOKLINE_PROCESSOR__COUNTING__RELOAD_TIMEOUT_MS", "500");
    let mut daemon = under_test.daemon(&[("CLICKHOUSE_URL", &url), limit]);
    under_test.produce_jobs(0..9, now() - 600);
    under_test.wait_until(DELIVERIES, 18).await;
    assert!(proxy.silenced() > 0, "nothing asked for the counted jobs");
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 9.0);
    assert_eq!(daemon.metric(RELOADS, &["result=\"timed_out\""]).await, 1.0);
    assert!(daemon.terminate().await.success());

    proxy.silence(Some(RELOAD));
    let mut daemon = under_test.daemon(&[("CLICKHOUSE_URL", &url)]);
    eventually("a reload without an answer", DEADLINE, async || (proxy.silenced() > 0).then_some(())).await;
    assert!(daemon.terminate().await.success());
    let log = daemon.log().join("\n");
    assert!(!log.contains("settle_timeout_ms"), "it waited for the reload:\n{log}");
    assert!(log.contains("everything that was read is written and committed"), "{log}");
}

#[tokio::test]
async fn a_batch_that_is_cancelled_after_its_jobs_were_inserted_is_counted_once() {
    let under_test = ProcessorUnderTest::new("counting_cancelled", 1).await;
    let proxy = RefusingProxy::to(&under_test.servers.clickhouse.url).await;
    let url = proxy.url();
    let settle = ("HOOKLINE_PROCESSOR__GROUP__SETTLE_TIMEOUT_MS", "500");
    let mut daemon = under_test.daemon(&[("CLICKHOUSE_URL", &url), settle]);
    daemon.wait_ready().await;
    proxy.silence(Some("deliveries"));
    under_test.produce_jobs(0..9, now() - 600);
    eventually("an insert without an answer", DEADLINE, async || (proxy.silenced() > 0).then_some(())).await;
    let counted_first = finished(&mut daemon).await;
    assert!(counted_first > 0.0, "its jobs are in the table, which says that they are counted");
    daemon.terminate().await;
    assert_eq!(under_test.query_number(DELIVERIES).await, 0, "the batch was cancelled");
    let is_begin = |offset: &rdkafka::Offset| matches!(offset, rdkafka::Offset::Invalid | rdkafka::Offset::Offset(0));
    assert!(under_test.committed_offsets().iter().all(is_begin), "nothing was committed");

    let mut daemon = under_test.daemon(&[]);
    under_test.wait_until(DELIVERIES, 18).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(counted_first + finished(&mut daemon).await, 9.0);
}
