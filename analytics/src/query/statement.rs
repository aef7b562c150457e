//! A statement beside its parameters: what people ask for goes to ClickHouse as a parameter of the server, never as a part of the SQL.

use clickhouse::query::Query;
use clickhouse::{Client, RowOwned, RowRead};
use serde::Serialize;

/// The value of a parameter `{name:Type}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Parameter {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
}

/// A statement and the values of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub sql: String,
    pub parameters: Vec<(&'static str, Parameter)>,
}

impl Statement {
    pub fn new(sql: impl Into<String>, parameters: Vec<(&'static str, Parameter)>) -> Self {
        Self { sql: sql.into(), parameters }
    }

    /// The statement as the client sends it. The server cancels it when the answer is dropped before its end.
    fn query(&self, client: &Client) -> Query {
        let bound = |query: Query, (name, value): &(&'static str, Parameter)| query.param(name, value);
        self.parameters.iter().fold(client.query_raw(&self.sql), bound)
    }

    /// Asks ClickHouse for every row.
    pub async fn rows<T: RowOwned + RowRead>(&self, client: &Client) -> clickhouse::error::Result<Vec<T>> {
        self.query(client).fetch_all().await
    }
}

/// Leaves a column out of answers that a question needs itself. The attribute `skip_serializing` would leave it out of the rows of
/// ClickHouse, too.
pub(super) const fn hidden<T>(_: &T) -> bool {
    true
}
