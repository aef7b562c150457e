//! What is wrong around ClickHouse makes no record guilty: the processor waits, and everything is in when it is over.

use std::process::Command;

use hookline_testkit::{ClickHouseServer, Daemon, Filler, Refusal, RefusingProxy, Servers, SmallDisk, eventually};

use crate::processor_under_test::{DEADLINE, DELIVERIES, ProcessorUnderTest, now};

const DEAD_LETTERS: &str = "SELECT count() FROM dead_letters FINAL";
const JOBS: usize = 10;

/// Codes that no record causes: files, disk, object storage, memory, quota, deadlocks, name resolution, constraints of settings,
/// columns, bugs, and exceptions of the libraries ClickHouse is built on.
const CODES: [u32; 20] =
    [76, 75, 74, 1000, 1001, 1002, 499, 49, 173, 452, 243, 241, 198, 203, 425, 722, 117, 53, 70, 20];

/// Pages of gateways; the last two name a code that ClickHouse would refuse a record with, and are not ClickHouse.
const PAGES: [(u16, &str); 6] = [
    (413, "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n</html>"),
    (502, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>"),
    (504, "<html><body><h1>504 Gateway Time-out</h1></body></html>"),
    (504, ""),
    (502, "<html><body>Error Code: 469. DB::Exception</body></html>"),
    (500, "sorry, Code: 469. DB::Exception"),
];

/// A processor that reaches ClickHouse through a proxy.
async fn behind_proxy(name: &str) -> (ProcessorUnderTest, RefusingProxy, Daemon) {
    let under_test = ProcessorUnderTest::new(name, 1).await;
    let proxy = RefusingProxy::to(&under_test.servers.clickhouse.url).await;
    let mut daemon = under_test.daemon(&[("CLICKHOUSE_URL", &proxy.url())]);
    daemon.wait_ready().await;
    (under_test, proxy, daemon)
}

async fn refused_records(daemon: &mut Daemon) -> f64 {
    daemon.metric("hookline_processor_records_dead_lettered_total", &["reason=\"insert_refused\""]).await
}

#[tokio::test]
async fn no_answer_of_the_surroundings_makes_a_dead_letter() {
    let (under_test, proxy, mut daemon) = behind_proxy("surroundings").await;
    let codes = CODES.into_iter().map(Refusal::exception);
    let pages = PAGES.into_iter().map(|(status, text)| Refusal::page(status, text));
    let mut jobs = 0;
    for refusal in codes.chain(pages) {
        eprintln!("{refusal:?}");
        proxy.refuse(Some(refusal));
        under_test.produce_jobs(jobs..jobs + JOBS, now() - 600);
        jobs += JOBS;
        eventually("refusals", DEADLINE, async || (proxy.refused() >= 3).then_some(())).await;
        wait_until_not_ready(&mut daemon).await;
        proxy.refuse(None);
        under_test.wait_until(DELIVERIES, jobs as u64 * 2).await;
    }
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
    daemon.wait_ready().await;

    // A record that the table itself refuses is found, also through the proxy.
    under_test.execute(&format!("ALTER TABLE jobs ADD CONSTRAINT c CHECK job_id != 'c{jobs:024}'")).await;
    under_test.produce_jobs(jobs..jobs + JOBS, now() - 600);
    under_test.wait_until(DEAD_LETTERS, 2).await;
    assert_eq!(refused_records(&mut daemon).await, 2.0);
}

/// Halves are sent at once, so the processor may be ready for some refusals more.
async fn wait_until_not_ready(daemon: &mut Daemon) {
    let url = format!("http://{}/health/ready", daemon.address("admin").await);
    eventually("a processor that is not ready", DEADLINE, async || {
        (reqwest::get(&url).await.unwrap().status() == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_gateway_finds_too_large_or_too_slow_is_sent_in_smaller_blocks() {
    let (under_test, proxy, mut daemon) = behind_proxy("gateway").await;
    let mut jobs = 0;
    for (status, text) in PAGES.into_iter().filter(|(status, _)| [413, 504].contains(status)) {
        proxy.refuse(Some(Refusal::page(status, text).above(4_000)));
        under_test.produce_jobs(jobs..jobs + 300, now() - 600);
        jobs += 300;
        under_test.wait_until(DELIVERIES, jobs as u64 * 2).await;
        assert!(proxy.refused() > 0, "a block was above the limit");
    }
    // A row that is too large by itself waits, and is not to blame.
    proxy.refuse(Some(Refusal::page(413, "Payload Too Large").above(100)));
    under_test.produce_jobs(jobs..jobs + 1, now() - 600);
    eventually("refusals", DEADLINE, async || (proxy.refused() >= 5).then_some(())).await;
    wait_until_not_ready(&mut daemon).await;
    proxy.refuse(None);
    under_test.wait_until(DELIVERIES, (jobs as u64 + 1) * 2).await;
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_column_that_is_renamed_is_waited_for() {
    let under_test = ProcessorUnderTest::new("renamed", 1).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..JOBS, now() - 600);
    under_test.wait_until(DELIVERIES, 20).await;
    for (table, column) in [("deliveries", "key_name"), ("jobs", "fps")] {
        let before = under_test.query_number(DELIVERIES).await as usize / 2;
        let refusals = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"configuration\""]).await;
        under_test.execute(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO k")).await;
        under_test.produce_jobs(before..before + JOBS, now() - 600);
        eventually("refusals", DEADLINE, async || {
            let now = daemon.metric("hookline_processor_insert_retries_total", &["cause=\"configuration\""]).await;
            (now >= refusals + 3.0).then_some(())
        })
        .await;
        wait_until_not_ready(&mut daemon).await;
        under_test.execute(&format!("ALTER TABLE {table} RENAME COLUMN k TO {column}")).await;
        under_test.wait_until(DELIVERIES, (before + JOBS) as u64 * 2).await;
    }
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_server_out_of_file_descriptors_is_waited_for() {
    let server = ClickHouseServer::start().await;
    let limit = |soft: usize| {
        let arguments = ["--pid", &server.pid().to_string(), &format!("--nofile={soft}:")].map(str::to_owned);
        let done = Command::new("prlimit").args(arguments).status().expect("to run prlimit, of util-linux");
        assert!(done.success());
    };
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let fresh = Servers::fresh("descriptors").await;
    let servers = Servers { kafka: fresh.kafka.clone(), clickhouse: server.config() };
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..JOBS, now() - 600);
    under_test.wait_until(DELIVERIES, 20).await;
    limit(open());
    under_test.produce_jobs(JOBS..JOBS * 2, now() - 600);
    eventually("refusals", DEADLINE, async || {
        (daemon.metric("hookline_processor_insert_retries_total", &[]).await >= 3.0).then_some(())
    })
    .await;
    limit(4_096);
    under_test.wait_until(DELIVERIES, 40).await;
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
}

#[tokio::test]
async fn a_disk_that_is_full_is_waited_for() {
    let server = ClickHouseServer::start_on_small_disk(SmallDisk { megabytes: 96, files: 6_000 }).await;
    let fresh = Servers::fresh("disk").await;
    let servers = Servers { kafka: fresh.kafka.clone(), clickhouse: server.config() };
    let under_test = ProcessorUnderTest::on(servers, 1).await;
    let mut daemon = under_test.daemon(&[]);
    daemon.wait_ready().await;
    under_test.produce_jobs(0..JOBS, now() - 600);
    under_test.wait_until(DELIVERIES, 20).await;
    let mut jobs = JOBS;
    // ClickHouse finds no room for the bytes before it writes, and no room for a folder when it makes it.
    for (filler, cause) in [(Filler::Bytes, "cause=\"busy\""), (Filler::Files, "cause=\"server\"")] {
        let refusals = daemon.metric("hookline_processor_insert_retries_total", &[cause]).await;
        server.fill_disk(filler);
        under_test.produce_jobs(jobs..jobs + JOBS, now() - 600);
        jobs += JOBS;
        eventually("refusals", DEADLINE, async || {
            let now = daemon.metric("hookline_processor_insert_retries_total", &[cause]).await;
            (now >= refusals + 3.0).then_some(())
        })
        .await;
        wait_until_not_ready(&mut daemon).await;
        server.empty_disk();
        under_test.wait_until(DELIVERIES, jobs as u64 * 2).await;
    }
    assert_eq!(refused_records(&mut daemon).await, 0.0);
    assert_eq!(under_test.query_number(DEAD_LETTERS).await, 0);
    under_test.wait_until_no_lag(&mut daemon).await;
    daemon.wait_ready().await;
}
