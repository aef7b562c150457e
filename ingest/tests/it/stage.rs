//! Ingest, started as its operators would start it, on topics of a test's own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hookline_service::kafka::KafkaConfig;
use hookline_testkit::{Daemon, Servers, eventually};

use crate::connection::{Answer, Connection};
use crate::records;
use crate::webhook::{SECRET, SOURCE, Webhook};

/// A generous deadline: the machine may be compiling beside the tests.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The 4 s that an answer may take, and as much again for a busy machine.
pub const BUDGET: Duration = Duration::from_secs(8);
/// An answer that nothing was waited for; less than the budget, so that waiting shows.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// Options of a cluster in which a broker that is killed is missed, and let in again, after 3 s instead of 9.
pub const SESSION: [&str; 4] = ["--set", "broker.session.timeout.ms=3000", "--set", "broker.heartbeat.interval.ms=500"];

/// A running ingest.
pub struct Stage {
    pub ingest: Daemon,
    pub address: SocketAddr,
    pub kafka: KafkaConfig,
    /// Drops what the test made on the shared servers.
    _servers: Option<Servers>,
}

impl Stage {
    /// Ready, on the servers that the whole test run shares.
    pub async fn shared(name: &str, settings: &[(&str, &str)]) -> Self {
        let (servers, kafka) = fresh(name).await;
        records::create(&kafka, records::topics(&kafka).all(), (4, 1), &[]).await;
        Self::ready(kafka, settings).await.keeping(servers)
    }

    /// Ready, on topics that are there.
    pub async fn ready(kafka: KafkaConfig, settings: &[(&str, &str)]) -> Self {
        let mut stage = Self::start(kafka, &[], settings).await;
        stage.ingest.wait_ready().await;
        stage
    }

    /// Listening. `settings` are environment variables, and win.
    pub async fn start(kafka: KafkaConfig, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
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
        let mut ingest = Daemon::start("hookline-ingest", arguments, &environment);
        let address = ingest.address("server").await;
        Self { ingest, address, kafka, _servers: None }
    }

    pub fn keeping(self, servers: Servers) -> Self {
        Self { _servers: Some(servers), ..self }
    }

    /// Sends a webhook over a connection of its own.
    pub async fn post(&self, webhook: &Webhook) -> Answer {
        Connection::open(self.address).await.exchange(webhook.request()).await.expect("an answer")
    }

    /// Sends a webhook, and how long the answer took.
    pub async fn timed(&self, webhook: &Webhook) -> (Answer, Duration) {
        let began = Instant::now();
        (self.post(webhook).await, began.elapsed())
    }

    /// Sends new webhooks until one is acknowledged; returns that one.
    pub async fn accepts(&self) -> Webhook {
        eventually("a webhook acknowledged", DEADLINE, async || {
            let webhook = Webhook::new();
            (self.post(&webhook).await.status == 200).then_some(webhook)
        })
        .await
    }

    /// Waits until readiness gives a reason that contains `part`; returns all of it.
    pub async fn is_not_ready_because(&mut self, part: &str) -> String {
        let url = format!("http://{}/health/ready", self.ingest.address("admin").await);
        eventually(&format!("a reason with {part:?}"), DEADLINE, async || {
            let answer = reqwest::get(&url).await.unwrap();
            (answer.status() == 503).then_some(answer.text().await.unwrap()).filter(|reason| reason.contains(part))
        })
        .await
    }

    /// A metric of ingest; its name without the prefix.
    pub async fn metric(&mut self, name: &str, labels: &[&str]) -> u64 {
        self.ingest.metric(&format!("hookline_ingest_{name}"), labels).await as u64
    }

    /// Ends in good order, with nothing panicked on the way.
    pub async fn ends_well(&mut self) {
        let status = self.ingest.terminate().await;
        let log = self.ingest.log().join("\n");
        assert!(status.success() && !log.contains("panicked"), "{status}\n{log}");
    }
}

/// A topic prefix on the shared servers, but no topics.
pub async fn fresh(name: &str) -> (Servers, KafkaConfig) {
    let servers = Servers::fresh(name).await;
    let kafka = servers.kafka.clone();
    (servers, kafka)
}
