//! Where the metrics are read: at the listeners of the processes themselves, or in a Prometheus that scrapes them.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

use super::super::ServeConfig;
use crate::query::pipeline::{Reading, Unreachable, prometheus_query};
use crate::query::timestamp::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that is larger is none of ours.
const MAX_BYTES: usize = 4 << 20;

#[derive(Clone, Debug)]
pub struct MetricsSource {
    client: Client,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// The page of metrics of each listener.
    Listeners(Vec<String>),
    /// The address that answers questions.
    Prometheus(String),
}

impl MetricsSource {
    /// None where neither is configured.
    pub fn new(config: &ServeConfig) -> anyhow::Result<Option<Self>> {
        let address = |url: &str, path: &str| format!("{}{path}", url.trim_end_matches('/'));
        let pages: Vec<_> = config.admin_urls.iter().map(|url| address(url, "/metrics")).collect();
        let place = match config.prometheus_url.as_str() {
            Some(url) => Place::Prometheus(address(url, "/api/v1/query")),
            None if pages.is_empty() => return Ok(None),
            None => Place::Listeners(pages),
        };
        let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Some(Self { client, place }))
    }

    /// What they say now; whoever does not answer is counted.
    pub async fn read(&self, at: Timestamp) -> Reading {
        let mut reading = Reading::new(at);
        match &self.place {
            Place::Listeners(urls) => {
                for url in urls {
                    match self.page(url).await {
                        Ok(page) => reading.add_page(url, &page),
                        Err(error) => reading.unreachable.push(unreachable(url, &error)),
                    }
                }
            }
            Place::Prometheus(url) => self.ask(url, None, &mut reading).await,
        }
        reading
    }

    /// What they said then: only a Prometheus keeps it.
    pub async fn read_past(&self, at: Timestamp) -> Option<Reading> {
        let Place::Prometheus(url) = &self.place else { return None };
        let mut reading = Reading::new(at);
        self.ask(url, Some(at), &mut reading).await;
        Some(reading)
    }

    async fn ask(&self, url: &str, at: Option<Timestamp>, reading: &mut Reading) {
        let answer = self.answer(url, at).await;
        if let Err(error) = answer.and_then(|answer| Ok(reading.add_prometheus_answer(&answer)?)) {
            reading.unreachable.push(unreachable(url, &error));
        }
    }

    async fn page(&self, url: &str) -> anyhow::Result<String> {
        let page = self.client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        bounded(page.map_err(reqwest::Error::without_url)?).await
    }

    /// Prometheus says in the body what is wrong with a question, so the status is not looked at.
    async fn answer(&self, url: &str, at: Option<Timestamp>) -> anyhow::Result<String> {
        let query = prometheus_query().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let asked = self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let time = at.map_or(String::new(), |at| format!("&time={}", at.0.div_euclid(1_000)));
        bounded(asked.body(format!("query={query}{time}")).send().await.map_err(reqwest::Error::without_url)?).await
    }
}

fn unreachable(url: &str, error: &anyhow::Error) -> Unreachable {
    let error = format!("{error:#}");
    tracing::debug!(url, error, "no metrics");
    Unreachable { url: url.to_owned(), error }
}

async fn bounded(mut response: reqwest::Response) -> anyhow::Result<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(body.len() + chunk.len() <= MAX_BYTES, "more than {MAX_BYTES} bytes are not read");
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).context("not UTF-8")
}
