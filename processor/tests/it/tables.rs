//! What is in the topics is in the tables.

use hookline_schemas::ids::Resource;
use nix::sys::signal::Signal;
use rdkafka::message::OwnedHeaders;

use crate::processor_under_test::{DELIVERIES, ProcessorUnderTest, now, records_of_job};

#[tokio::test]
async fn records_become_rows_of_jobs_and_of_deliveries() {
    let under_test = ProcessorUnderTest::new("facts", 4).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    let created = now() - 600;
    under_test.produce_jobs(0..300, created);
    under_test.wait_until(DELIVERIES, 600).await;
    assert_eq!(under_test.query_number("SELECT count() FROM job_facts WHERE outcome = 'completed'").await, 200);
    assert_eq!(
        under_test
            .query_number("SELECT count() FROM job_facts WHERE outcome = 'errored' AND error_code = 'no_source_face'")
            .await,
        100
    );
    let exact =
        "SELECT count() FROM job_facts WHERE run_seconds = if(outcome = 'completed', 1, 2) AND queue_seconds = 2.25";
    assert_eq!(under_test.query_number(exact).await, 300);
    assert_eq!(
        under_test
            .query_number(
                "SELECT count() FROM deliveries FINAL WHERE log_id = '' OR body = '' OR length(signature) != 64"
            )
            .await,
        0
    );
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_record_that_ingest_did_not_write_is_a_dead_letter_with_its_origin() {
    let under_test = ProcessorUnderTest::new("not_from_ingest", 1).await;
    under_test.produce_raw(under_test.topics.resource(Resource::Video), "k", b"what is this", OwnedHeaders::new());
    for record in records_of_job(Resource::Video, 1, now() - 60) {
        under_test.produce(&record);
    }
    let mut unreadable = records_of_job(Resource::Video, 2, now() - 60);
    unreadable[0].body = "{".into();
    under_test.produce(&unreadable[0]);
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 2).await;
    under_test.wait_until("SELECT count() FROM dead_letters FINAL", 2).await;
    let origin = format!("{}/0/0", under_test.topics.resource(Resource::Video));
    let query = format!(
        "SELECT count() FROM dead_letters FINAL WHERE reason = 'bad_record' AND origin = '{origin}' AND body = 'what is this'"
    );
    assert_eq!(under_test.query_number(&query).await, 1);
    let origin = format!("{}/0/3", under_test.topics.resource(Resource::Video));
    let query = format!(
        "SELECT count() FROM dead_letters FINAL WHERE reason = 'not_json' AND origin = '{origin}' AND source = 'test'"
    );
    assert_eq!(under_test.query_number(&query).await, 1);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().await.success());
}
