//! Asks the metrics and ClickHouse, and remembers what a rate and a server that is away need.

use std::collections::VecDeque;
use std::time::Duration;

use clickhouse::{Client, RowOwned, RowRead};
use hookline_service::config::mask_url;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::arguments::TopArgs;
use super::overview::{Overview, Pipeline, Tables};
use crate::config::AnalyticsConfig;
use crate::query::Dimension;
use crate::query::dead_letters::DeadLetters;
use crate::query::filter::Filter;
use crate::query::finished::{Finished, FinishedJobs, Kind};
use crate::query::open::OpenNow;
use crate::query::pipeline::{Reading, RollupAge, rollup_age};
use crate::query::statement::Statement;
use crate::query::timestamp::Timestamp;
use crate::serve::MetricsSource;

/// A rate is that of so many milliseconds, as the API's is.
const RATES_OVER: i64 = 60_000;

#[derive(Debug)]
pub struct Asking {
    client: Client,
    /// The server and its database, for errors.
    server: String,
    query_timeout: Duration,
    source: Option<MetricsSource>,
    arguments: TopArgs,
    /// Those of the last minute.
    readings: VecDeque<Reading>,
    /// What ClickHouse said last.
    tables: Option<Tables>,
}

impl Asking {
    /// Asks nobody yet. ClickHouse is asked as the user that may only read, where there is one.
    pub fn new(config: &AnalyticsConfig, arguments: &TopArgs) -> anyhow::Result<Self> {
        let reader = config.serve.reader(&config.clickhouse);
        Ok(Self {
            client: reader.client()?,
            server: format!("ClickHouse at {}, database {}", mask_url(&reader.url), reader.database),
            query_timeout: config.serve.query_timeout(),
            source: MetricsSource::new(&config.serve)?,
            arguments: arguments.clone(),
            readings: VecDeque::new(),
            tables: None,
        })
    }

    /// Takes the reading that rates begin with. True where it lies in the past; otherwise a rate needs some time to pass.
    pub async fn begin(&mut self) -> bool {
        let Some(source) = &self.source else { return true };
        let now = now();
        let past = source.read_past(Timestamp(now.0 - RATES_OVER)).await;
        let lies_in_the_past = past.is_some();
        self.readings.push_back(match past {
            Some(reading) => reading,
            None => source.read(now).await,
        });
        lies_in_the_past
    }

    /// Asks everybody once more.
    pub async fn ask(&mut self) -> Overview {
        let as_of = now();
        let metrics = async {
            match &self.source {
                Some(source) => Some(source.read(as_of).await),
                None => None,
            }
        };
        let (reading, tables) = tokio::join!(metrics, self.ask_clickhouse());
        if let Some(reading) = reading {
            self.readings.push_back(reading);
        }
        while self.readings.len() > 2 && self.readings.get(1).is_some_and(|second| second.at.0 <= as_of.0 - RATES_OVER)
        {
            self.readings.pop_front();
        }
        let clickhouse_error = match tables {
            Ok(tables) => {
                self.tables = Some(tables);
                None
            }
            Err(error) => Some(format!("{}: {error:#}", self.server)),
        };
        let pipeline = Pipeline::new(self.readings.make_contiguous());
        Overview { as_of, pipeline, tables: self.tables.clone(), clickhouse_error }
    }

    async fn ask_clickhouse(&self) -> anyhow::Result<Tables> {
        let waited = self.query_timeout;
        let answer = timeout(waited, self.ask_tables()).await;
        answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {waited:?} (serve.query_timeout_ms)")))
    }

    async fn ask_tables(&self) -> anyhow::Result<Tables> {
        let now = OffsetDateTime::now_utc();
        let range = self.arguments.range(now)?;
        let kinds = vec![Kind::Total];
        let all = Finished { range, filter: Filter::default(), by: Vec::new(), step: None, kinds, read_from: None };
        let by_resource = Finished { by: vec![Dimension::Resource], ..all.clone() };
        let letters = DeadLetters { range, source: Vec::new(), reason: Vec::new(), after: None, limit: 1 };
        let jobs = all.answer(self.rows(&all.statement()).await?).into_iter().next().unwrap_or(FinishedJobs::NONE);
        let age: Vec<RollupAge> = self.rows(&rollup_age()).await?;
        let minutes = f64::from(u32::try_from(now.unix_timestamp() - range.from.0)?) / 60.0;
        Ok(Tables {
            as_of: Timestamp::of_seconds(now.unix_timestamp()),
            range,
            read_from: all.read_from(),
            finished_per_minute: per_minute(jobs.finished(), minutes),
            jobs,
            resources: by_resource.answer(self.rows(&by_resource.statement()).await?),
            open: self.rows(&OpenNow { filter: Filter::default() }.statement()).await?,
            dead_letters: self.rows(&letters.counts()).await?,
            rollup_age_seconds: age.first().and_then(|age| age.seconds),
        })
    }

    async fn rows<T: RowOwned + RowRead>(&self, statement: &Statement) -> anyhow::Result<Vec<T>> {
        Ok(statement.rows(&self.client).await?)
    }
}

fn now() -> Timestamp {
    let milliseconds = OffsetDateTime::now_utc().unix_timestamp_nanos().div_euclid(1_000_000);
    Timestamp(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 jobs finish in a range")]
fn per_minute(jobs: u64, minutes: f64) -> f64 {
    jobs as f64 / minutes.max(1.0)
}
