//! `docs/tables.md` says what the database is.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::{Client, Row};
use hookline_schemas::dead_letter::DeadLetterReason;
use serde::Deserialize;

use crate::migrated;

const PAGE: &str = include_str!("../../../docs/tables.md");

/// Name and type of each column of each table or view, in order.
type Columns = BTreeMap<String, Vec<(String, String)>>;

/// Reads the tables of Markdown whose first two cells are code, each under its heading ``## `name` ``.
fn documented(page: &str) -> Columns {
    let sections = page.split("\n## `").skip(1).map(|section| section.split_once('`').unwrap());
    let columns = |section: &str| {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
        rows.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once("` |")?.0.to_owned()))).collect()
    };
    sections.map(|(name, section)| (name.to_owned(), columns(section))).collect()
}

#[derive(Row, Deserialize)]
struct Described {
    name: String,
    r#type: String,
}

async fn found(client: &Client) -> Columns {
    let query = "SELECT name, create_table_query LIKE '%{from:%' FROM system.tables WHERE database = currentDatabase()";
    let tables: Vec<(String, u8)> = client.query(query).fetch_all().await.unwrap();
    let mut columns = Columns::new();
    for (table, has_parameters) in tables {
        let described = match has_parameters {
            0 => format!("DESCRIBE TABLE {table}"),
            _ => format!(
                "DESCRIBE TABLE (SELECT * FROM {table}(from = '2026-01-01 00:00:00', to = '2026-01-02 00:00:00', step = 60))"
            ),
        };
        let described = client.query(&described).with_setting("describe_compact_output", "1");
        let described = described.with_setting("print_pretty_type_names", "0");
        let described: Vec<Described> = described.fetch_all().await.unwrap();
        columns.insert(table, described.into_iter().map(|column| (column.name, column.r#type)).collect());
    }
    columns
}

#[tokio::test]
async fn the_page_of_tables_has_every_column_with_its_type() {
    let servers = migrated("documentation").await;
    let found = found(&servers.clickhouse.client().unwrap()).await;
    assert_eq!(documented(PAGE), found);

    for (text, other) in
        [("| `source` | `String` |", "| `sources` | `String` |"), ("`Int32`", "`Int64`"), ("## `jobs`", "## jobs")]
    {
        assert_ne!(documented(&PAGE.replacen(text, other, 1)), found, "{other} is seen");
    }
}

#[test]
fn the_page_of_tables_has_every_reason_of_a_dead_letter() {
    let (_, section) = PAGE.split_once("### Reasons of dead letters").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: BTreeSet<_> =
        section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
    assert_eq!(documented, DeadLetterReason::ALL.iter().map(|reason| reason.as_str()).collect());
}
