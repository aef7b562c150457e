//! A record is guilty only beside a witness: a row that the table takes just then.

use hookline_schemas::ids::Resource;
use hookline_testkit::{Daemon, eventually};
use rdkafka::Offset;
use rdkafka::message::OwnedHeaders;

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now, records_of_job};

const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";

impl ProcessorUnderTest {
    fn produce_video(&self, number: usize) {
        for record in records_of_job(Resource::Video, number, now() - 600) {
            self.produce(&record);
        }
        self.flush();
    }

    async fn refuse_job(&self, table: &str, number: usize) {
        let refused = format!("ALTER TABLE {table} ADD CONSTRAINT c{number} CHECK job_id != 'c{number:024}'");
        self.execute(&refused).await;
    }
}

async fn refused_records(daemon: &mut Daemon) -> f64 {
    daemon.metric("hookline_processor_records_dead_lettered_total", &["reason=\"insert_refused\""]).await
}

/// Waits until readiness says that a row waits for a witness.
async fn wait_for_doubt(daemon: &mut Daemon, table: &str) {
    let url = format!("http://{}/health/ready", daemon.address("admin").await);
    eventually("a row that waits for a witness", DEADLINE, async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        text.contains(&format!("refuses a row of {table}")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lone_bad_record_waits_until_another_one_is_taken() {
    let under_test = ProcessorUnderTest::new("lone", 2).await;
    under_test.refuse_job("jobs", 7).await;
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.wait_ready().await;
    under_test.produce_video(7);
    wait_for_doubt(&mut daemon, "jobs").await;
    assert_eq!(refused_records(&mut daemon).await, 0.0);

    // Ended while it waits, it commits nothing, and whoever comes next is in the same doubt.
    assert!(daemon.terminate().await.success());
    let is_record_committed = |offset: &Offset| matches!(offset, Offset::Offset(1..));
    assert!(!under_test.committed_offsets().iter().any(is_record_committed));
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__REFRESH_MS", "300")]);
    daemon.address("admin").await;
    wait_for_doubt(&mut daemon, "jobs").await;

    // The record that comes later is taken, and so the first one is to blame.
    under_test.produce_video(8);
    under_test.wait_until(DELIVERIES, 2).await;
    under_test.wait_until(DEAD_LETTERS, 2).await;
    assert_eq!(refused_records(&mut daemon).await, 2.0);
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(under_test.committed_offsets().iter().any(is_record_committed));
    daemon.wait_ready().await;

    // From now on there is a witness: a lone record is judged at once, in either table.
    under_test.refuse_job("jobs", 9).await;
    under_test.produce_video(9);
    under_test.wait_until(DEAD_LETTERS, 4).await;
    under_test.refuse_job("deliveries", 10).await;
    under_test.produce_video(10);
    under_test.wait_until(DEAD_LETTERS, 6).await;
    assert_eq!(under_test.query_number(DELIVERIES).await, 2);
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(refused_records(&mut daemon).await, 6.0);
}

#[tokio::test]
async fn a_table_that_takes_no_row_makes_no_dead_letter() {
    let under_test = ProcessorUnderTest::new("all_bad", 1).await;
    let mut daemon = under_test.daemon(&[]);
    let mut jobs = 0;
    // Of the first table there is no witness yet, of the second there is one.
    for table in ["jobs", "deliveries", "jobs"] {
        under_test.execute(&format!("ALTER TABLE {table} ADD CONSTRAINT none CHECK source = ''")).await;
        for _ in 0..3 {
            under_test.produce_jobs(jobs..jobs + 20, now() - 600);
            jobs += 20;
            wait_for_doubt(&mut daemon, table).await;
        }
        assert_eq!(refused_records(&mut daemon).await, 0.0, "{table}");
        under_test.execute(&format!("ALTER TABLE {table} DROP CONSTRAINT none")).await;
        under_test.wait_until(DELIVERIES, jobs as u64 * 2).await;
        daemon.wait_ready().await;
    }
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(under_test.query_number("SELECT sum(completed + errored) FROM job_stats_by_minute").await, jobs as u64);
}

#[tokio::test]
async fn more_than_a_batch_in_doubt_is_read_no_further_and_nothing_is_lost() {
    let under_test = ProcessorUnderTest::new("doubt", 1).await;
    under_test.execute("ALTER TABLE jobs ADD CONSTRAINT none CHECK source = ''").await;
    let mut daemon = under_test.daemon(&[("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", "20")]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..200, now() - 600);
    wait_for_doubt(&mut daemon, "jobs").await;
    under_test.execute("ALTER TABLE jobs DROP CONSTRAINT none").await;
    under_test.wait_until(DELIVERIES, 400).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(refused_records(&mut daemon).await, 0.0);
}

/// Bad are the jobs whose numbers lie below.
async fn refuse_jobs_below(under_test: &ProcessorUnderTest, number: usize) {
    under_test.execute(&format!("ALTER TABLE jobs ADD CONSTRAINT below CHECK job_id >= 'c{number:024}'")).await;
}

async fn refused_statements(daemon: &mut Daemon) -> f64 {
    daemon.metric("hookline_processor_insert_retries_total", &["cause=\"refused\""]).await
}

#[tokio::test]
async fn a_block_that_is_bad_through_and_through_costs_few_statements_until_there_is_a_witness() {
    const JOBS: usize = 150;
    let under_test = ProcessorUnderTest::new("through", 1).await;
    refuse_jobs_below(&under_test, JOBS).await;
    under_test.produce_jobs(0..JOBS, now() - 600);
    let mut daemon = under_test.daemon(&[]);
    wait_for_doubt(&mut daemon, "jobs").await;
    let refused = refused_statements(&mut daemon).await;
    assert!(refused < JOBS as f64, "{refused} statements said that the table takes none of {JOBS} rows");
    assert_eq!(refused_records(&mut daemon).await, 0.0);

    // Beside a row that is taken each of them is found to be bad.
    under_test.produce_video(JOBS);
    under_test.wait_until(DEAD_LETTERS, JOBS as u64 * 2).await;
    under_test.wait_until(DELIVERIES, 2).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert!(refused_statements(&mut daemon).await > JOBS as f64 * 2.0);
    assert_eq!(refused_records(&mut daemon).await, JOBS as f64 * 2.0);
}

#[tokio::test]
async fn a_good_row_behind_many_bad_ones_is_found_though_nothing_more_is_read() {
    const JOBS: usize = 100;
    const BAD: usize = 85;
    let under_test = ProcessorUnderTest::new("behind", 1).await;
    refuse_jobs_below(&under_test, BAD).await;
    // A batch of all records of a topic leaves no room for another.
    for number in 0..JOBS {
        for record in records_of_job(Resource::Video, number, now() - 600) {
            under_test.produce(&record);
        }
    }
    under_test.flush();
    let records = (2 * JOBS).to_string();
    let mut daemon = under_test.daemon(&[
        ("HOOKLINE_PROCESSOR__BATCH__MAX_ROWS", &records),
        ("HOOKLINE_PROCESSOR__BATCH__MAX_AGE_MS", "10000"),
    ]);
    under_test.wait_until(DELIVERIES, 2 * (JOBS - BAD) as u64).await;
    under_test.wait_until(DEAD_LETTERS, 2 * BAD as u64).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    assert_eq!(refused_records(&mut daemon).await, 2.0 * BAD as f64);
}

#[tokio::test]
async fn a_lone_dead_letter_waits_for_a_witness_too() {
    let under_test = ProcessorUnderTest::new("lone_letter", 1).await;
    under_test.execute("ALTER TABLE dead_letters ADD CONSTRAINT c CHECK body NOT LIKE '%poison%'").await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    let topic = under_test.topics.dead_letter();
    under_test.produce_raw(topic, "k1", b"poison", OwnedHeaders::new());
    under_test.flush();
    wait_for_doubt(&mut daemon, "dead_letters").await;
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0, "not even without its payload");
    under_test.produce_raw(topic, "k2", b"harmless", OwnedHeaders::new());
    under_test.flush();
    under_test.wait_until(DEAD_LETTERS, 2).await;
    assert_eq!(under_test.query_number(&format!("{DEAD_LETTERS} WHERE job_id = 'k1' AND body = ''")).await, 1);
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_replay_judges_beside_rows_of_its_other_partitions() {
    let under_test = ProcessorUnderTest::new("replay_witness", 1).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_video(7);
    for record in records_of_job(Resource::Image, 8, now() - 600) {
        under_test.produce(&record);
    }
    under_test.flush();
    under_test.wait_until(DELIVERIES, 4).await;
    under_test.wait_until_no_lag(&mut daemon).await;
    under_test.refuse_job("jobs", 7).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let replay = ["replay", "--json", "--parallel", "1", "--state", state.to_str().unwrap()];
    let lone = under_test.run(&[&replay[..], &["--resource", "video"]].concat()).await;
    assert!(!lone.status.success());
    let said = String::from_utf8_lossy(&lone.stderr).into_owned();
    assert!(said.contains("refuses a row of jobs"), "{said}");
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    std::fs::remove_file(&state).unwrap();
    let all = under_test.run(&replay).await;
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    under_test.wait_until(DEAD_LETTERS, 2).await;
}
