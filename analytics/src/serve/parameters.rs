//! The parameters of each path, as they are documented, and what they mean.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum_extra::extract::Query;
use hookline_schemas::outcome::Outcome;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use utoipa::IntoParams;

use super::problem::Problem;
use super::values::{one_of, range, texts};
use crate::query::Dimension;
use crate::query::filter::Filter;
use crate::query::finished::Kind;
use crate::query::range::Range;

/// The parameters of a request; one that is unknown or given twice is a problem that names it.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text.rsplit("query string: ").next().unwrap_or_default();
                // serde names an unknown member in backticks, and one whose value it cannot take before a colon.
                let (name, reason) = match (text.split('`').nth(1), reason.split_once(": ")) {
                    (Some(name), _) => (name, reason.to_owned()),
                    (None, Some((name, _))) => (name, format!("{name} is given more than once")),
                    (None, None) => ("", reason.to_owned()),
                };
                Err(Problem::parameter(name, format!("{reason}; /openapi.json lists the parameters of each path")))
            }
        }
    }
}

/// Declares the parameters that every question has, before those of its own.
macro_rules! parameters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields, default)]
        #[into_params(parameter_in = Query)]
        pub struct $name {
            /// Start of the range, included: RFC 3339, or an age such as `-24h`; rounded down to a whole minute.
            #[param(example = "-24h")]
            pub from: Option<String>,
            /// End of the range, excluded: RFC 3339, an age or `now`, which is the default; rounded up to a whole minute.
            #[param(example = "now")]
            pub to: Option<String>,
            /// Only these sources; may be given several times, as may the other filters.
            pub source: Vec<String>,
            /// Only these resources: `video`, `image`, `audio`.
            pub resource: Vec<String>,
            /// Only these types of jobs.
            pub job_type: Vec<String>,
            /// Only these error codes; the empty one is that of jobs that completed.
            pub error_code: Vec<String>,
            /// Only these outcomes; the facts answer then, whatever the range.
            #[param(inline, value_type = Vec<OutcomeName>)]
            pub outcome: Vec<String>,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            /// The range, which begins `default` seconds ago unless `from` is given.
            pub fn range(&self, now: OffsetDateTime, default: i64) -> Result<Range, Problem> {
                range(self.from.as_deref(), self.to.as_deref(), now, default)
            }

            pub fn filter(&self) -> Result<Filter, Problem> {
                let outcome = self.outcome.iter().map(|text| one_of("outcome", text, &Outcome::ALL, Outcome::as_str));
                Ok(Filter {
                    source: texts("source", &self.source)?,
                    resource: texts("resource", &self.resource)?,
                    job_type: texts("job_type", &self.job_type)?,
                    error_code: texts("error_code", &self.error_code)?,
                    outcome: outcome.collect::<Result<_, _>>()?,
                })
            }
        }
    };
}

