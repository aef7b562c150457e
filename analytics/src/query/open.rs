//! Jobs without an end now: open, stuck and unresolved, with the age of the oldest.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReadFrom;
use super::filter::Filter;
use super::statement::Statement;

/// Asks for the jobs without an end. There is no range: it is about now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenNow {
    pub filter: Filter,
}

/// Unresolved jobs that were created earlier are not counted, because that would read every job there ever was.
pub const UNRESOLVED_DAYS: u32 = 30;

/// The jobs without an end of one source and resource.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize, ToSchema)]
pub struct OpenCount {
    /// `open`: their last event may still come. `stuck`: those of the open ones that are beyond their resource's threshold.
    /// `unresolved`: created from 25 hours to 30 days ago.
    pub state: String,
    pub source: String,
    pub resource: String,
    pub jobs: u64,
    /// Seconds since the oldest was created.
    pub oldest_seconds: Option<f64>,
}

impl OpenNow {
    pub fn statement(&self) -> Statement {
        let condition = self.filter.condition(ReadFrom::Facts);
        let views = [
            ("open", "open_jobs", "1".to_owned()),
            ("stuck", "stuck_jobs", "1".to_owned()),
            ("unresolved", "unresolved_jobs", format!("created_hour >= now() - INTERVAL {UNRESOLVED_DAYS} DAY")),
        ];
        let of = |(state, view, since): (&str, &str, String)| {
            format!(
                "SELECT '{state}' AS state, source, resource, count() AS jobs, max(age_seconds) AS oldest_seconds FROM {view} \
                 WHERE {since} AND {condition} GROUP BY source, resource"
            )
        };
        let sql = format!("SELECT * FROM ({}) ORDER BY state, source, resource", views.map(of).join(" UNION ALL "));
        Statement::new(sql, self.filter.parameters())
    }
}
