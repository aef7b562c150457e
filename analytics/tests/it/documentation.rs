//! `docs/tables.md` says what the database is.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::{Client, Row};
use hookline_schemas::dead_letter::DeadLetterReason;
use serde::Deserialize;

use crate::migrated;

const PAGE: &str = include_str!("../../../docs/tables.md");

/// Of each table or view the comment, and the name, type and comment of each column, in order.
type Columns = BTreeMap<String, (String, Vec<[String; 3]>)>;

/// Reads the tables of Markdown whose first two cells are code, each under its heading ``## `name` ``.
fn documented(page: &str) -> Columns {
    let sections = page.split("\n## `").skip(1).map(|section| section.split_once('`').unwrap());
    let column = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | `")?;
        let (kind, meaning) = rest.split_once("` | ")?;
        Some([name, kind, meaning.strip_suffix(" |")?].map(str::to_owned))
    };
    let table = |section: &str| {
        let paragraph = section.split_once("\n| ").unwrap().0.split_whitespace().collect::<Vec<_>>().join(" ");
        (paragraph, section.lines().filter_map(column).collect())
    };
    sections.map(|(name, section)| (name.to_owned(), table(section))).collect()
}

#[derive(Row, Deserialize)]
#[expect(dead_code, reason = "every column that the server describes has its place in the row")]
struct Described {
    name: String,
    r#type: String,
    default_type: String,
    default_expression: String,
    comment: String,
    codec_expression: String,
    ttl_expression: String,
}

/// The server keeps no comments of the columns of a view with parameters: there the page's are taken.
async fn found(client: &Client, page: &Columns) -> Columns {
    let query = "SELECT name, comment, create_table_query LIKE '%{from:%' FROM system.tables WHERE database = currentDatabase()";
    let tables: Vec<(String, String, u8)> = client.query(query).fetch_all().await.unwrap();
    let mut columns = Columns::new();
    for (table, comment, has_parameters) in tables {
        let described = match has_parameters {
            0 => format!("DESCRIBE TABLE {table}"),
            _ => format!(
                "DESCRIBE TABLE (SELECT * FROM {table}(from = '2026-01-01 00:00:00', to = '2026-01-02 00:00:00', step = 60))"
            ),
        };
        let described = client.query(&described).with_setting("print_pretty_type_names", "0");
        let described: Vec<Described> = described.fetch_all().await.unwrap();
        let mut found: Vec<_> =
            described.into_iter().map(|column| [column.name, column.r#type, column.comment]).collect();
        if let (1, Some((_, page))) = (has_parameters, page.get(&table)) {
            for ([.., comment], [.., meaning]) in found.iter_mut().zip(page) {
                comment.clone_from(meaning);
            }
        }
        columns.insert(table, (comment, found));
    }
    columns
}

#[tokio::test]
async fn the_page_of_tables_has_every_column_with_its_type_and_comment() {
    let servers = migrated("documentation").await;
    let client = servers.clickhouse.client().unwrap();
    let found = found(&client, &documented(PAGE)).await;
    for (table, columns) in documented(PAGE) {
        assert_eq!(Some(&columns), found.get(&table), "{table}");
    }
    assert_eq!(documented(PAGE), found);

    for (text, other) in [
        ("| `source` | `String` |", "| `sources` | `String` |"),
        ("`Int32`", "`Int64`"),
        ("## `jobs`", "## jobs"),
        ("pixels", "inches"),
        ("the receipt of a webhook", "a receipt"),
    ] {
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