parameters!(SummaryParameters {
    /// Beside the range, the one of the same length that lies so much earlier: `-24h`, `-7d`.
    compare: Option<String>,
    /// Durations to answer with: `total`, `run`, `queue`; each costs as much again. All by default.
    #[param(inline, value_type = Vec<Kind>)]
    kind: Vec<String>,
});
parameters!(SeriesParameters {
    /// Width of the groups of time: `1m`, `6h`; whole minutes. Chosen to fit a chart by default.
    #[param(example = "1h")]
    step: Option<String>,
    /// Dimensions to group by; all jobs are one group by default.
    #[param(inline, value_type = Vec<Dimension>)]
    by: Vec<String>,
    /// Durations to answer with: `total`, `run`, `queue`; each costs as much again. None by default.
    #[param(inline, value_type = Vec<Kind>)]
    kind: Vec<String>,
    /// Beside the range, the one of the same length that lies so much earlier: `-24h`, `-7d`.
    compare: Option<String>,
});
parameters!(DurationsParameters {
    /// Dimensions to group by; `resource` and `job_type` by default.
    #[param(inline, value_type = Vec<Dimension>)]
    by: Vec<String>,
    /// Durations to answer with: `total`, `run`, `queue`; each costs as much again. All by default.
    #[param(inline, value_type = Vec<Kind>)]
    kind: Vec<String>,
    /// Beside the range, the one of the same length that lies so much earlier: `-24h`, `-7d`.
    compare: Option<String>,
});
parameters!(ErrorsParameters {
    /// Groups to answer with, from 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500, value_type = Option<u16>)]
    limit: Option<String>,
});
parameters!(DistributionParameters {
    /// Width of the groups of time: `1m`, `6h`; whole minutes. Chosen to fit a chart by default.
    #[param(example = "1h")]
    step: Option<String>,
    /// The duration; `total` by default.
    #[param(inline, value_type = Option<Kind>)]
    kind: Option<String>,
});
parameters!(CreditsParameters {
    /// Width of the groups of time: `1m`, `6h`; whole minutes. The range is one group by default.
    #[param(example = "1h")]
    step: Option<String>,
    /// Dimensions to group by; all jobs are one group by default.
    #[param(inline, value_type = Vec<Dimension>)]
    by: Vec<String>,
});
parameters!(JobsParameters {
    /// `any`, the default; `open`: their last event may still come; `stuck`: open for too long; `unresolved`: nothing more comes.
    #[param(inline, value_type = Option<StateName>)]
    state: Option<String>,
    /// Which time of the jobs lies in the range: `created`, the default, or `finished`.
    #[param(inline, value_type = Option<TimeName>)]
    time: Option<String>,
    /// `newest`, the default, or the slowest by a duration: `total`, `run`, `queue`.
    #[param(inline, value_type = Option<OrderName>)]
    order: Option<String>,
    /// Jobs of a page, from 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500, value_type = Option<u16>)]
    limit: Option<String>,
    /// `next` of the page before. The other parameters must be the same.
    cursor: Option<String>,
});

/// The parameters of `/api/v1/delays`: deliveries know no other dimension.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DelaysParameters {
    /// Start of the range, included: RFC 3339, or an age such as `-24h`; at most 7 days before its end.
    #[param(example = "-24h")]
    pub from: Option<String>,
    /// End of the range, excluded: RFC 3339, an age or `now`, which is the default.
    #[param(example = "now")]
    pub to: Option<String>,
    /// Only these sources; may be given several times.
    pub source: Vec<String>,
    /// Only these resources: `video`, `image`, `audio`.
    pub resource: Vec<String>,
}

/// The parameters of `/api/v1/jobs/{id}`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct JobParameters {
    /// Only these sources; may be given several times.
    pub source: Vec<String>,
    /// Only these resources: `video`, `image`, `audio`.
    pub resource: Vec<String>,
}

/// The parameters of `/api/v1/dead-letters`.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeadLettersParameters {
    /// Start of the range in which they were received, included: RFC 3339, or an age such as `-24h`.
    #[param(example = "-24h")]
    pub from: Option<String>,
    /// End of the range, excluded: RFC 3339, an age or `now`, which is the default.
    #[param(example = "now")]
    pub to: Option<String>,
    /// Only these sources; may be given several times.
    pub source: Vec<String>,
    /// Only these reasons; may be given several times.
    pub reason: Vec<String>,
    /// Dead letters of a page, from 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500, value_type = Option<u16>)]
    pub limit: Option<String>,
    /// `next` of the page before. The other parameters must be the same.
    pub cursor: Option<String>,
}

/// The names of parameters' values, which the OpenAPI document lists.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the document has the names; the values are parsed from text, to name the parameter in a problem"
)]
enum OutcomeName {
    Completed,
    Errored,
    Open,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "as above")]
enum StateName {
    Any,
    Open,
    Stuck,
    Unresolved,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "as above")]
enum TimeName {
    Created,
    Finished,
}

#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "as above")]
enum OrderName {
    Newest,
    Total,
    Run,
    Queue,
}
