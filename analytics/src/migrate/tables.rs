//! The database and its numbered migrations. Every statement can be repeated, so a run that was interrupted is simply repeated.

use std::time::Instant;

use anyhow::Context as _;
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use hookline_schemas::sql::stuck_jobs_view;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::definitions::{self, Definitions};
use super::{MigrateReport, Step, StepOutcome, retention};
use crate::config::StuckAfterConfig;

/// The migrations that were applied. The checksum is part of the key, so that of two versions which migrated at the same time
/// both are seen.
const CREATE_SCHEMA_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32 COMMENT 'place in the order of migrations',
    name String COMMENT 'name of the migration\\'s file',
    checksum String COMMENT 'SHA-256 of the file when it was applied, in hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'when it was applied, by the server\\'s clock'
)
ENGINE = ReplacingMergeTree
ORDER BY (number, checksum)
COMMENT 'Table, `ReplacingMergeTree`. The migrations that were applied, written by `hookline-analytics migrate`.'";

/// A row of `schema_migrations`: a migration as it was when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
struct Applied {
    number: u32,
    name: String,
    checksum: String,
}

/// Why no migration can be applied to a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum HistoryError {
    #[error(
        "migration {number} {name} was applied with checksum {applied} but is {known} in this version: an applied migration \
         is never edited, write a new one"
    )]
    Edited { number: u32, name: String, applied: String, known: String },
    #[error("migration {number} {name} is applied but unknown to this version: use the newer version")]
    Newer { number: u32, name: String },
}

/// The SHA-256 of the migration's file as lower-case hex.
fn checksum(migration: &Migration) -> String {
    base16ct::lower::encode_string(&Sha256::digest(migration.sql))
}

/// Finds the known migrations that are not applied yet, in order.
fn pending<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<Vec<&'a Migration>, HistoryError> {
    for Applied { number, name, checksum: applied } in applied {
        let (number, name) = (*number, name.clone());
        let Some(migration) = known.iter().find(|migration| migration.number == number) else {
            return Err(HistoryError::Newer { number, name });
        };
        let known = checksum(migration);
        if *applied != known {
            return Err(HistoryError::Edited { number, name, applied: applied.clone(), known });
        }
    }
    let is_applied = |migration: &&Migration| applied.iter().any(|applied| applied.number == migration.number);
    Ok(known.iter().filter(|migration| !is_applied(migration)).collect())
}

pub(super) async fn migrate(
    client: &Client,
    database: &str,
    stuck_after: StuckAfterConfig,
    report: &mut MigrateReport,
) -> anyhow::Result<()> {
    let server = client.clone().with_database("system");
    let count = server.query("SELECT count() FROM system.databases WHERE name = ?").bind(database);
    let exists = count.fetch_one::<u64>().await? > 0;
    if !exists && !report.dry_run {
        server.query("CREATE DATABASE IF NOT EXISTS ?").bind(Identifier(database)).execute().await?;
    }
    report.add_step(Step {
        kind: "database",
        name: database.to_owned(),
        outcome: outcome(exists, report.dry_run),
        detail: String::new(),
    });

    let applied = applied_migrations(client, exists, report.dry_run).await?;
    let pending = pending(MIGRATIONS, &applied)?;
    let before = definitions::read(client, database).await?;
    let views = Views([stuck_jobs_view(|resource| stuck_after.of(resource)), retention::standing_view(&before)]);
    let expected = expected(client, database, &before, &views, report).await;
    for migration in MIGRATIONS {
        let tables = Tables { before: &before, expected: &expected, views: &views };
        let step = step(client, migration, pending.contains(&migration), tables, report.dry_run);
        let step = step.await.with_context(|| format!("migration {} {}", migration.number, migration.name))?;
        report.add_step(step);
    }
    Ok(())
}

/// The views that are made from the configuration, in place of those of the migrations.
struct Views([String; 2]);

impl Views {
    /// What makes the table or view that a statement of a migration makes.
    fn made_by<'s>(&'s self, statement: &'s str) -> &'s str {
        let same = |view: &&String| definitions::made_by(view) == definitions::made_by(statement);
        self.0.iter().find(same).map_or(statement, String::as_str)
    }

    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|view| definitions::made_by(view) == name)
    }
}

#[derive(Clone, Copy)]
struct Tables<'t> {
    before: &'t Definitions,
    expected: &'t Definitions,
    views: &'t Views,
}

/// What the tables and views should be; nothing where none is there to be compared, or where this server makes none beside them.
async fn expected(
    client: &Client,
    database: &str,
    before: &Definitions,
    views: &Views,
    report: &mut MigrateReport,
) -> Definitions {
    let mut made = MIGRATIONS.iter().flat_map(Migration::statements).map(definitions::made_by);
    if !made.any(|name| before.contains_key(name)) {
        return Definitions::new();
    }
    definitions::expected(client, database, &views.0).await.unwrap_or_else(|error| {
        report.not_compared = Some(format!(
            "the tables were not compared with those of this version, which are made in the database {database}_migrate_check \
             for that, unless another migrate does so: {error}; everything else is done"
        ));
        Definitions::new()
    })
}

