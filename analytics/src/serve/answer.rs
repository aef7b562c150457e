//! Answers: asked once for all who ask the same, kept for a moment, and shown as JSON or CSV.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use moka::Expiry;
use moka::future::Cache;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::problem::Problem;
use crate::csv::to_csv;
use crate::query::timestamp::Timestamp;

/// The most answers that are kept at the same time.
const ENTRIES: u64 = 1_000;
/// How long an answer is kept whose range reaches now, and how long any other is: a late event may still change it.
const RECENT: Duration = Duration::from_secs(5);
const PAST: Duration = Duration::from_secs(60);

/// An answer as it is kept.
#[derive(Debug)]
pub struct Kept {
    body: Value,
    as_of: Timestamp,
    /// A hash of everything but `as_of`: the same figures later are the same answer.
    etag: String,
    reaches_now: bool,
}

struct Lifetime;

impl Expiry<String, Arc<Kept>> for Lifetime {
    fn expire_after_create(&self, _: &String, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        Some(if kept.reaches_now { RECENT } else { PAST })
    }

    fn expire_after_update(
        &self,
        key: &String,
        kept: &Arc<Kept>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, kept, at)
    }
}

/// The answers of the last minute, and those that are being asked for.
#[derive(Clone, Debug)]
pub struct Answers {
    cache: Cache<String, Arc<Kept>>,
    query_timeout: Duration,
}

impl Answers {
    pub fn new(query_timeout: Duration) -> Self {
        let cache = Cache::builder().max_capacity(ENTRIES).expire_after(Lifetime).build();
        Self { cache, query_timeout }
    }

    /// The answer to the question that `key` names, which `ask` asks unless it is known or being asked for. Where everybody who
    /// waits goes away, or the time is over, `ask` is dropped, and ClickHouse cancels what it was at.
    pub async fn get<T: Serialize>(
        &self,
        key: String,
        reaches_now: bool,
        as_of: Timestamp,
        ask: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Arc<Kept>, Problem> {
        let kept = async {
            let answer = timeout(self.query_timeout, ask).await.unwrap_or_else(|_| Err(Problem::timed_out()))?;
            let body = serde_json::to_value(&answer)
                .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            Ok(Arc::new(Kept { etag: etag(&body), body, as_of, reaches_now }))
        };
        self.cache.try_get_with(key, kept).await.map_err(|problem: Arc<Problem>| Problem::clone(&problem))
    }
}

fn etag(body: &Value) -> String {
    let mut body = body.clone();
    if let Some(object) = body.as_object_mut() {
        object.remove("as_of");
    }
    let digest = Sha256::digest(body.to_string().as_bytes());
    let digest = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("W/\"{digest}\"")
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
}

impl Format {
    /// What `Accept` asks for. Answers that are no table have no CSV.
    pub fn accepted(headers: &HeaderMap, is_table: bool) -> Result<Self, Problem> {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let types: Vec<_> = accept
            .flat_map(|value| value.split(','))
            .map(|media| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .filter(|media| !media.is_empty())
            .collect();
        let found = types.iter().find_map(|media| match media.as_str() {
            "text/csv" | "text/*" if is_table => Some(Self::Csv),
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        });
        match found {
            Some(format) => Ok(format),
            None if types.is_empty() => Ok(Self::Json),
            None => {
                let all = if is_table { "application/json or text/csv" } else { "application/json" };
                Err(Problem::new(
                    StatusCode::NOT_ACCEPTABLE,
                    format!("this path answers {all}: change the header Accept"),
                ))
            }
        }
    }
}

impl Kept {
    /// The answer that is a text alone.
    pub fn text(&self) -> &str {
        self.body.as_str().unwrap_or_default()
    }

    pub fn response(&self, format: Format, headers: &HeaderMap) -> Response {
        let etag = match format {
            Format::Json => self.etag.clone(),
            Format::Csv => self.etag.replace("W/\"", "W/\"csv-"),
        };
        let mut common = HeaderMap::new();
        for (name, value) in [
            (header::ETAG, etag.as_str()),
            (header::CACHE_CONTROL, "private, max-age=2"),
            (header::VARY, "Accept, Authorization"),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                common.insert(name, value);
            }
        }
        if let Ok(as_of) = HeaderValue::from_str(&self.as_of.to_string()) {
            common.insert("hookline-as-of", as_of);
        }
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        if known.flat_map(|value| value.split(',')).any(|known| matches!(known.trim(), "*") || known.trim() == etag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        match format {
            Format::Json => {
                common.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                (common, self.body.to_string()).into_response()
            }
            Format::Csv => match to_csv(self.body.get("rows").unwrap_or(&Value::Null)) {
                Ok(text) => {
                    common.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
                    (common, text).into_response()
                }
                Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_the_same_share_one_question() {
        let answers = Answers::new(Duration::from_secs(60));
        let asked = AtomicU32::new(0);
        let ask = async || {
            let ask = async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(json!({ "as_of": "now", "rows": [] }))
            };
            answers.get("question".into(), true, Timestamp(0), ask).await.unwrap()
        };
        tokio::join!(ask(), ask(), ask());
        ask().await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_problem_is_not_kept() {
        let answers = Answers::new(Duration::from_millis(1));
        let never = std::future::pending::<Result<Value, Problem>>();
        assert_eq!(answers.get("q".into(), true, Timestamp(0), never).await.unwrap_err(), Problem::timed_out());
        assert!(answers.get("q".into(), true, Timestamp(0), async { Ok(json!(1)) }).await.is_ok());
    }

    #[test]
    fn the_tag_is_that_of_the_figures() {
        let tag = |as_of, jobs| etag(&json!({ "as_of": as_of, "rows": [jobs] }));
        assert_eq!(tag(1, 2), tag(3, 2));
        assert_ne!(tag(1, 2), tag(1, 3));
    }

    #[test]
    fn accept_chooses_the_format() {
        let accepted = |accept: &'static str, is_table| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            Format::accepted(&headers, is_table).ok()
        };
        assert_eq!(accepted("text/csv", true), Some(Format::Csv));
        assert_eq!(accepted("text/csv", false), None);
        assert_eq!(accepted("text/html, */*;q=0.8", true), Some(Format::Json));
        assert_eq!(accepted("application/json", true), Some(Format::Json));
        assert_eq!(accepted("image/png", true), None);
        assert_eq!(Format::accepted(&HeaderMap::new(), true).ok(), Some(Format::Json));
    }
}
