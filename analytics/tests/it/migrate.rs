//! `migrate` on databases and topics that are empty, complete, edited or different from what is asked for.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hookline_analytics::migrate::{MigrateArgs, run};
use hookline_schemas::migrations::MIGRATIONS;
use hookline_testkit::{Daemon, Servers};

use crate::{config, execute, migrated};

#[tokio::test]
async fn a_second_run_changes_nothing_and_an_edited_migration_is_refused() {
    let servers = migrated("migrate_twice").await;
    let client = servers.clickhouse.client().unwrap();
    let applied = async || client.query("SELECT count() FROM schema_migrations").fetch_one::<u64>().await.unwrap();
    assert_eq!(applied().await, MIGRATIONS.len() as u64);
    run(config(&servers), MigrateArgs::default()).await.unwrap();
    assert_eq!(applied().await, MIGRATIONS.len() as u64);

    client
        .query("INSERT INTO schema_migrations (number, name, checksum) VALUES (1, 'jobs', 'edited')")
        .execute()
        .await
        .unwrap();
    let refused = run(config(&servers), MigrateArgs::default()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("migration 1 jobs was applied with checksum edited"), "{refused:#}");
}

#[tokio::test]
async fn topics_with_fewer_replicas_than_asked_for_are_named() {
    let servers = migrated("migrate_differs").await;
    let asked = MigrateArgs { replication: Some(3), ..MigrateArgs::default() };
    let differs = run(config(&servers), asked).await.unwrap_err();
    assert!(differs.to_string().contains("1 of the 3 replicas asked for"), "{differs:#}");
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let servers = Servers::fresh("migrate_dry").await;
    run(config(&servers), MigrateArgs { dry_run: true, ..MigrateArgs::default() }).await.unwrap();
    let client = servers.clickhouse.client().unwrap();
    let tables = client.query("SELECT count() FROM system.tables WHERE database = currentDatabase()");
    assert_eq!(tables.fetch_one::<u64>().await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_dropped_is_made_again() {
    let servers = migrated("migrate_dropped").await;
    let client = servers.clickhouse.client().unwrap();
    let names = async || {
        let query = "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name";
        client.query(query).fetch_all::<String>().await.unwrap()
    };
    let all = names().await;
    execute(&client, "DROP TABLE jobs").await;
    execute(&client, "DROP TABLE open_jobs").await;
    let left = names().await;
    run(config(&servers), MigrateArgs { dry_run: true, ..MigrateArgs::default() }).await.unwrap();
    assert_eq!(names().await, left, "a dry run makes nothing");
    // What a run that was killed may leave, and what is in it is nobody's.
    let scratch = format!("{}_migrate_check", servers.clickhouse.database);
    execute(&client, &format!("CREATE DATABASE {scratch}")).await;
    execute(&client, &format!("CREATE TABLE {scratch}.jobs (x UInt8) ENGINE = Memory")).await;
    run(config(&servers), MigrateArgs::default()).await.unwrap();
    assert_eq!(names().await, all);
    let left_over = client.query("SELECT count() FROM system.databases WHERE name = ?").bind(scratch);
    assert_eq!(left_over.fetch_one::<u64>().await.unwrap(), 0);
}

#[tokio::test]
async fn what_differs_is_named_with_the_fix() {
    for (statement, expected) in [
        ("ALTER TABLE jobs DROP COLUMN fps", "jobs lacks the column fps: ALTER TABLE jobs ADD COLUMN fps "),
        ("ALTER TABLE jobs ADD COLUMN y UInt8", "jobs has a column y that this version does not know"),
        (
            "ALTER TABLE deliveries MODIFY SETTING fsync_after_insert = 0",
            "the engine of deliveries is ReplacingMergeTree",
        ),
        ("CREATE OR REPLACE VIEW open_jobs AS SELECT 1 AS x", "open_jobs is not this version's view: drop it"),
    ] {
        let servers = migrated("migrate_differs").await;
        execute(&servers.clickhouse.client().unwrap(), statement).await;
        for dry_run in [true, false] {
            let differs = run(config(&servers), MigrateArgs { dry_run, ..MigrateArgs::default() }).await.unwrap_err();
            assert!(differs.to_string().contains(expected), "{statement}: {differs:#}");
        }
        // The server is asked, and not the ledger; a view is replaced by the migration that is applied anew.
        execute(&servers.clickhouse.client().unwrap(), "DROP TABLE schema_migrations").await;
        let again = run(config(&servers), MigrateArgs::default()).await;
        assert_eq!(again.is_ok(), statement.contains("VIEW"), "{statement}: {again:?}");
    }
}

/// The tables and views of a database, as the server describes them.
async fn schema(servers: &Servers) -> Vec<String> {
    let query = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    let statements = servers.clickhouse.client().unwrap().query(query).fetch_all::<String>().await.unwrap();
    statements.into_iter().map(|statement| statement.replace(&servers.clickhouse.database, "database")).collect()
}

/// Starts `migrate`, and ends it by `signal` once it has printed so many lines, wherever it is then. Returns whether it printed that
/// many.
fn interrupted(servers: &Servers, lines: usize, signal: &str) -> bool {
    let mut migrate = Command::new(Daemon::binary("hookline-analytics"))
        .arg("migrate")
        .envs(servers.environment())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let printed = BufReader::new(migrate.stdout.take().unwrap()).lines().take(lines).count();
    // It may have ended by itself.
    Command::new("kill").args([signal, &migrate.id().to_string()]).stderr(Stdio::null()).status().unwrap();
    migrate.wait().unwrap();
    printed == lines
}

#[tokio::test]
async fn a_run_that_was_interrupted_anywhere_is_repeated() {
    let whole = schema(&migrated("migrate_whole").await).await;
    let mut lines = 0;
    loop {
        let signal = if lines % 2 == 0 { "-KILL" } else { "-INT" };
        let servers = Servers::fresh("migrate_interrupted").await;
        if !interrupted(&servers, lines, signal) {
            break;
        }
        run(config(&servers), MigrateArgs::default())
            .await
            .unwrap_or_else(|error| panic!("after {lines} lines: {error:#}"));
        assert_eq!(schema(&servers).await, whole, "after {lines} lines");
        // Every topic is there and as it should be, or a second run would not be content.
        run(config(&servers), MigrateArgs::default()).await.unwrap();
        lines += 1;
    }
    assert!(lines > MIGRATIONS.len() + 4, "{lines} lines: it was to be interrupted among the topics, too");
}