/// Applies a migration, or makes again what the server lacks of it, and compares what was there before.
async fn step(
    client: &Client,
    migration: &Migration,
    is_pending: bool,
    Tables { before, expected, views }: Tables<'_>,
    dry_run: bool,
) -> anyhow::Result<Step> {
    let began = Instant::now();
    let name = format!("{} {}", migration.number, migration.name);
    let lacks = |statement: &&str| !before.contains_key(definitions::made_by(statement));
    let lacking: Vec<_> = migration.statements().filter(lacks).collect();
    let is_changed = |statement: &&str| {
        let name = definitions::made_by(statement);
        let (found, expected) = (before.get(name), expected.get(name));
        views.contains(name) && found.is_some() && expected.is_some() && found != expected
    };
    let changed: Vec<_> = migration.statements().filter(is_changed).collect();
    if !dry_run && is_pending {
        apply(client, migration, views).await?;
    } else if !dry_run {
        for statement in lacking.iter().chain(&changed) {
            client.query_raw(views.made_by(statement)).execute().await?;
        }
    }
    let differences: Vec<_> = migration
        .statements()
        .map(definitions::made_by)
        .filter_map(|name| Some((name, before.get(name)?, expected.get(name)?)))
        // A migration that is applied now replaces its views; a table that is there already stays as it is.
        .filter(|(name, _, expected)| !(views.contains(name) || is_pending && expected.is_view()))
        .filter_map(|(name, found, expected)| definitions::difference(name, found, expected))
        .collect();
    let mut details = Vec::new();
    if !is_pending && !lacking.is_empty() {
        let names = lacking.iter().map(|statement| definitions::made_by(statement)).collect::<Vec<_>>().join(", ");
        details.push(format!("{names} was not there any more"));
    }
    let names = changed.iter().map(|statement| definitions::made_by(statement));
    details.extend(names.map(|name| format!("{name} is made anew as the configuration has it")));
    let mut outcome = outcome(!is_pending && lacking.is_empty() && changed.is_empty(), dry_run);
    if outcome == StepOutcome::Done {
        details.push(format!("{} ms", began.elapsed().as_millis()));
    }
    if !differences.is_empty() {
        outcome = StepOutcome::Differs;
        details.extend(differences);
    }
    Ok(Step { kind: "tables", name, outcome, detail: details.join("; ") })
}

/// Reads `schema_migrations`, and creates it unless this is a dry run.
async fn applied_migrations(client: &Client, database_exists: bool, dry_run: bool) -> anyhow::Result<Vec<Applied>> {
    if dry_run {
        let exists = "SELECT count() FROM system.tables WHERE database = ? AND name = 'schema_migrations'";
        let server = client.clone().with_database("system");
        let database = client.database().unwrap_or_default();
        if !database_exists || server.query(exists).bind(database).fetch_one::<u64>().await? == 0 {
            return Ok(Vec::new());
        }
    } else {
        client.query(CREATE_SCHEMA_MIGRATIONS).execute().await?;
    }
    Ok(client.query("SELECT ?fields FROM schema_migrations FINAL ORDER BY number").fetch_all().await?)
}

async fn apply(client: &Client, migration: &Migration, views: &Views) -> anyhow::Result<()> {
    for statement in migration.statements() {
        client.query_raw(views.made_by(statement)).execute().await?;
    }
    let row = Applied { number: migration.number, name: migration.name.into(), checksum: checksum(migration) };
    let mut insert = client.insert::<Applied>("schema_migrations").await?;
    insert.write(&row).await?;
    Ok(insert.end().await?)
}

const fn outcome(exists: bool, dry_run: bool) -> StepOutcome {
    match (exists, dry_run) {
        (true, _) => StepOutcome::Unchanged,
        (false, true) => StepOutcome::Pending,
        (false, false) => StepOutcome::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { number: 1, name: "one", sql: "CREATE TABLE one;" };
    const TWO: Migration = Migration { number: 2, name: "two", sql: "CREATE TABLE two;" };

    fn applied(migration: &Migration) -> Applied {
        Applied { number: migration.number, name: migration.name.into(), checksum: checksum(migration) }
    }

    #[test]
    fn what_is_applied_is_not_applied_again() {
        assert_eq!(pending(&[ONE, TWO], &[]).unwrap(), [&ONE, &TWO]);
        assert_eq!(pending(&[ONE, TWO], &[applied(&ONE)]).unwrap(), [&TWO]);
        assert_eq!(pending(&[ONE, TWO], &[applied(&ONE), applied(&TWO)]).unwrap(), [] as [&Migration; 0]);
    }

    #[test]
    fn an_edited_migration_is_refused() {
        let edited = Migration { sql: "CREATE TABLE one_more;", ..ONE };
        let error = pending(&[edited, TWO], &[applied(&ONE)]).unwrap_err();
        assert!(matches!(&error, HistoryError::Edited { number: 1, .. }));
        assert!(error.to_string().contains(&checksum(&ONE)));
    }

    #[test]
    fn a_newer_database_is_refused() {
        let error = pending(&[ONE], &[applied(&ONE), applied(&TWO)]).unwrap_err();
        assert_eq!(error, HistoryError::Newer { number: 2, name: "two".into() });
    }
}
