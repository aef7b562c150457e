//! One job with its deliveries. An id may belong to jobs of several sources and resources.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::jobs::{COLUMNS, NAMES};
use super::statement::{Parameter, Statement};
use super::timestamp::Timestamp;

/// Asks for every job that has an id, and for what was received about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobById {
    pub job_id: String,
    /// Sources and resources to look in; all of them without any.
    pub filter: Filter,
}

/// The rows of each kind that one answer may have.
pub const MAX_ROWS: u16 = 500;

/// A webhook that told something of the job, without its body and its signature. Offsets are text, to stay exact.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    pub source: String,
    pub resource: String,
    /// `started`, `completed` or `errored`.
    pub action: String,
    /// When the event happened: within its signed second, where ingest's clock says.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub signed_at: Timestamp,
    /// When the first attempt was signed, where ingest answered that one with 503.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_signed_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// Name of the secret that verified the signature.
    pub key_name: String,
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: String,
}

/// A webhook about the job that became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize, ToSchema)]
pub struct JobDeadLetter {
    pub source: String,
    pub event_type: String,
    pub reason: String,
    pub detail: String,
    /// `topic/partition/offset`, or `ingest`.
    pub origin: String,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
}

impl JobById {
    fn parameters(&self) -> Vec<(&'static str, Parameter)> {
        let mut parameters = self.filter.of_source_and_resource().parameters();
        parameters.push(("job_id", Parameter::Text(self.job_id.clone())));
        parameters
    }

    /// Asks for the jobs, as rows of [`super::jobs::Job`].
    pub fn jobs(&self) -> Statement {
        let condition = self.filter.of_source_and_resource().condition(ReadFrom::Facts);
        let sql = format!(
            "SELECT {NAMES} FROM (SELECT {COLUMNS}, toUnixTimestamp64Milli(created_at) AS key FROM job_facts \
             WHERE job_id = {{job_id:String}} AND {condition}) ORDER BY source, resource, key DESC LIMIT {MAX_ROWS}"
        );
        Statement::new(sql, self.parameters())
    }

    /// Asks for rows of [`Delivery`], the oldest first.
    pub fn deliveries(&self) -> Statement {
        let condition = self.filter.of_source_and_resource().condition(ReadFrom::Facts);
        let sql = format!(
            "SELECT toString(source) AS source, toString(resource) AS resource, toString(action) AS action, \
             toUnixTimestamp64Milli(deliveries.occurred_at) AS occurred_at, \
             toInt64(toUnixTimestamp(deliveries.signed_at)) * 1000 AS signed_at, \
             toInt64(toUnixTimestamp(deliveries.first_signed_at)) * 1000 AS first_signed_at, \
             toUnixTimestamp64Milli(deliveries.received_at) AS received_at, toString(key_name) AS key_name, \
             toString(log_id) AS log_id, toString(topic) AS topic, partition, toString(deliveries.offset) AS offset \
             FROM deliveries FINAL WHERE job_id = {{job_id:String}} AND {condition} \
             ORDER BY deliveries.signed_at, topic, partition, deliveries.offset LIMIT {MAX_ROWS}"
        );
        Statement::new(sql, self.parameters())
    }

    /// Asks for rows of [`JobDeadLetter`], the oldest first. A dead letter knows no resource.
    pub fn dead_letters(&self) -> Statement {
        let filter = Filter { source: self.filter.source.clone(), ..Filter::default() };
        let mut parameters = filter.parameters();
        parameters.push(("job_id", Parameter::Text(self.job_id.clone())));
        let sql = format!(
            "SELECT toString(source) AS source, toString(event_type) AS event_type, toString(reason) AS reason, detail, origin, \
             toUnixTimestamp64Milli(dead_letters.received_at) AS received_at \
             FROM dead_letters FINAL WHERE job_id = {{job_id:String}} AND {} ORDER BY dead_letters.received_at LIMIT {MAX_ROWS}",
            filter.condition(ReadFrom::Facts)
        );
        Statement::new(sql, parameters)
    }
}
