//! The views for people, on few enough jobs to count by hand.

use clickhouse::Client;
use hookline_schemas::ids::Resource;
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::sql::stuck_jobs_view;
use hookline_schemas::time::CreatedHour;

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

/// The created hour of the job that took too long to be found by the age of jobs.
const LATE: CreatedHour = CreatedHour(1_792_832_400);

async fn rows(client: &Client, question: &str) -> Vec<String> {
    client.query_raw(question).fetch_all().await.unwrap_or_else(|error| panic!("{error}\n{question}"))
}

#[tokio::test]
async fn error_rates_are_shares_of_what_finished_in_the_step() {
    let servers = migrated("error_rates").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    execute(&client, &refresh_statement(&[LATE])).await;
    let asked = async |parameters: &str| {
        rows(&client, &format!("SELECT toString(tuple(*)) FROM error_rates({parameters}) ORDER BY ALL")).await
    };
    // Snapped: from 10:00 to 10:05, in steps of two minutes.
    let snapped = asked("from = '2026-11-01 10:00:30', to = '2026-11-01 10:04:10', step = 61").await;
    assert_eq!(
        snapped,
        [
            "('2026-11-01 10:00:00','s','audio','CLONE','',2,0,0)",
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
    execute(&client, &refresh_statement(&[LATE])).await;
    // Percentiles are within one in a hundred; maxima are exact.
    let about = "arrayMap(p -> if(p IS NULL, NULL, round(p / 5) * 5)";
    let columns = ["total", "run", "queue"]
        .map(|kind| format!("{kind}_jobs, {about}, [{kind}_p50, {kind}_p90, {kind}_p95, {kind}_p99]), {kind}_max"))
        .join(", ");
    let asked = async |parameters: &str| {
        let columns = format!("tuple(at, resource, job_type, jobs, {columns})");
        rows(&client, &format!("SELECT toString({columns}) FROM job_durations({parameters}) ORDER BY ALL")).await
    };
    let snapped = asked("from = '2026-11-01 10:00:59', to = '2026-11-01 10:04:01', step = 120").await;
    let nothing = "0,[NULL,NULL,NULL,NULL],NULL";
    assert_eq!(
        snapped,
        [
            format!(
                "('2026-11-01 10:00:00','audio','CLONE',2,2,[691205,691205,691205,691205],691205.001,{nothing},{nothing})"
            ),
            format!("('2026-11-01 10:00:00','image','MEME',1,1,[60,60,60,60],59.999,{nothing},{nothing})"),
            "('2026-11-01 10:00:00','video','SWAP',3,3,[35,35,35,35],40,2,[20,20,20,20],30,2,[10,10,10,10],10)".into(),
            "('2026-11-01 10:02:00','video','SWAP',2,2,[30,30,30,30],100,1,[70,70,70,70],70,1,[30,30,30,30],30)".into(),
            format!("('2026-11-01 10:04:00','video','SWAP',1,1,[60,60,60,60],59.999,{nothing},{nothing})"),
        ]
    );
    assert_eq!(snapped, asked("from = '2026-11-01 10:00:00', to = '2026-11-01 10:05:00', step = 61").await);
    assert_eq!(asked("from = '2026-11-01 10:05:00', to = '2026-11-01 10:05:01', step = 0").await.len(), 1);

    let above = "SELECT toString(countIf(total_p99 > total_max OR run_p99 > run_max OR queue_p99 > queue_max)) FROM \
                 job_durations(from = '2026-11-01 00:00:00', to = '2026-11-02 00:00:00', step = 60)";
    assert_eq!(rows(&client, above).await, ["0"]);
    let sketch = "SELECT toString(quantilesDD(0.01, 0.99)(assumeNotNull(total_seconds))[1] > max(assumeNotNull(total_seconds))) FROM job_facts \
                  WHERE resource = 'audio'";
    assert_eq!(rows(&client, sketch).await, ["1"], "the sketch alone is above the maximum");
}

/// `toDateTime(0) - 8 DAY` lies in 2106, and the last second of a DateTime plus a minute in 1970.
#[tokio::test]
async fn no_end_of_a_range_wraps() {
    let servers = migrated("ends_of_time").await;
    let client = servers.clickhouse.client().unwrap();
    execute(&client, JOBS).await;
    execute(&client, &refresh_statement(&[LATE])).await;
    for (view, jobs) in [("error_rates", "uniq(job_type) + sum(errored)"), ("job_durations", "sum(jobs)")] {
        let asked = async |from: &str, to: &str| {
            let question =
                format!("SELECT toString({jobs}) FROM {view}(from = '{from}', to = '{to}', step = 4294967295)");
            rows(&client, &question).await
        };
        let all = asked("2026-01-01 00:00:00", "2027-01-01 00:00:00").await;
        assert_ne!(all, ["0"]);
        for from in ["1970-01-01 00:00:00", "1970-01-08 23:59:59", "1970-01-09 00:00:00"] {
            assert_eq!(asked(from, "2027-01-01 00:00:00").await, all, "{view} from {from}");
        }
        for to in ["2106-02-07 06:27:16", "2106-02-07 06:28:15"] {
            assert_eq!(asked("2026-01-01 00:00:00", to).await, all, "{view} to {to}");
        }
        assert_eq!(asked("1970-01-01 00:00:00", "2106-02-07 06:28:15").await, all, "{view} of all time");
    }
}

#[tokio::test]
async fn views_of_the_last_hour_need_no_parameters() {
    let servers = migrated("last_hour").await;
    let client = servers.clickhouse.client().unwrap();
    let ended = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, started_at, completed_at, errored_at, \
                 error) SELECT 's', 'video', toStartOfHour(created), toString(ago), created, created + 1, if(ago = 7, NULL, \
                 ended), if(ago = 7, ended, NULL), if(ago = 7, 'x\\0', '') FROM (SELECT arrayJoin([1, 7, 59, 62]) AS ago, \
                 now64(3, 'UTC') - toIntervalMinute(ago) AS ended, ended - 5 AS created)";
    execute(&client, ended).await;
    let rates = rows(&client, "SELECT toString((completed, errored)) FROM error_rates_1h ORDER BY errored").await;
    assert_eq!(rates, ["(2,0)", "(2,1)"]);
    assert_eq!(rows(&client, "SELECT toString((jobs, run_jobs, total_max)) FROM job_durations_1h").await, ["(3,3,5)"]);
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
    let same =
        "SELECT toString(count()) FROM (SELECT * EXCEPT age_seconds FROM open_jobs EXCEPT SELECT * FROM job_facts)";
    assert_eq!(rows(&client, same).await, ["0"]);
    let age = "SELECT toString(ifNull(age_seconds BETWEEN 3600 AND 3660, 0)) FROM open_jobs WHERE job_id = 'ago60'";
    assert_eq!(rows(&client, age).await, ["1"]);

    // The older ones are in the other view, and none is in neither.
    assert_eq!(rows(&client, "SELECT job_id FROM unresolved_jobs ORDER BY job_id").await, ["ago1502", "open"]);
    let open = "SELECT job_id FROM job_facts WHERE outcome = 'open' ORDER BY ALL";
    let shown =
        "SELECT job_id FROM (SELECT job_id FROM open_jobs UNION ALL SELECT job_id FROM unresolved_jobs) ORDER BY ALL";
    assert_eq!(rows(&client, open).await, rows(&client, shown).await);
}

#[tokio::test]
async fn stuck_jobs_are_open_for_longer_than_their_resource_takes() {
    let servers = migrated("stuck_jobs").await;
    let client = servers.clickhouse.client().unwrap();
    let open = "INSERT INTO jobs (source, resource, created_hour, job_id, created_at) SELECT 's', resource, \
                toStartOfHour(created), concat(resource, toString(ago)), created FROM (SELECT arrayJoin(['video', 'image', \
                'audio']) AS resource, arrayJoin([-1, 14, 16, 58, 62, 1502]) AS ago, now64(3, 'UTC') - toIntervalMinute(ago) AS \
                created)";
    execute(&client, open).await;
    let stuck = "SELECT concat(job_id, ' ', toString(stuck_after_seconds)) FROM stuck_jobs ORDER BY job_id";
    let short = ["audio16 900", "audio58 900", "audio62 900", "image16 900", "image58 900", "image62 900"];
    assert_eq!(rows(&client, stuck).await, [&short[..], &["video62 3600"]].concat());

    let seconds = |resource| if resource == Resource::Audio { 3_600 } else { 600 };
    execute(&client, &stuck_jobs_view(seconds)).await;
    let others = ["14", "16", "58", "62"];
    let of = |resource: &str| others.map(|ago| format!("{resource}{ago} 600"));
    let expected = [vec!["audio62 3600".to_owned()], of("image").to_vec(), of("video").to_vec()].concat();
    assert_eq!(rows(&client, stuck).await, expected);
}
