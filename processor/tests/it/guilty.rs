//! What ClickHouse refuses: the guilty records become dead letters, and everything beside them goes in.

use hookline_schemas::ids::Resource;

use crate::stand::{Stand, job, now};

const DELIVERIES: &str = "SELECT count() FROM deliveries FINAL";
const LETTERS: &str = "SELECT count() FROM dead_letters FINAL";

fn is_guilty(number: usize) -> String {
    format!("c{number:024}")
}

#[tokio::test]
async fn only_the_guilty_records_become_dead_letters() {
    let stand = Stand::new("guilty", 2).await;
    let (in_jobs, in_deliveries) = (is_guilty(7), is_guilty(150));
    stand.execute(&format!("ALTER TABLE jobs ADD CONSTRAINT c CHECK job_id != '{in_jobs}'")).await;
    stand.execute(&format!("ALTER TABLE deliveries ADD CONSTRAINT c CHECK job_id != '{in_deliveries}'")).await;
    stand.send_jobs(0..300, now() - 600);
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(DELIVERIES, 596).await;
    stand.until(LETTERS, 4).await;
    for (job, table) in [(&in_jobs, "jobs"), (&in_deliveries, "deliveries")] {
        let query = format!(
            "{LETTERS} WHERE job_id = '{job}' AND reason = 'insert_refused' AND detail = 'table {table} code 469' \
             AND body != '' AND splitByChar('/', origin)[1] LIKE '%.%'"
        );
        assert_eq!(stand.number(&query).await, 2, "{table}");
        assert_eq!(stand.number(&format!("{DELIVERIES} WHERE job_id = '{job}'")).await, 0, "{table}");
    }
    assert_eq!(stand.number("SELECT count() FROM job_facts").await, 299, "the facts of a refused receipt stay");
    stand.until_no_lag(&mut daemon).await;
    let refused = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"refused\""]).await;
    assert!(refused > 2.0, "it was found by halving");
    let letters = daemon.metric("hookline_processor_records_dead_lettered_total", &["reason=\"insert_refused\""]).await;
    assert_eq!(letters, 4.0);
    assert_eq!(daemon.metric("hookline_jobs_finished_total", &[]).await, 299.0, "a job that is not in is not counted");
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_goes_in_bare_and_else_stops_its_partition() {
    let stand = Stand::new("letters", 1).await;
    stand.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK body NOT LIKE '%poison%'").await;
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    let video = stand.topics.resource(Resource::Video);
    stand.send_raw(video, "k1", b"poison", rdkafka::message::OwnedHeaders::new());
    stand.send_raw(video, "k2", b"harmless", rdkafka::message::OwnedHeaders::new());
    stand.flush();
    stand.until(LETTERS, 2).await;
    assert_eq!(stand.number(&format!("{LETTERS} WHERE job_id = 'k1' AND body = '' AND detail = ''")).await, 1);
    assert_eq!(stand.number(&format!("{LETTERS} WHERE job_id = 'k2' AND body = 'harmless'")).await, 1);
    stand.until_no_lag(&mut daemon).await;
    let before = stand.committed();

    stand.execute("ALTER TABLE dead_letters ADD CONSTRAINT d CHECK job_id != 'k3'").await;
    stand.send_raw(video, "k3", b"worse", rdkafka::message::OwnedHeaders::new());
    stand.flush();
    hookline_testkit::eventually("a stopped partition", crate::stand::DEADLINE, async || {
        (daemon.metric_if_there("hookline_processor_partition_stopped", &["dead-letter"]).await == Some(1.0))
            .then_some(())
    })
    .await;
    for sent in job(Resource::Audio, 5, now() - 60) {
        stand.send(&sent);
    }
    stand.flush();
    stand.until(DELIVERIES, 2).await;
    assert!(daemon.terminate().await.success());
    let letters = stand.committed().len() - 1;
    assert_eq!(stand.committed()[letters], before[letters], "nothing is committed beyond the record that stopped it");

    stand.execute("ALTER TABLE dead_letters DROP CONSTRAINT d").await;
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(LETTERS, 3).await;
    stand.until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_missing_table_is_waited_for_and_blamed_on_no_record() {
    let stand = Stand::new("setup", 1).await;
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.execute("RENAME TABLE deliveries TO away").await;
    stand.send_jobs(0..30, now() - 600);
    hookline_testkit::eventually("a refusal", crate::stand::DEADLINE, async || {
        (daemon.metric("hookline_processor_insert_retries_total", &["cause=\"setup\""]).await > 0.0).then_some(())
    })
    .await;
    let ready = format!("http://{}/health/ready", daemon.address("admin").await);
    let answer = reqwest::get(&ready).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("deliveries"), "readiness names the table");
    stand.execute("RENAME TABLE away TO deliveries").await;
    stand.until(DELIVERIES, 60).await;
    assert_eq!(stand.number(LETTERS).await, 0);
    stand.until_no_lag(&mut daemon).await;
    daemon.wait_ready().await;
}

#[tokio::test]
async fn a_block_that_takes_too_much_memory_goes_in_by_parts() {
    let stand = Stand::new("too_much", 1).await;
    // MEMORY_LIMIT_EXCEEDED for every block of more than 100 rows.
    stand
        .execute(
            "CREATE MATERIALIZED VIEW narrow (x UInt8) ENGINE = Null AS \
             SELECT throwIf(count() > 100, 'too much', toInt16(241)) AS x FROM deliveries \
             SETTINGS allow_custom_error_code_in_throwif = 1",
        )
        .await;
    stand.send_jobs(0..300, now() - 600);
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(DELIVERIES, 600).await;
    stand.until_no_lag(&mut daemon).await;
    let halved = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"memory\""]).await;
    assert!(halved >= 3.0, "it was halved {halved} times");
    assert_eq!(stand.number(LETTERS).await, 0, "no record is to blame");
}

#[tokio::test]
async fn a_batch_that_spans_a_century_goes_in() {
    let stand = Stand::new("months", 1).await;
    const MONTH: u32 = 2_629_746;
    for number in 0..1_100 {
        for sent in job(Resource::Video, number as usize, 978_307_200 + number * MONTH) {
            stand.send(&sent);
        }
    }
    stand.flush();
    let mut daemon = stand.daemon(&[]);
    daemon.wait_ready().await;
    stand.until(DELIVERIES, 2_200).await;
    assert!(stand.number("SELECT uniqExact(toYYYYMM(created_hour)) FROM jobs").await > 900);
    assert_eq!(stand.number(LETTERS).await, 0);
    stand.until_no_lag(&mut daemon).await;
    assert_eq!(stand.number("SELECT sum(completed + errored) FROM job_stats_by_minute").await, 1_100);
}
