//! Whose row of the roll-up counts: that of the statement that began last, whatever the server's clock did.

use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::processor_under_test::ProcessorUnderTest;

const HOUR: i64 = 1_790_000_000 / 3_600 * 3_600;
const FINISHED: &str = "SELECT sum(completed) FROM job_stats_by_minute";
const VERSIONS: &str = "SELECT toUInt64(bitShiftRight(max(version), 64)) FROM job_stats";
/// Puts the row that counts an hour ahead, as a server does whose clock was.
const AHEAD: &str = "INSERT INTO job_stats SELECT * REPLACE (version + bitShiftLeft(toUInt128(3600000000000), 64) AS version) \
                     FROM job_stats FINAL";

impl ProcessorUnderTest {
    async fn finish_job(&self, number: u64) {
        self.execute(&format!(
            "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, started_at, completed_at) \
             VALUES ('s', 'video', {HOUR}, 'c{number}', {HOUR}, {HOUR} + 1, {HOUR} + 2)"
        ))
        .await;
    }

    async fn refresh(&self) {
        self.client.query_raw(&refresh_statement(&[CreatedHour(HOUR)])).execute().await.unwrap();
    }
}

#[tokio::test]
async fn a_refresh_wins_against_a_row_whose_version_is_ahead() {
    let under_test = ProcessorUnderTest::new("ahead", 1).await;
    under_test.finish_job(0).await;
    under_test.refresh().await;
    under_test.execute(AHEAD).await;
    let mut version = under_test.query_number(VERSIONS).await;
    let clock = under_test.query_number("SELECT toUInt64(toUnixTimestamp64Nano(now64(9)))").await;
    assert!(version > clock, "the clock alone would lose");
    for number in 1..4 {
        under_test.finish_job(number).await;
        under_test.refresh().await;
        assert_eq!(under_test.query_number(FINISHED).await, number + 1);
        let next = under_test.query_number(VERSIONS).await;
        assert_eq!(next, version + 1, "no further ahead than needed");
        version = next;
    }
    under_test.execute("OPTIMIZE TABLE job_stats FINAL").await;
    assert_eq!(under_test.query_number(FINISHED).await, 4);
}

#[tokio::test]
async fn of_two_refreshers_the_one_that_began_later_wins_also_where_it_ends_first() {
    let under_test = ProcessorUnderTest::new("two_refreshers", 1).await;
    for ahead in [false, true] {
        under_test.execute("TRUNCATE TABLE jobs").await;
        under_test.execute("TRUNCATE TABLE job_stats").await;
        under_test.finish_job(0).await;
        under_test.refresh().await;
        if ahead {
            under_test.execute(AHEAD).await;
        }
        // The earlier one computes its row and is slow to insert it.
        under_test.execute("CREATE OR REPLACE TABLE slow AS job_stats").await;
        let slow = refresh_statement(&[CreatedHour(HOUR)]).replacen("INSERT INTO job_stats", "INSERT INTO slow", 1);
        under_test.client.query_raw(&slow).execute().await.unwrap();
        under_test.finish_job(1).await;
        under_test.refresh().await;
        assert_eq!(under_test.query_number(FINISHED).await, 2);
        under_test.execute("INSERT INTO job_stats SELECT * FROM slow").await;
        assert_eq!(under_test.query_number(FINISHED).await, 2, "ahead: {ahead}");
        assert_eq!(
            under_test.query_number("SELECT uniqExact(version) FROM job_stats").await,
            if ahead { 4 } else { 3 }
        );
    }
}

/// Versions are read before the facts, so that a row which replaces another one has seen what that one saw.
#[tokio::test]
async fn a_fact_that_comes_while_versions_are_read_is_seen() {
    let under_test = ProcessorUnderTest::new("order", 1).await;
    under_test.finish_job(0).await;
    under_test.refresh().await;
    // The server asks this listener while it reads the versions, and goes on when it has an answer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = format!("SELECT * FROM url('http://{}/', 'TSV', 'gate UInt8')", listener.local_addr().unwrap());
    let statement = refresh_statement(&[CreatedHour(HOUR)]);
    let held =
        statement.replacen("FROM job_stats\n", &format!("FROM (SELECT * FROM job_stats WHERE 1 IN ({gate}))\n"), 1);
    assert_ne!(held, statement);
    let refresh = async { under_test.client.query_raw(&held).execute().await.unwrap() };
    let insert = async {
        let mut number = 1;
        // The server may ask more than once, for the structure or to try again.
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            under_test.finish_job(number).await;
            number += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n1\n";
            connection.write_all(answer).await.unwrap();
        }
    };
    tokio::select! {
        () = refresh => {}
        () = insert => {}
    }
    let jobs = under_test.query_number("SELECT count() FROM job_facts").await;
    assert!(jobs > 1, "the server did not ask");
    assert_eq!(under_test.query_number(FINISHED).await, jobs);
}
