//! The rows that the oracle reads, with the column types that other programs may rely on.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::difference::Receipt;
use crate::ledger::Attempt;
use crate::provider_time::ProviderTime;

#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct Delivery {
    pub log_id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub source: String,
    pub resource: String,
    pub action: String,
    pub job_id: String,
    pub created_at: ProviderTime,
    pub signed_at: u32,
    pub signed_at_text: String,
    pub first_signed_at: Option<u32>,
    pub received_at: ProviderTime,
    pub occurred_at: ProviderTime,
    pub signature: String,
    pub body: String,
}

impl Delivery {
    /// The position of its record, as dead letters name it in `origin`.
    pub fn position(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A row of `dead_letters`. Of the body, which may be any bytes, only the hash is read, as lower-case hex.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct DeadLetter {
    pub source: String,
    pub reason: String,
    pub origin: String,
    pub event_type: String,
    pub job_id: String,
    pub signature: String,
    pub signed_at_text: String,
    pub body_sha256: String,
}

impl DeadLetter {
    /// Whether ingest produced it. Otherwise the processor did, and the origin is a position in a resource topic.
    pub fn is_from_ingest(&self) -> bool {
        self.origin == "ingest"
    }
}

/// A row of `redrives`, with the receipt of its dead letter.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct Redrive {
    pub source: String,
    pub signature: String,
    pub signed_at_text: String,
    /// The position of the dead letter.
    pub letter: String,
    /// The position of the record that it became.
    pub record: String,
}

/// A row of the view `job_facts`.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct JobFacts {
    pub source: String,
    pub resource: String,
    pub job_id: String,
    pub job_type: String,
    pub created_hour: u32,
    pub created_at: ProviderTime,
    pub started_at: Option<ProviderTime>,
    pub completed_at: Option<ProviderTime>,
    pub errored_at: Option<ProviderTime>,
    pub finished_at: Option<ProviderTime>,
    pub outcome: String,
    pub error_code: String,
    pub error_message: String,
    pub total_seconds: Option<f64>,
    pub run_seconds: Option<f64>,
    pub queue_seconds: Option<f64>,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub image_count: Option<i64>,
    pub fps: Option<f64>,
    pub media_seconds: Option<f64>,
    pub credits_estimated: Option<i64>,
    pub credits_charged: Option<i64>,
    pub credits_refunded: Option<i64>,
    pub first_received_at: ProviderTime,
    pub last_received_at: ProviderTime,
    pub fold_version: u16,
}

/// Identifies a job: source, resource and id.
pub type JobKey = (String, String, String);

impl JobFacts {
    pub fn key(&self) -> JobKey {
        (self.source.clone(), self.resource.clone(), self.job_id.clone())
    }
}

/// A row of the view `job_stats_by_minute` or `job_stats_by_hour`. Its states are read as quantiles: p50, p90, p95 and p99, each NaN
/// where no job has the duration.
#[derive(Clone, Debug, Default, PartialEq, Row, Serialize, Deserialize)]
pub struct JobStats {
    pub created_hour: u32,
    /// The start of the minute or hour in which the jobs ended.
    pub ended: u32,
    pub source: String,
    pub resource: String,
    pub job_type: String,
    pub error_code: String,
    pub completed: u64,
    pub errored: u64,
    pub total_jobs: u64,
    pub run_jobs: u64,
    pub queue_jobs: u64,
    pub total_max: Option<f64>,
    pub run_max: Option<f64>,
    pub queue_max: Option<f64>,
    pub total: Vec<f64>,
    pub run: Vec<f64>,
    pub queue: Vec<f64>,
}

/// The same quantiles, computed from `job_facts` without the roll-up.
#[derive(Clone, Debug, PartialEq, Row, Deserialize)]
pub struct FactQuantiles {
    pub created_hour: u32,
    /// The start of the minute or hour in which the jobs ended.
    pub ended: u32,
    pub source: String,
    pub resource: String,
    pub job_type: String,
    pub error_code: String,
    pub total: Vec<f64>,
    pub run: Vec<f64>,
    pub queue: Vec<f64>,
}

/// The key of a row of the roll-up: created hour, minute or hour of the end, source, resource, job type and error code.
pub type StatsKey = (u32, u32, String, String, String, String);

macro_rules! receipt {
    ($($row:ident)*) => {$(
        impl $row {
            /// Identifies the attempt that was sent, or became the row.
            pub fn receipt(&self) -> Receipt {
                let [source, signed_at_text, signature] =
                    [&self.source, &self.signed_at_text, &self.signature].map(String::clone);
                Receipt { source, signed_at_text, signature }
            }
        }
    )*};
}

receipt! { Attempt Delivery DeadLetter Redrive }

macro_rules! stats_key {
    ($($row:ident)*) => {$(
        impl $row {
            pub fn key(&self) -> StatsKey {
                let text = [&self.source, &self.resource, &self.job_type, &self.error_code];
                let [source, resource, job_type, error_code] = text.map(String::clone);
                (self.created_hour, self.ended, source, resource, job_type, error_code)
            }
        }
    )*};
}

stats_key! { JobStats FactQuantiles }
