//! Sends blocks and statements to ClickHouse.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use clickhouse::{Client, Row};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::clickhouse::code;
use crate::clickhouse::columns::Table;
use crate::clickhouse::error::Cause;

/// A busy server may take long for a block; a connection that was cut shows earlier.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(180);
/// Columns and settings are known to every server that works.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
const REFRESH_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct InsertError {
    pub cause: Cause,
    /// At most 500 characters of what the server or the client said.
    pub text: String,
}

impl From<Error> for InsertError {
    fn from(error: Error) -> Self {
        let mut text = error.to_string();
        if let Some((end, _)) = text.char_indices().nth(500) {
            text.truncate(end);
        }
        Self { cause: Cause::from(&error), text }
    }
}

#[derive(Clone, Debug)]
pub struct ClickHouse {
    client: Client,
    /// The client of inserts and refreshes, made once the server has said which settings it knows.
    writing: Arc<OnceCell<Client>>,
}

#[derive(Row, Deserialize)]
struct Column {
    name: String,
    kind: String,
}

impl ClickHouse {
    pub fn new(client: Client) -> Self {
        let client = client
            .with_setting("insert_deduplicate", "0")
            .with_setting("async_insert", "0")
            .with_setting("input_format_skip_unknown_fields", "0");
        Self { client, writing: Arc::default() }
    }

    /// Gives the client that writes. A block that is sent again is meant to be inserted again: what it replaced may be gone.
    /// `insert_deduplicate` says so up to ClickHouse 26.1, and since 26.2 `deduplicate_insert` and `deduplicate_insert_select`,
    /// which an older server refuses.
    async fn writing_client(&self) -> Result<&Client, Error> {
        let ask = async || {
            let query =
                "SELECT name FROM system.settings WHERE name IN ('deduplicate_insert', 'deduplicate_insert_select')";
            let known = tokio::time::timeout(CHECK_TIMEOUT, self.client.query(query).fetch_all::<String>());
            let known = known.await.unwrap_or(Err(Error::TimedOut))?;
            Ok(known.into_iter().fold(self.client.clone(), |client, setting| client.with_setting(setting, "disable")))
        };
        self.writing.get_or_try_init(ask).await
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Inserts a block in its pieces; ClickHouse has all of it when this returns `Ok`.
    pub async fn insert(&self, table: Table, block: impl Iterator<Item = Bytes>) -> Result<(), InsertError> {
        let statement = format!("INSERT INTO {} FORMAT Native", table.as_str());
        let insert = self.writing_client().await?.insert_formatted_with(statement);
        let mut insert = insert.with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
        for chunk in block {
            insert.send(chunk).await?;
        }
        Ok(insert.end().await?)
    }

    pub async fn refresh(&self, hours: &[CreatedHour]) -> Result<(), InsertError> {
        let statement = refresh_statement(hours);
        let refreshed = async { self.writing_client().await?.query_raw(&statement).execute().await };
        Ok(tokio::time::timeout(REFRESH_TIMEOUT, refreshed).await.unwrap_or(Err(Error::TimedOut))?)
    }

    /// Compares a table with the columns that are written. Inserts do not fail where they differ: Native matches columns by name and
    /// fills the others with defaults.
    pub async fn check(&self, table: Table) -> Result<(), InsertError> {
        let query = "SELECT name, type AS kind FROM system.columns WHERE database = currentDatabase() AND table = ?";
        let columns = self.client.query(query).bind(table.as_str()).fetch_all::<Column>();
        let columns = tokio::time::timeout(CHECK_TIMEOUT, columns).await.unwrap_or(Err(Error::TimedOut))?;
        let mut found: Vec<_> = columns.into_iter().map(|column| (column.name, plain(&column.kind))).collect();
        let mut written = table.columns();
        found.sort();
        written.sort();
        let difference = written.iter().find(|column| !found.contains(column));
        match difference.or_else(|| found.iter().find(|column| !written.contains(column))) {
            None => Ok(()),
            Some((name, kind)) => Err(InsertError {
                cause: Cause::Configuration(code::NO_SUCH_COLUMN_IN_TABLE),
                text: if found.is_empty() {
                    format!("the table {} is missing: run hookline-analytics migrate", table.as_str())
                } else {
                    format!(
                        "the column {name} {kind} of the table {} is not what this version writes: run hookline-analytics migrate",
                        table.as_str()
                    )
                },
            }),
        }
    }
}

/// Gives the type that the values of a column have on the wire.
pub(super) fn plain(kind: &str) -> String {
    let inner = kind.strip_prefix("SimpleAggregateFunction(").and_then(|rest| rest.strip_suffix(')'));
    inner.and_then(|inner| inner.split_once(", ")).map_or(kind, |(_, value)| value).to_owned()
}
