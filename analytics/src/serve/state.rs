//! What every handler shares: the reading client, the answers that are kept, and the metrics that were read.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::Response;
use clickhouse::{Client, RowOwned, RowRead};
use prometheus::IntCounter;
use serde::Serialize;
use time::OffsetDateTime;

use super::answer::{Answers, Format};
use super::pipeline::{History, Pipeline};
use super::problem::Problem;
use crate::query::pipeline::{RollupAge, rollup_age};
use crate::query::range::Range;
use crate::query::statement::Statement;
use crate::query::timestamp::Timestamp;

#[derive(Clone, Debug)]
pub struct ServeState {
    pub client: Client,
    pub answers: Answers,
    /// Statements that were sent to ClickHouse for questions.
    pub statements: IntCounter,
    pub history: Arc<History>,
}

impl ServeState {
    pub async fn rows<T: RowOwned + RowRead>(&self, statement: &Statement) -> Result<Vec<T>, Problem> {
        self.statements.inc();
        statement.rows(&self.client).await.map_err(|error| Problem::of_clickhouse(&error))
    }

    /// The response to a question, which is asked unless its answer is known. `key` holds all that the answer depends on.
    pub async fn answer<T: Serialize>(
        &self,
        key: String,
        range: Range,
        now: OffsetDateTime,
        format: Format,
        headers: &HeaderMap,
        ask: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Response, Problem> {
        let as_of = Timestamp::of_seconds(now.unix_timestamp());
        let kept = self.answers.get(key, range.to.0 >= now.unix_timestamp(), as_of, ask).await?;
        Ok(kept.response(format, headers))
    }

    pub async fn pipeline(&self, as_of: Timestamp) -> Result<Pipeline, Problem> {
        let age = self.rows::<RollupAge>(&rollup_age()).await?;
        Ok(self.history.pipeline(as_of, age.first().and_then(|age| age.seconds)))
    }
}
