//! What ClickHouse refuses: the refused records become dead letters, and every other record of the batch is inserted.

use hookline_schemas::ids::Resource;
use hookline_testkit::eventually;
use rdkafka::message::OwnedHeaders;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";

fn job_id(number: usize) -> String {
    format!("c{number:024}")
}

#[tokio::test]
async fn only_the_refused_records_become_dead_letters() {
    let under_test = ProcessorUnderTest::new("refused", 2).await;
    let (in_jobs, in_deliveries) = (job_id(7), job_id(150));
    under_test.execute(&format!("ALTER TABLE jobs ADD CONSTRAINT c CHECK job_id != '{in_jobs}'")).await;
    under_test.execute(&format!("ALTER TABLE deliveries ADD CONSTRAINT c CHECK job_id != '{in_deliveries}'")).await;
    under_test.produce_jobs(0..300, now() - 600);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 596).await;
    under_test.wait_until(DEAD_LETTERS, 4).await;
    for (job, table) in [(&in_jobs, "jobs"), (&in_deliveries, "deliveries")] {
        let query = format!(
            "{DEAD_LETTERS} WHERE job_id = '{job}' AND reason = 'insert_refused' AND detail = 'table {table} code 469' \
             AND body != '' AND splitByChar('/', origin)[1] LIKE '%.%'"
        );
        assert_eq!(under_test.query_number(&query).await, 2, "{table}");
        assert_eq!(under_test.query_number(&format!("{DELIVERIES} WHERE job_id = '{job}'")).await, 0, "{table}");
    }
    assert_eq!(
        under_test.query_number("SELECT count() FROM job_facts").await,
        299,
        "the facts of a refused receipt stay"
    );
    under_test.wait_until_no_lag(&mut daemon).await;
    let refused = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"refused\""]).await;
    assert!(refused > 2.0, "it was found by halving");
    let dead_letters =
        daemon.metric("hookline_processor_records_dead_lettered_total", &["reason=\"insert_refused\""]).await;
    assert_eq!(dead_letters, 4.0);
    assert_eq!(
        daemon.metric("hookline_jobs_finished_total", &[]).await,
        299.0,
        "a job that is not inserted is not counted"
    );
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_is_inserted_without_its_payload_or_else_stops_its_partition() {
    let under_test = ProcessorUnderTest::new("dead_letters", 1).await;
    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK body NOT LIKE '%poison%'").await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    let video = under_test.topics.resource(Resource::Video);
    under_test.produce_raw(video, "k1", b"poison", OwnedHeaders::new());
    under_test.produce_raw(video, "k2", b"harmless", OwnedHeaders::new());
    under_test.flush();
    under_test.wait_until(DEAD_LETTERS, 2).await;
    assert_eq!(
        under_test.query_number(&format!("{DEAD_LETTERS} WHERE job_id = 'k1' AND body = '' AND detail = ''")).await,
        1
    );
    assert_eq!(under_test.query_number(&format!("{DEAD_LETTERS} WHERE job_id = 'k2' AND body = 'harmless'")).await, 1);
    under_test.wait_until_no_lag(&mut daemon).await;
    let before = under_test.committed_offsets();

    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT d CHECK job_id != 'k3'").await;
    under_test.produce_raw(video, "k3", b"worse", OwnedHeaders::new());
    under_test.flush();
    eventually("a stopped partition", DEADLINE, async || {
        (daemon.metric_if_there("hookline_processor_partition_stopped", &["dead-letter"]).await == Some(1.0))
            .then_some(())
    })
    .await;
    for record in records_of_job(Resource::Audio, 5, now() - 60) {
        under_test.produce(&record);
    }
    under_test.flush();
    under_test.wait_until(DELIVERIES, 2).await;
    assert!(daemon.terminate().await.success());
    let dead_letters = under_test.committed_offsets().len() - 1;
    assert_eq!(
        under_test.committed_offsets()[dead_letters],
        before[dead_letters],
        "nothing is committed beyond the record that stopped it"
    );

    under_test.execute("ALTER TABLE dead_letters DROP CONSTRAINT d").await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DEAD_LETTERS, 3).await;
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_missing_table_is_waited_for_and_makes_no_dead_letter() {
    let under_test = ProcessorUnderTest::new("configuration", 1).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.execute("RENAME TABLE deliveries TO away").await;
    under_test.produce_jobs(0..30, now() - 600);
    eventually("a refusal", DEADLINE, async || {
        (daemon.metric("hookline_processor_insert_retries_total", &["cause=\"configuration\""]).await > 0.0)
            .then_some(())
    })
    .await;
    let ready = format!("http://{}/health/ready", daemon.address("admin").await);
    let answer = reqwest::get(&ready).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("deliveries"), "readiness names the table");
    under_test.execute("RENAME TABLE away TO deliveries").await;
    under_test.wait_until(DELIVERIES, 60).await;
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
    daemon.wait_ready().await;
}

#[tokio::test]
async fn a_block_that_takes_too_much_memory_is_inserted_in_halves() {
    let under_test = ProcessorUnderTest::new("too_much", 1).await;
    // MEMORY_LIMIT_EXCEEDED for every block of more than 100 rows.
    under_test
        .execute(
            "CREATE MATERIALIZED VIEW narrow (x UInt8) ENGINE = Null AS \
             SELECT throwIf(count() > 100, 'too much', toInt16(241)) AS x FROM deliveries \
             SETTINGS allow_custom_error_code_in_throwif = 1",
        )
        .await;
    under_test.produce_jobs(0..300, now() - 600);
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 600).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    let halved = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"memory\""]).await;
    assert!(halved >= 3.0, "it was halved {halved} times");
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0, "memory is no reason to refuse a record");
}

#[tokio::test]
async fn a_batch_that_spans_a_century_is_inserted() {
    let under_test = ProcessorUnderTest::new("months", 1).await;
    const MONTH: u32 = 2_629_746;
    for number in 0..1_100 {
        for record in records_of_job(Resource::Video, number as usize, 978_307_200 + number * MONTH) {
            under_test.produce(&record);
        }
    }
    under_test.flush();
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.wait_until(DELIVERIES, 2_200).await;
    assert!(under_test.query_number("SELECT uniqExact(toYYYYMM(created_hour)) FROM jobs").await > 900);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number("SELECT sum(completed + errored) FROM job_stats_by_minute").await, 1_100);
}
