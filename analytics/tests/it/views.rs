//! The views for people, on few enough jobs to count by hand.

use clickhouse::Client;

use crate::{execute, migrated};

/// Times without a date are on 2026-11-01; an event with an empty time did not happen.
const JOBS: &str = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, started_at, completed_at, \
     errored_at, error, first_received_at, last_received_at, fold_version)
    WITH t -> if(t = '', NULL, parseDateTime64BestEffort(if(length(t) > 12, t, concat('2026-11-01 ', t)), 3, 'UTC')) AS at
    SELECT 's', resource, toStartOfHour(assumeNotNull(at(created))), job, assumeNotNull(at(created)), type, at(started),
        at(completed), at(errored), error, assumeNotNull(at(created)), assumeNotNull(at(created)), 1
    FROM values('job String, resource String, type String, created String, started String, completed String, errored String,
            error String',
        ('a', 'video', 'SWAP', '10:00:00', '10:00:10', '10:00:40', '', ''),
        ('b', 'video', 'SWAP', '10:00:20', '10:00:50', '10:02:00', '', ''),
        ('c', 'video', 'SWAP', '10:00:30', '', '', '10:01:05', 'x\\0no face'),
        ('d', 'video', 'SWAP', '10:01:00', '10:01:10', '', '10:01:30', 'y\\0'),
        ('open', 'video', 'SWAP', '10:01:00', '10:01:10', '', '', ''),
        ('both', 'video', 'SWAP', '10:03:00', '', '10:03:30', '10:03:10', 'x\\0no face'),
        ('g', 'image', 'MEME', '10:01:00', '', '', '10:01:59.999', '\\0'),
        ('last', 'video', 'SWAP', '10:04:00', '', '10:04:59.999', '', ''),
        ('beyond', 'video', 'SWAP', '10:04:00', '', '10:05:00', '', ''),
        ('before', 'video', 'SWAP', '09:58:00', '', '09:59:59.999', '', ''),
        ('long', 'audio', 'CLONE', '2026-10-24 10:00:00', '', '10:00:05', '', ''),
        ('too long', 'audio', 'CLONE', '2026-10-24 09:59:59.999', '', '10:00:05', '', ''))";

async fn rows(client: &Client, question: &str) -> Vec<String> {
    client.query_raw(question).fetch_all().await.unwrap_or_else(|error| panic!("{error}\n{question}"))
}

#[tokio::test]
async fn error_rates_are_shares_of_what_finished_in_the_step() {
    let servers = migrated("error_rates").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    let asked = async |parameters: &str| {
        rows(&client, &format!("SELECT toString(tuple(*)) FROM error_rates({parameters}) ORDER BY ALL")).await
    };
    // Snapped: from 10:00 to 10:05, in steps of two minutes.
    let snapped = asked("from = '2026-11-01 10:00:30', to = '2026-11-01 10:04:10', step = 61").await;
    assert_eq!(
        snapped,
        [
            "('2026-11-01 10:00:00','s','audio','CLONE','',1,0,0)",
            "('2026-11-01 10:00:00','s','image','MEME','',0,1,1)",
            "('2026-11-01 10:00:00','s','video','SWAP','',1,0,0)",
            "('2026-11-01 10:00:00','s','video','SWAP','x',1,1,0.3333333333333333)",
            "('2026-11-01 10:00:00','s','video','SWAP','y',1,1,0.3333333333333333)",
            "('2026-11-01 10:02:00','s','video','SWAP','',2,0,0)",
            "('2026-11-01 10:04:00','s','video','SWAP','',1,0,0)",
        ]
    );
    assert_eq!(snapped, asked("from = '2026-11-01 10:00:00', to = '2026-11-01 10:05:00', step = 120").await);
    assert_eq!(asked("from = '2026-11-01 10:05:00', to = '2026-11-01 10:05:01', step = 0").await.len(), 1);
    assert!(asked("from = '2026-11-01 11:00:00', to = '2026-11-01 12:00:00', step = 60").await.is_empty());
}

#[tokio::test]
async fn job_durations_are_those_of_what_finished_in_the_step() {
    let servers = migrated("job_durations").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    // Percentiles are within one in a hundred; maxima are exact.
    let about = "arrayMap(p -> if(p IS NULL, NULL, round(p / 5) * 5)";
    let columns = ["total", "run", "queue"]
        .map(|kind| format!("{about}, [{kind}_p50, {kind}_p90, {kind}_p95, {kind}_p99]), {kind}_max"))
        .join(", ");
    let asked = async |parameters: &str| {
        let columns = format!("tuple(at, resource, job_type, jobs, {columns})");
        rows(&client, &format!("SELECT toString({columns}) FROM job_durations({parameters}) ORDER BY ALL")).await
    };
    let snapped = asked("from = '2026-11-01 10:00:59', to = '2026-11-01 10:04:01', step = 120").await;
    let nothing = "[NULL,NULL,NULL,NULL],NULL";
    assert_eq!(
        snapped,
        [
            format!(
                "('2026-11-01 10:00:00','audio','CLONE',1,[694120,694120,694120,694120],691205,{nothing},{nothing})"
            ),
            format!("('2026-11-01 10:00:00','image','MEME',1,[60,60,60,60],59.999,{nothing},{nothing})"),
            "('2026-11-01 10:00:00','video','SWAP',3,[35,35,35,35],40,[20,20,20,20],30,[10,10,10,10],10)".into(),
            "('2026-11-01 10:02:00','video','SWAP',2,[30,30,30,30],100,[70,70,70,70],70,[30,30,30,30],30)".into(),
            format!("('2026-11-01 10:04:00','video','SWAP',1,[60,60,60,60],59.999,{nothing},{nothing})"),
        ]
    );
    assert_eq!(snapped, asked("from = '2026-11-01 10:00:00', to = '2026-11-01 10:05:00', step = 61").await);
    assert_eq!(asked("from = '2026-11-01 10:05:00', to = '2026-11-01 10:05:01', step = 0").await.len(), 1);
}

#[tokio::test]
async fn open_jobs_are_those_whose_last_event_may_still_come() {
    let servers = migrated("open_jobs").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    let minutes_ago = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, completed_at, first_received_at, \
                       last_received_at, fold_version) SELECT 's', 'video', toStartOfHour(created), concat('ago', \
                       toString(minutes)), created, if(minutes = 7, created, NULL), created, created, 1 FROM (SELECT \
                       arrayJoin([0, 7, 60, 25 * 60 - 2, 25 * 60 + 2]) AS minutes, now64(3, 'UTC') - \
                       toIntervalMinute(minutes) AS created)";
    execute(&client, minutes_ago).await;
    assert_eq!(rows(&client, "SELECT job_id FROM open_jobs ORDER BY created_at").await, ["ago1498", "ago60", "ago0"]);
    let same = "SELECT toString(count()) FROM (SELECT * FROM open_jobs EXCEPT SELECT * FROM job_facts)";
    assert_eq!(rows(&client, same).await, ["0"]);
}
