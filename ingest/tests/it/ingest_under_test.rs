//! Starts ingest like an operator would, on topics of a test's own, and asks it what tests want to know.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, LogPipe, Servers, eventually};

use crate::connection::{Answer, Connection};
use crate::records;
use crate::webhook::{SECRET, SOURCE, Webhook};

/// Generous, because the machine may be compiling beside the tests.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The 4 s within which every webhook is answered, and as much again for a busy machine.
pub const BUDGET: Duration = Duration::from_secs(8);
/// An answer that waits for nothing comes within this time, which is less than the budget, so that waiting shows.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// Options of a cluster that notices the loss of a killed broker, and lets it in again, after 3 s instead of 9.
pub const SESSION: [&str; 4] = ["--set", "broker.session.timeout.ms=3000", "--set", "broker.heartbeat.interval.ms=500"];

pub struct IngestUnderTest {
    pub daemon: Daemon,
    pub address: SocketAddr,
    pub kafka: KafkaConfig,
    /// Held until the end of the test: dropped, it drops the database that it created.
    _servers: Option<Servers>,
}

impl IngestUnderTest {
    /// Creates topics on the servers that the whole test run shares, and waits until ingest is ready.
    pub async fn shared(name: &str, settings: &[(&str, &str)]) -> Self {
        let (servers, kafka) = fresh(name).await;
        records::create(&kafka, records::topics(&kafka).all(), (4, 1), &[]).await;
        Self::ready(kafka, settings).await.keeping(servers)
    }

    /// Waits until ingest is ready; the topics must exist.
    pub async fn ready(kafka: KafkaConfig, settings: &[(&str, &str)]) -> Self {
        let mut ingest = Self::start(kafka, &[], settings).await;
        ingest.daemon.wait_ready().await;
        ingest
    }

    /// Waits only until ingest listens. `settings` are environment variables, and replace those set here.
    pub async fn start(kafka: KafkaConfig, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::start_logging_into(LogPipe::Read, kafka, arguments, settings).await
    }

    /// The same with a log that is not read to its end.
    pub async fn start_logging_into(
        pipe: LogPipe,
        kafka: KafkaConfig,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let own = [
            ("KAFKA_BOOTSTRAP_SERVERS", &*kafka.bootstrap_servers),
            ("HOOKLINE_TOPIC_PREFIX", &kafka.topic_prefix),
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_SOURCE", SOURCE),
            ("HOOKLINE_WEBHOOK_SECRET", SECRET),
        ];
        let environment: Vec<_> =
            own.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut daemon = Daemon::start_logging_into(pipe, "hookline-ingest", arguments, &environment);
        let address = daemon.address("server").await;
        Self { daemon, address, kafka, _servers: None }
    }

    pub fn keeping(self, servers: Servers) -> Self {
        Self { _servers: Some(servers), ..self }
    }

    /// Sends a webhook over a connection of its own.
    pub async fn post(&self, webhook: &Webhook) -> Answer {
        Connection::open(self.address).await.exchange(webhook.request()).await.expect("an answer")
    }

    /// The answer, and how long it took.
    pub async fn timed(&self, webhook: &Webhook) -> (Answer, Duration) {
        let began = Instant::now();
        (self.post(webhook).await, began.elapsed())
    }

    /// Sends new webhooks until one is acknowledged, which it returns.
    pub async fn accepts(&self) -> Webhook {
        eventually("a webhook acknowledged", DEADLINE, async || {
            let webhook = Webhook::new();
            (self.post(&webhook).await.status == 200).then_some(webhook)
        })
        .await
    }

    /// Waits until `/health/ready` gives a reason that contains `part`; returns the whole reason.
    pub async fn is_not_ready_because(&mut self, part: &str) -> String {
        let url = format!("http://{}/health/ready", self.daemon.address("admin").await);
        eventually(&format!("a reason with {part:?}"), DEADLINE, async || {
            let answer = reqwest::get(&url).await.unwrap();
            (answer.status() == 503).then_some(answer.text().await.unwrap()).filter(|reason| reason.contains(part))
        })
        .await
    }

    /// A metric of ingest, named without its prefix `hookline_ingest_`.
    pub async fn metric(&mut self, name: &str, labels: &[&str]) -> u64 {
        self.daemon.metric(&format!("hookline_ingest_{name}"), labels).await as u64
    }

    /// Terminates ingest, which must exit with 0 and must not have panicked before.
    pub async fn ends_well(&mut self) {
        let status = self.daemon.terminate().await;
        let log = self.daemon.log().join("\n");
        assert!(status.success() && !log.contains("panicked"), "{status}\n{log}");
    }
}

/// A topic prefix on the shared servers, for which no topics exist yet.
pub async fn fresh(name: &str) -> (Servers, KafkaConfig) {
    let servers = Servers::fresh(name).await;
    let kafka = servers.kafka.clone();
    (servers, kafka)
}
