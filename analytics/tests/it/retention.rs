//! How long tables keep their rows, as `migrate` sets it, and what an expiry leaves.

use std::time::Duration;

use clickhouse::Client;
use hookline_analytics::config::RetentionConfig;
use hookline_analytics::migrate::{MigrateArgs, run};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_testkit::{Servers, eventually};

use crate::{config, execute, migrated, number};

const DEADLINE: Duration = Duration::from_secs(30);
const TABLES: [&str; 4] = ["jobs", "deliveries", "dead_letters", "job_stats"];

/// Jobs of one created hour, `ago` days back, each ten minutes long.
fn jobs(ago: u32) -> String {
    format!(
        "INSERT INTO jobs (source, resource, created_hour, job_id, created_at, completed_at) SELECT 's', 'video', \
         toStartOfHour(now('UTC') - INTERVAL {ago} DAY) AS hour, concat('ago{ago}-', toString(number)), hour, hour + 600 FROM numbers(10)"
    )
}

async fn hour(client: &Client, ago: u32) -> CreatedHour {
    let hour = format!("SELECT toUInt64(toUnixTimestamp(toStartOfHour(now('UTC') - INTERVAL {ago} DAY)))");
    CreatedHour(i64::try_from(number(client, &hour).await).unwrap())
}

async fn migrate(servers: &Servers, retention: RetentionConfig, dry_run: bool) -> anyhow::Result<()> {
    let mut config = config(servers);
    config.retention = retention;
    run(config, MigrateArgs { dry_run, ..MigrateArgs::default() }).await
}

async fn ttl_of(client: &Client, table: &str) -> String {
    let engine = client.query("SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?");
    let engine = engine.bind(table).fetch_one::<String>().await.unwrap();
    engine.split_once(" TTL ").map(|(_, ttl)| ttl.to_owned()).unwrap_or_default()
}

/// Lets what is older than the TTL go now.
async fn expire(client: &Client, table: &str) {
    eventually("the TTL of what was there before", DEADLINE, async || {
        let open = "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done";
        (number(client, open).await == 0).then_some(())
    })
    .await;
    execute(client, &format!("OPTIMIZE TABLE {table} FINAL")).await;
}

#[tokio::test]
async fn the_configuration_decides_and_nothing_expires_by_itself() {
    let servers = migrated("retention").await;
    let client = servers.clickhouse.client().unwrap();
    for table in TABLES {
        assert_eq!(ttl_of(&client, table).await, "", "{table} is kept for ever");
    }
    let days = RetentionConfig {
        jobs_days: Some(30),
        deliveries_days: Some(90),
        dead_letters_days: Some(7),
        job_stats_days: Some(400),
    };
    migrate(&servers, days, true).await.unwrap();
    assert_eq!(ttl_of(&client, "jobs").await, "", "a dry run changes nothing");
    for _ in 0..2 {
        migrate(&servers, days, false).await.unwrap();
        for (table, days) in TABLES.into_iter().zip([30, 90, 7, 400]) {
            let ttl = ttl_of(&client, table).await;
            assert!(ttl.contains(&format!("+ toIntervalDay({days})")), "{table}: {ttl}");
        }
    }
    migrate(&servers, RetentionConfig::default(), false).await.unwrap();
    for table in TABLES {
        assert_eq!(ttl_of(&client, table).await, "", "{table} is kept for ever again");
    }

    execute(&client, "ALTER TABLE deliveries MODIFY TTL signed_at + INTERVAL 1 YEAR").await;
    let foreign = migrate(&servers, RetentionConfig::default(), false).await.unwrap_err().to_string();
    assert!(foreign.contains("set retention.deliveries_days, or ALTER TABLE deliveries REMOVE TTL"), "{foreign}");
    migrate(&servers, days, false).await.unwrap();
}

#[tokio::test]
async fn what_expires_stays_in_the_roll_up() {
    let servers = migrated("retention_rollup").await;
    let client = servers.clickhouse.client().unwrap();
    for ago in [80, 10] {
        execute(&client, &jobs(ago)).await;
    }
    let hours = [hour(&client, 80).await, hour(&client, 10).await];
    execute(&client, &refresh_statement(&hours)).await;
    let in_the_roll_up = async || number(&client, "SELECT sum(completed) FROM job_stats_by_hour").await;
    let in_jobs = async || number(&client, "SELECT count() FROM jobs FINAL").await;
    assert_eq!((in_the_roll_up().await, in_jobs().await), (20, 20));

    migrate(&servers, RetentionConfig { jobs_days: Some(30), ..RetentionConfig::default() }, false).await.unwrap();
    expire(&client, "jobs").await;
    assert_eq!(in_jobs().await, 10, "the jobs of 80 days ago are gone");
    // What the processor does for a late event or a replay.
    execute(&client, &jobs(80).replace("'ago80-'", "'late-'")).await;
    execute(&client, &refresh_statement(&hours)).await;
    assert_eq!(in_the_roll_up().await, 20, "and are in the roll-up as they were");
    expire(&client, "jobs").await;
    assert_eq!(in_jobs().await, 10, "a late event of an expired job goes, too");

    // A longer TTL brings nothing back, so what was given up stays given up.
    for days in [Some(100), None] {
        migrate(&servers, RetentionConfig { jobs_days: days, ..RetentionConfig::default() }, false).await.unwrap();
        execute(&client, &refresh_statement(&hours)).await;
        assert_eq!(in_the_roll_up().await, 20, "{days:?}");
    }
    // The ledger may be lost, too.
    execute(&client, "DROP TABLE schema_migrations").await;
    migrate(&servers, RetentionConfig::default(), false).await.unwrap();
    execute(&client, &refresh_statement(&hours)).await;
    assert_eq!(in_the_roll_up().await, 20);
    // The control: without the view the same refresh empties the hour.
    execute(&client, "CREATE OR REPLACE VIEW jobs_kept_since AS SELECT toDateTime(0, 'UTC') AS created_hour").await;
    execute(&client, &refresh_statement(&hours)).await;
    assert_eq!(in_the_roll_up().await, 10);
}

#[tokio::test]
async fn thresholds_of_stuck_jobs_are_the_configurations() {
    let servers = migrated("stuck_after").await;
    let client = servers.clickhouse.client().unwrap();
    let threshold = async || {
        let query =
            "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'stuck_jobs'";
        client.query(query).fetch_one::<String>().await.unwrap()
    };
    let mut config = config(&servers);
    config.stuck_after.video_seconds = 7_200;
    for _ in 0..2 {
        run(config.clone(), MigrateArgs::default()).await.unwrap();
        assert!(threshold().await.contains("[900, 900, 7200]"));
    }
    run(config.clone(), MigrateArgs { dry_run: true, ..MigrateArgs::default() }).await.unwrap();
    config.stuck_after.video_seconds = 3_600;
    run(config, MigrateArgs::default()).await.unwrap();
    assert!(threshold().await.contains("[900, 900, 3600]"));
}
