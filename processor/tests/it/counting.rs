//! A finished job is counted once.

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, eventually};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

async fn finished(daemon: &mut Daemon) -> f64 {
    daemon.metric_or_zero("hookline_jobs_finished_total", &[]).await
}

#[tokio::test]
async fn duplicates_and_a_restart_count_nothing_again() {
    let under_test = ProcessorUnderTest::new("counting", 2).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    let created = now() - 600;
    under_test.produce_jobs(0..90, created);
    under_test.produce_jobs(0..90, created);
    under_test.wait_until(DELIVERIES, 360).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 90.0);
    assert_eq!(
        daemon.metric("hookline_jobs_finished_total", &["outcome=\"errored\"", "error_code=\"no_source_face\""]).await,
        30.0
    );
    assert_eq!(daemon.metric("hookline_job_run_seconds_count", &["outcome=\"completed\""]).await, 60.0);
    assert!(daemon.terminate().await.success());

    let mut daemon = under_test.daemon(&[]);
    under_test.produce_jobs(0..100, created);
    under_test.wait_until(DELIVERIES, 560).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 10.0, "only what the first one had not counted");
    assert!(daemon.terminate().await.success());
}

/// Jobs that were created further back than jobs hardly ever last are known from the roll-up.
#[tokio::test]
async fn a_job_that_ended_late_is_not_counted_again_either() {
    let under_test = ProcessorUnderTest::new("counting_late", 2).await;
    let produce = || {
        for job in 0..10 {
            for mut record in records_of_job(Resource::Video, job, now() - 20 * 86_400) {
                record.signed_at = now() - 60;
                record.received_ms = i64::from(record.signed_at) * 1_000;
                under_test.produce(&record);
            }
        }
        under_test.flush();
    };
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    produce();
    under_test.wait_until(DELIVERIES, 20).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 10.0);
    assert!(daemon.terminate().await.success());

    let mut daemon = under_test.daemon(&[]);
    produce();
    under_test.wait_until(DELIVERIES, 40).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 0.0);
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn what_a_killed_process_inserted_is_not_counted_by_the_next() {
    let under_test = ProcessorUnderTest::new("counting_killed", 2).await;
    under_test.produce_jobs(0..60, now() - 600);
    let mut daemon = under_test.daemon(&[("HOOKLINE_FAIL_POINT", "before_commit")]);
    assert!(!daemon.wait().await.success(), "it was to be killed");
    assert_eq!(under_test.query_number(DELIVERIES).await, 120);
    assert!(
        under_test.committed_offsets().iter().all(|offset| *offset == rdkafka::Offset::Invalid),
        "nothing was committed"
    );

    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(daemon.metric("hookline_processor_records_consumed_total", &[]).await, 120.0, "all of it came again");
    assert_eq!(finished(&mut daemon).await, 0.0);
    under_test.produce_jobs(60..61, now() - 600);
    under_test.wait_until(DELIVERIES, 122).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(finished(&mut daemon).await, 1.0, "it does count");
}

#[tokio::test]
async fn two_members_count_each_job_once_across_a_rebalance() {
    let under_test = ProcessorUnderTest::new("counting_group", 4).await;
    let member = |name: &'static str| {
        under_test.daemon(&[
            ("HOOKLINE_PROCESSOR__GROUP__INSTANCE_ID", name),
            ("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300"),
        ])
    };
    let created = now() - 600;
    let mut one = member("one");
    one.wait_ready().await;
    under_test.produce_jobs(0..90, created);
    under_test.wait_until(DELIVERIES, 180).await;
    let mut two = member("two");
    for daemon in [&mut one, &mut two] {
        eventually("half of the partitions", DEADLINE, async || {
            (daemon.metric_labels("hookline_processor_lag_records").await.len() == 8).then_some(())
        })
        .await;
    }
    under_test.produce_jobs(0..150, created);
    under_test.wait_until(DELIVERIES, 480).await;
    for daemon in [&mut one, &mut two] {
        under_test.wait_until_no_lag(daemon).await;
    }
    assert_eq!(finished(&mut one).await + finished(&mut two).await, 150.0);
    assert!(two.metric("hookline_processor_records_consumed_total", &[]).await > 0.0, "both had something to do");
}
