//! The database and the numbered migrations. Statements can be repeated, so a run that was cut off is run again.

use std::time::Instant;

use anyhow::Context as _;
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use hookline_schemas::migrations::{MIGRATIONS, Migration};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Outcome, Progress, Step};

/// The checksum is part of the key, so that two versions that migrated at once are both seen.
const JOURNAL: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (number, checksum)";

/// A migration that the journal says was applied.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Applied {
    /// Its number.
    pub number: u32,
    /// Its name when it was applied.
    pub name: String,
    /// Its [`checksum`] when it was applied.
    pub checksum: String,
}

/// Why nothing can be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The file of an applied migration was edited.
    #[error(
        "migration {number} {name} was applied with checksum {applied} but is {known} in this version: an applied migration \
         is never edited, write a new one"
    )]
    Edited {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// The checksum in the journal.
        applied: String,
        /// The checksum in this version.
        known: String,
    },
    /// A newer version was here.
    #[error("migration {number} {name} is applied but unknown to this version: use the newer one")]
    Newer {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
    },
}

/// SHA-256 of the file, lower-case hex.
pub fn checksum(migration: &Migration) -> String {
    base16ct::lower::encode_string(&Sha256::digest(migration.sql))
}

/// The known migrations that are still to apply, in order.
pub fn plan<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<Vec<&'a Migration>, PlanError> {
    for Applied { number, name, checksum: applied } in applied {
        let (number, name) = (*number, name.clone());
        let Some(migration) = known.iter().find(|migration| migration.number == number) else {
            return Err(PlanError::Newer { number, name });
        };
        let known = checksum(migration);
        if *applied != known {
            return Err(PlanError::Edited { number, name, applied: applied.clone(), known });
        }
    }
    let is_applied = |migration: &&Migration| applied.iter().any(|applied| applied.number == migration.number);
    Ok(known.iter().filter(|migration| !is_applied(migration)).collect())
}

pub(super) async fn migrate(client: &Client, database: &str, progress: &mut Progress) -> anyhow::Result<()> {
    let server = client.clone().with_database("system");
    let count = server.query("SELECT count() FROM system.databases WHERE name = ?").bind(database);
    let exists = count.fetch_one::<u64>().await? > 0;
    if !exists && !progress.dry_run {
        server.query("CREATE DATABASE IF NOT EXISTS ?").bind(Identifier(database)).execute().await?;
    }
    progress.step(Step {
        kind: "database",
        name: database.to_owned(),
        outcome: outcome(exists, progress.dry_run),
        detail: String::new(),
    });

    let applied = journal(client, exists, progress.dry_run).await?;
    let pending = plan(MIGRATIONS, &applied)?;
    for migration in MIGRATIONS {
        let began = Instant::now();
        let is_pending = pending.contains(&migration);
        if is_pending && !progress.dry_run {
            apply(client, migration)
                .await
                .with_context(|| format!("migration {} {}", migration.number, migration.name))?;
        }
        let outcome = outcome(!is_pending, progress.dry_run);
        let detail = match outcome {
            Outcome::Done => format!("{} ms", began.elapsed().as_millis()),
            Outcome::Unchanged | Outcome::Pending | Outcome::Differs => String::new(),
        };
        let name = format!("{} {}", migration.number, migration.name);
        progress.step(Step { kind: "tables", name, outcome, detail });
    }
    Ok(())
}

/// Reads the journal; makes it where that is allowed.
async fn journal(client: &Client, database_exists: bool, dry_run: bool) -> anyhow::Result<Vec<Applied>> {
    if dry_run {
        let there = "SELECT count() FROM system.tables WHERE database = ? AND name = 'schema_migrations'";
        let server = client.clone().with_database("system");
        let database = client.database().unwrap_or_default();
        if !database_exists || server.query(there).bind(database).fetch_one::<u64>().await? == 0 {
            return Ok(Vec::new());
        }
    } else {
        client.query(JOURNAL).execute().await?;
    }
    Ok(client.query("SELECT ?fields FROM schema_migrations FINAL ORDER BY number").fetch_all().await?)
}

async fn apply(client: &Client, migration: &Migration) -> anyhow::Result<()> {
    for statement in migration.statements() {
        client.query_raw(statement).execute().await?;
    }
    let row = Applied { number: migration.number, name: migration.name.into(), checksum: checksum(migration) };
    let mut insert = client.insert::<Applied>("schema_migrations").await?;
    insert.write(&row).await?;
    Ok(insert.end().await?)
}

const fn outcome(was_there: bool, dry_run: bool) -> Outcome {
    match (was_there, dry_run) {
        (true, _) => Outcome::Unchanged,
        (false, true) => Outcome::Pending,
        (false, false) => Outcome::Done,
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
        assert_eq!(plan(&[ONE, TWO], &[]).unwrap(), [&ONE, &TWO]);
        assert_eq!(plan(&[ONE, TWO], &[applied(&ONE)]).unwrap(), [&TWO]);
        assert_eq!(plan(&[ONE, TWO], &[applied(&ONE), applied(&TWO)]).unwrap(), [] as [&Migration; 0]);
    }

    #[test]
    fn an_edited_migration_is_refused() {
        let edited = Migration { sql: "CREATE TABLE one_more;", ..ONE };
        let error = plan(&[edited, TWO], &[applied(&ONE)]).unwrap_err();
        assert!(matches!(&error, PlanError::Edited { number: 1, .. }));
        assert!(error.to_string().contains(&checksum(&ONE)));
    }

    #[test]
    fn a_newer_database_is_refused() {
        let error = plan(&[ONE], &[applied(&ONE), applied(&TWO)]).unwrap_err();
        assert_eq!(error, PlanError::Newer { number: 2, name: "two".into() });
    }
}
