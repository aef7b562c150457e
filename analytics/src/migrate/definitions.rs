//! What the tables and views are, and what they would be if this version made them now: it makes them in a database of their own.

use std::collections::BTreeMap;

use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use hookline_schemas::migrations::MIGRATIONS;
use serde::Deserialize;

/// The table or view that a statement makes.
pub(super) fn made_by(statement: &str) -> &str {
    let is_name =
        |word: &&str| !matches!(*word, "CREATE" | "OR" | "REPLACE" | "TABLE" | "VIEW" | "IF" | "NOT" | "EXISTS");
    statement.split_whitespace().find(is_name).unwrap_or_default()
}

/// A table or view, as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// The statement that makes it, as the server writes it.
    pub(super) statement: String,
    /// The engine with its key and settings; empty for a view.
    engine: String,
    /// Names and types, in their order.
    columns: Vec<(String, String)>,
}

impl Definition {
    pub(super) const fn is_view(&self) -> bool {
        self.engine.is_empty()
    }
}

pub(super) type Definitions = BTreeMap<String, Definition>;

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    statement: String,
    engine: String,
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    table: String,
    name: String,
    kind: String,
}

/// The tables and views of a database.
pub(super) async fn read(client: &Client, database: &str) -> clickhouse::error::Result<Definitions> {
    const TABLES: &str =
        "SELECT name, create_table_query AS statement, engine_full AS engine FROM system.tables WHERE database = ?";
    const COLUMNS: &str = "SELECT table, name, type AS kind FROM system.columns WHERE database = ? ORDER BY position";
    let server = client.clone().with_database("system");
    let tables = server.query(TABLES).bind(database).fetch_all::<TableRow>().await?;
    let mut definitions: Definitions = tables
        .into_iter()
        .map(|TableRow { name, statement, engine }| {
            (name, Definition { statement, engine: without_ttl(&engine), columns: Vec::new() })
        })
        .collect();
    for ColumnRow { table, name, kind } in server.query(COLUMNS).bind(database).fetch_all::<ColumnRow>().await? {
        if let Some(definition) = definitions.get_mut(&table) {
            definition.columns.push((name, kind));
        }
    }
    Ok(definitions)
}

/// The engine without the time after which rows are deleted, which the configuration decides.
fn without_ttl(text: &str) -> String {
    match text.split_once(" TTL ") {
        Some((before, rest)) => {
            rest.split_once(" SETTINGS ").map_or(before.into(), |(_, settings)| format!("{before} SETTINGS {settings}"))
        }
        None => text.to_owned(),
    }
}

/// What this server makes of this version's statements. The database that they are made in is dropped before, too: a run that was
/// killed may have left it.
///
/// `views` are statements that make some of the views anew, as the configuration has them.
pub(super) async fn expected(
    client: &Client,
    database: &str,
    views: &[String],
) -> clickhouse::error::Result<Definitions> {
    let scratch = format!("{database}_migrate_check");
    let server = client.clone().with_database("system");
    let drop = async || server.query("DROP DATABASE IF EXISTS ?").bind(Identifier(&scratch)).execute().await;
    drop().await?;
    server.query("CREATE DATABASE ?").bind(Identifier(&scratch)).execute().await?;
    let made = make_and_read(client, &scratch, views).await;
    drop().await?;
    let mut definitions = made?;
    for definition in definitions.values_mut() {
        definition.statement = definition.statement.replace(&scratch, database);
    }
    Ok(definitions)
}

async fn make_and_read(client: &Client, scratch: &str, views: &[String]) -> clickhouse::error::Result<Definitions> {
    let inside = client.clone().with_database(scratch);
    let made: Vec<&str> = MIGRATIONS.iter().flat_map(hookline_schemas::migrations::Migration::statements).collect();
    for statement in made.into_iter().chain(views.iter().map(String::as_str)) {
        inside.query_raw(statement).execute().await?;
    }
    read(client, scratch).await
}

