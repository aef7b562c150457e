//! `migrate` on databases and topics that are empty, complete, edited or different from what is asked for.

use hookline_analytics::migrate::{MigrateArgs, run};
use hookline_schemas::migrations::MIGRATIONS;
use hookline_testkit::Servers;

use crate::{config, migrated};

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
