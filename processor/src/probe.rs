//! Asks Kafka and ClickHouse every few seconds whether they are there, also when there is nothing to read or to write. Works
//! on a thread and with clients of its own, so that a server that is silent holds up nobody else.

use std::time::{Duration, Instant};

use hookline_schemas::topics::Topics;
use hookline_service::admin::Readiness;
use hookline_service::kafka::{KafkaContext, ask};
use hookline_service::shutdown::CancellationToken;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::clickhouse::inserter::ClickHouse;
use crate::config::ProcessorConfig;
use crate::consumer::lag_probe::LagProbe;
use crate::daemon::KAFKA;
use crate::expired::table::{ExpiredRange, unacknowledged};
use crate::metrics::Metrics;
use crate::writer::CLICKHOUSE;

/// The client's name in logs and metrics.
pub const PROBE: &str = "probe";
/// The pause between two rounds of questions.
const INTERVAL: Duration = Duration::from_secs(3);
/// A server that has not answered within this time counts as silent.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A server that is silent for this long is missing. Shorter outages are those of elections and restarts.
const LIMIT: Duration = Duration::from_secs(10);

pub struct Probe {
    kafka: BaseConsumer<KafkaContext>,
    /// The topic whose metadata is asked for: all topics of a large cluster would be many.
    topic: String,
    lag: LagProbe,
    clickhouse: ClickHouse,
    readiness: Readiness,
    metrics: Metrics,
}

/// Since when a server has been silent.
#[derive(Debug, Default)]
struct Outage(Option<(Instant, OffsetDateTime)>);

impl Outage {
    /// Returns why and since when the server is missing, once it has been silent for long enough.
    fn observe(
        &mut self,
        answer: Result<(), String>,
        now: Instant,
        date: OffsetDateTime,
    ) -> Option<(String, OffsetDateTime)> {
        let Err(why) = answer else {
            self.0 = None;
            return None;
        };
        let (began, since) = *self.0.get_or_insert((now, date));
        (now.saturating_duration_since(began) >= LIMIT).then_some((why, since))
    }
}

impl Probe {
    pub fn new(config: &ProcessorConfig, readiness: Readiness, metrics: Metrics) -> anyhow::Result<Self> {
        let topics = Topics::new(&config.kafka.topic_prefix)?;
        let kafka = config.kafka.client()?.create_with_context(KafkaContext::new(PROBE))?;
        let topic = topics.dead_letter().to_owned();
        let lag = LagProbe::new(config, topics, metrics.partitions.clone())?;
        let clickhouse = ClickHouse::new(&config.clickhouse)?;
        Ok(Self { kafka, topic, lag, clickhouse, readiness, metrics })
    }

    /// Asks until the daemon ends.
    pub fn run(self, runtime: &Handle, shutdown: &CancellationToken) {
        let (mut kafka, mut clickhouse) = (Outage::default(), Outage::default());
        while !shutdown.is_cancelled() {
            let answer = self.ask_kafka();
            if answer.is_ok() {
                self.lag.answer_questions();
            }
            self.readiness.probed(KAFKA, kafka.observe(answer, Instant::now(), OffsetDateTime::now_utc()));
            let answer = runtime.block_on(self.ask_clickhouse());
            self.readiness.probed(CLICKHOUSE, clickhouse.observe(answer, Instant::now(), OffsetDateTime::now_utc()));
            let _ = runtime.block_on(async { timeout(INTERVAL, shutdown.cancelled()).await });
        }
    }

    fn ask_kafka(&self) -> Result<(), String> {
        let metadata = ask(&self.kafka, |kafka| kafka.fetch_metadata(Some(&self.topic), TIMEOUT));
        metadata.map(drop).map_err(|no_answer| no_answer.to_string())
    }

    /// Asks for what the warnings are made from: another process may have found or acknowledged something.
    async fn ask_clickhouse(&self) -> Result<(), String> {
        let answer = timeout(TIMEOUT, unacknowledged(&self.clickhouse)).await;
        let ranges = answer.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
        let ranges = ranges.map_err(|error| error.to_string())?;
        self.metrics.expired_unacknowledged.set(ranges.iter().map(ExpiredRange::records).sum());
        self.readiness.set_warnings(ranges.iter().map(ExpiredRange::warning).collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_of_silence_are_an_outage_since_its_first_second() {
        let (began, date) = (Instant::now(), OffsetDateTime::UNIX_EPOCH);
        let mut outage = Outage::default();
        let mut observe = |answer: Result<(), &str>, second: u32| {
            let answer = answer.map_err(str::to_owned);
            let after = Duration::from_secs(second.into());
            outage.observe(answer, began + after, date + after).map(|(why, since)| (why, since.unix_timestamp()))
        };
        assert_eq!(observe(Err("refused"), 1), None);
        assert_eq!(observe(Err("refused"), 10), None);
        assert_eq!(observe(Err("silent"), 11), Some(("silent".into(), 1)));
        assert_eq!(observe(Ok(()), 14), None);
        assert_eq!(observe(Err("refused"), 15), None, "another outage");
    }
}