/// Says in what a table or view differs from what is expected, and how to mend it. Comments, codecs and indexes of a table change
/// no number, so they are not compared.
pub(super) fn difference(name: &str, found: &Definition, expected: &Definition) -> Option<String> {
    if expected.is_view() {
        let differs =
            || format!("{name} is not this version's view: drop it (DROP TABLE {name}) and run migrate again");
        return (found.statement != expected.statement).then(differs);
    }
    let mut differences = Vec::new();
    let kind_of = |columns: &[(String, String)], name: &str| {
        columns.iter().find(|(column, _)| column == name).map(|(_, kind)| kind.clone())
    };
    // The order of the columns is part of what is compared.
    let mut place = "FIRST".to_owned();
    for (column, kind) in &expected.columns {
        match kind_of(&found.columns, column) {
            None => differences.push(format!(
                "{name} lacks the column {column}: ALTER TABLE {name} ADD COLUMN {column} {kind} {place}"
            )),
            Some(found) if found != *kind => differences.push(format!(
                "{name}.{column} is {found}, expected {kind}: ALTER TABLE {name} MODIFY COLUMN {column} {kind}"
            )),
            Some(_) => {}
        }
        place = format!("AFTER {column}");
    }
    let more = found.columns.iter().filter(|(column, _)| kind_of(&expected.columns, column).is_none());
    differences.extend(more.map(|(column, _)| {
        format!("{name} has a column {column} that this version does not know: ALTER TABLE {name} DROP COLUMN {column}")
    }));
    if found.engine != expected.engine {
        differences.push(format!(
            "the engine of {name} is {}, expected {}: where a setting differs, ALTER TABLE {name} MODIFY SETTING; for another engine \
             or key, RENAME TABLE {name} TO {name}_before, run migrate again, and INSERT INTO {name} SELECT * FROM {name}_before",
            found.engine, expected.engine
        ));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(statement: &str, engine: &str, columns: &[(&str, &str)]) -> Definition {
        let columns = columns.iter().map(|(name, kind)| ((*name).into(), (*kind).into())).collect();
        Definition { statement: statement.into(), engine: engine.into(), columns }
    }

    #[test]
    fn every_statement_says_what_it_makes() {
        let made: Vec<_> =
            MIGRATIONS.iter().flat_map(hookline_schemas::migrations::Migration::statements).map(made_by).collect();
        assert!(made.contains(&"jobs") && made.contains(&"open_jobs"), "{made:?}");
        assert!(
            made.iter().all(|name| name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')),
            "{made:?}"
        );
    }

    #[test]
    fn retention_is_no_difference() {
        assert_eq!(without_ttl("M ORDER BY x TTL t + toIntervalDay(90) SETTINGS s = 1"), "M ORDER BY x SETTINGS s = 1");
        assert_eq!(without_ttl("M ORDER BY x SETTINGS s = 1"), "M ORDER BY x SETTINGS s = 1");
    }

    #[test]
    fn differences_are_named_with_the_fix() {
        let expected = definition("a", "Memory", &[("x", "UInt8")]);
        for (found, words) in [
            (definition("b", "Memory", &[]), "t lacks the column x: ALTER TABLE t ADD COLUMN x UInt8 FIRST"),
            (
                definition("b", "Memory", &[("x", "String")]),
                "t.x is String, expected UInt8: ALTER TABLE t MODIFY COLUMN x UInt8",
            ),
            (
                definition("b", "Memory", &[("x", "UInt8"), ("y", "UInt8")]),
                "t has a column y that this version does not know: ALTER TABLE t DROP COLUMN y",
            ),
            (
                definition("b", "Log", &[("x", "UInt8")]),
                "the engine of t is Log, expected Memory: where a setting differs, ALTER TABLE t MODIFY SETTING; for another engine \
                 or key, RENAME TABLE t TO t_before, run migrate again, and INSERT INTO t SELECT * FROM t_before",
            ),
        ] {
            assert_eq!(difference("t", &found, &expected).as_deref(), Some(words));
        }
        assert_eq!(difference("t", &expected, &expected), None);
        let commented = definition("a COMMENT 'c'", "Memory", &[("x", "UInt8")]);
        assert_eq!(difference("t", &commented, &expected), None);
        let view = difference("v", &definition("b", "", &[]), &definition("a", "", &[]));
        assert_eq!(view.unwrap(), "v is not this version's view: drop it (DROP TABLE v) and run migrate again");
    }
}
