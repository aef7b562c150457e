//! Sends blocks and statements to ClickHouse. Every error says which server it is from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use clickhouse::{Client, Row};
use hookline_schemas::rollup::refresh_statement;
use hookline_schemas::time::CreatedHour;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::ConfigError;
use hookline_service::shutdown::CancellationToken;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::clickhouse::code;
use crate::clickhouse::columns::Table;
use crate::clickhouse::error::{Cause, Operation, Remedy};
use crate::retry::{Cancelled, until_cancelled};

/// A busy server may take long for a block; a connection that was cut shows earlier.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(180);
/// Columns and settings are known to every server that works.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
const REFRESH_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Clone, Debug, thiserror::Error)]
#[error("ClickHouse at {address}: {text}")]
pub struct ClickHouseError {
    pub cause: Cause,
    /// The URL of the server, which holds no user.
    address: Arc<str>,
    /// At most 500 characters of what the server or the client said.
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct ClickHouse {
    client: Client,
    address: Arc<str>,
    /// The client of inserts and refreshes, made once the server has said which settings it knows.
    writing: Arc<OnceCell<Client>>,
}

#[derive(Row, Deserialize)]
struct Column {
    name: String,
    kind: String,
}

impl ClickHouse {
    /// Reads the file that holds the password; asks nothing.
    pub fn new(config: &ClickHouseConfig) -> Result<Self, ConfigError> {
        let client = config
            .client()?
            .with_setting("insert_deduplicate", "0")
            .with_setting("async_insert", "0")
            .with_setting("input_format_skip_unknown_fields", "0");
        Ok(Self { client, address: config.url.as_str().into(), writing: Arc::default() })
    }

    pub(super) fn error(&self, error: &Error) -> ClickHouseError {
        let mut text = error.to_string();
        if let Some((end, _)) = text.char_indices().nth(500) {
            text.truncate(end);
        }
        ClickHouseError { cause: Cause::from(error), address: self.address.clone(), text }
    }

    /// Runs a query of this client's.
    pub async fn query<T>(&self, query: impl Future<Output = Result<T, Error>>) -> Result<T, ClickHouseError> {
        query.await.map_err(|error| self.error(&error))
    }

    /// Runs a query of this client's, again and again while ClickHouse does not answer or is busy.
    pub async fn query_until_cancelled<T>(
        &self,
        cancel: &CancellationToken,
        mut query: impl AsyncFnMut(&Client) -> Result<T, Error>,
    ) -> Result<Result<T, ClickHouseError>, Cancelled> {
        let retry = |error: &ClickHouseError| {
            let retries = error.cause.remedy(Operation::Read) == Remedy::Retry;
            if retries {
                tracing::warn!(%error, "a query failed, trying again");
            }
            retries
        };
        until_cancelled(cancel, async || self.query(query(&self.client)).await, retry).await
    }

    /// Gives the client that writes. A block that is sent again is meant to be inserted again: what it replaced may be gone.
    /// `insert_deduplicate` says so up to ClickHouse 26.1, and since 26.2 `deduplicate_insert` and `deduplicate_insert_select`,
    /// which an older server refuses.
    async fn writing_client(&self) -> Result<&Client, Error> {
        let ask = async || {
            let query =
                "SELECT name FROM system.settings WHERE name IN ('deduplicate_insert', 'deduplicate_insert_select')";
            let known = within(CHECK_TIMEOUT, self.client.query(query).fetch_all::<String>()).await?;
            Ok(known.into_iter().fold(self.client.clone(), |client, setting| client.with_setting(setting, "disable")))
        };
        self.writing.get_or_try_init(ask).await
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Inserts a block in its pieces; ClickHouse has all of it when this returns `Ok`.
    pub async fn insert(&self, table: Table, block: impl Iterator<Item = Bytes>) -> Result<(), ClickHouseError> {
        let statement = format!("INSERT INTO {} FORMAT Native", table.as_str());
        let inserted = async {
            let insert = self.writing_client().await?.insert_formatted_with(statement);
            let mut insert = insert.with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
            for chunk in block {
                insert.send(chunk).await?;
            }
            insert.end().await
        };
        self.query(inserted).await
    }

    pub async fn refresh(&self, hours: &[CreatedHour]) -> Result<(), ClickHouseError> {
        let statement = refresh_statement(hours);
        let refreshed = async { self.writing_client().await?.query_raw(&statement).execute().await };
        self.query(within(REFRESH_TIMEOUT, refreshed)).await
    }

    /// Runs a statement that writes, such as INSERT SELECT.
    pub async fn execute(&self, statement: &str) -> Result<(), ClickHouseError> {
        self.query(async { self.writing_client().await?.query_raw(statement).execute().await }).await
    }

    /// Compares a table with the columns that are written. Inserts do not fail where they differ: Native matches columns by name and
    /// fills the others with defaults.
    pub async fn check(&self, table: Table) -> Result<(), ClickHouseError> {
        let query = "SELECT name, type AS kind FROM system.columns WHERE database = currentDatabase() AND table = ?";
        let columns = self.client.query(query).bind(table.as_str()).fetch_all::<Column>();
        let columns = self.query(within(CHECK_TIMEOUT, columns)).await?;
        let mut found: Vec<_> = columns.into_iter().map(|column| (column.name, plain(&column.kind))).collect();
        let mut written = table.columns();
        found.sort();
        written.sort();
        let difference = written.iter().find(|column| !found.contains(column));
        match difference.or_else(|| found.iter().find(|column| !written.contains(column))) {
            None => Ok(()),
            Some((name, kind)) => Err(ClickHouseError {
                cause: Cause::Configuration(code::NO_SUCH_COLUMN_IN_TABLE),
                address: self.address.clone(),
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

async fn within<T>(timeout: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(Error::TimedOut))
}

/// Gives the type that the values of a column have on the wire.
pub(super) fn plain(kind: &str) -> String {
    let inner = kind.strip_prefix("SimpleAggregateFunction(").and_then(|rest| rest.strip_suffix(')'));
    inner.and_then(|inner| inner.split_once(", ")).map_or(kind, |(_, value)| value).to_owned()
}
