//! What is in the topics is in the tables.

use hookline_schemas::ids::Resource;
use nix::sys::signal::Signal;
use rdkafka::message::OwnedHeaders;

use crate::stand::{Stand, job, now};

const DELIVERIES: &str = "SELECT count() FROM deliveries FINAL";

#[tokio::test]
async fn records_become_facts_and_receipts() {
    let stand = Stand::new("facts", 4).await;
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    let created = now() - 600;
    stand.send_jobs(0..300, created);
    stand.until(DELIVERIES, 600).await;
    assert_eq!(stand.number("SELECT count() FROM job_facts WHERE outcome = 'completed'").await, 200);
    assert_eq!(
        stand.number("SELECT count() FROM job_facts WHERE outcome = 'errored' AND error_code = 'no_source_face'").await,
        100
    );
    let exact =
        "SELECT count() FROM job_facts WHERE run_seconds = if(outcome = 'completed', 1, 2) AND queue_seconds = 2.25";
    assert_eq!(stand.number(exact).await, 300);
    assert_eq!(
        stand
            .number("SELECT count() FROM deliveries FINAL WHERE log_id = '' OR body = '' OR length(signature) != 64")
            .await,
        0
    );
    stand.until_no_lag(&mut daemon).await;
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_foreign_record_is_a_dead_letter_with_its_origin() {
    let stand = Stand::new("foreign", 1).await;
    stand.send_raw(stand.topics.resource(Resource::Video), "k", b"what is this", OwnedHeaders::new());
    for sent in job(Resource::Video, 1, now() - 60) {
        stand.send(&sent);
    }
    let mut unreadable = job(Resource::Video, 2, now() - 60);
    unreadable[0].body = "{".into();
    stand.send(&unreadable[0]);
    stand.flush();
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(DELIVERIES, 2).await;
    stand.until("SELECT count() FROM dead_letters FINAL", 2).await;
    let origin = format!("{}/0/0", stand.topics.resource(Resource::Video));
    let query = format!(
        "SELECT count() FROM dead_letters FINAL WHERE reason = 'bad_record' AND origin = '{origin}' AND body = 'what is this'"
    );
    assert_eq!(stand.number(&query).await, 1);
    let origin = format!("{}/0/3", stand.topics.resource(Resource::Video));
    let query = format!(
        "SELECT count() FROM dead_letters FINAL WHERE reason = 'not_json' AND origin = '{origin}' AND source = 'test'"
    );
    assert_eq!(stand.number(&query).await, 1);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().await.success());
}
