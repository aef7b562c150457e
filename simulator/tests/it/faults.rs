//! What befalls a running pipeline, one thing at a time; afterwards every number must be right.

use std::fmt;
use std::time::Duration;

use hookline_service::testing::{Daemon, KafkaCluster, Servers, eventually};
use nix::sys::signal::Signal;
use reqwest::Url;
use tokio::time::sleep;

use crate::clickhouse_server::ClickHouseServer;
use crate::proxy::{Network, Proxy};
use crate::stage::Stage;
use crate::traffic::Traffic;
use crate::verdict::{assert_right, settled};

/// A generous deadline: the machine may be compiling beside the tests.
const DEADLINE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL in a window that the processor names.
    ProcessorKilled(&'static str),
    /// SIGSTOP until its partitions belong to another, then SIGCONT.
    ProcessorFrozen,
    /// SIGKILL while an insert is being written.
    ClickHouseKilled,
    /// SIGTERM and a new start.
    KafkaRestarted,
    /// SIGKILL and a new start.
    KafkaKilled,
    /// The network to ClickHouse, again and again.
    NetworkCut,
    /// The network to ClickHouse, some of the time.
    NetworkSlow,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub webhooks: u64,
    pub attempts: u64,
    /// From the last webhook until everything was in its table.
    pub settled: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { webhooks, attempts, settled } = self;
        write!(f, "{webhooks} webhooks, {attempts} attempts, 0 differences, settled in {:.1} s", settled.as_secs_f64())
    }
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::ProcessorKilled("after_consume"),
        Self::ProcessorKilled("after_jobs"),
        Self::ProcessorKilled("after_deliveries"),
        Self::ProcessorKilled("after_refresh"),
        Self::ProcessorKilled("before_commit"),
        Self::ProcessorKilled("after_commit"),
        Self::ProcessorFrozen,
        Self::ClickHouseKilled,
        Self::KafkaRestarted,
        Self::KafkaKilled,
        Self::NetworkCut,
        Self::NetworkSlow,
    ];

    /// Lets it happen under `traffic`; fails where a difference remains, or where the oracle misses one that is made.
    pub async fn strike(self, traffic: Traffic) -> Outcome {
        match self {
            Self::ProcessorKilled(place) => processor_killed(place, traffic).await,
            Self::ProcessorFrozen => processor_frozen(traffic).await,
            Self::ClickHouseKilled => clickhouse_killed(traffic).await,
            Self::KafkaRestarted => kafka_restarted(traffic, Signal::SIGTERM).await,
            Self::KafkaKilled => kafka_restarted(traffic, Signal::SIGKILL).await,
            Self::NetworkCut => network_cut(traffic).await,
            Self::NetworkSlow => network_slow(traffic).await,
        }
    }
}

async fn processor_killed(place: &str, traffic: Traffic) -> Outcome {
    let stage = Stage::shared("killed").await;
    let mut processor = stage.processor("one", &[("HOOKLINE_FAULT", &format!("{place}:3"))]);
    let sending = traffic.send(stage.url.clone());
    let status = processor.wait().await;
    assert!(!status.success(), "it was to be killed {place}, but ended by itself");
    processor = stage.processor("one", &[]);
    end(&stage, sending, &mut processor).await
}

async fn processor_frozen(traffic: Traffic) -> Outcome {
    let stage = Stage::shared("frozen").await;
    let mut one = stage.processor("one", &[]);
    let mut two = stage.processor("two", &[]);
    one.wait_ready().await;
    two.wait_ready().await;
    let sending = traffic.send(stage.url.clone());
    rows(&stage, traffic.jobs as u64 / 4).await;
    one.signal(Signal::SIGSTOP);
    let (tally, mut attempts) = sending.await.unwrap();
    // All that was sent is in: so the other one has every partition.
    settled(&stage, &mut two).await;
    let more = Traffic { seed: traffic.seed + 1, ..traffic }.send(stage.url.clone());
    one.signal(Signal::SIGCONT);
    let (more, more_attempts) = more.await.unwrap();
    attempts.extend(more_attempts);
    let settled = settled(&stage, &mut two).await;
    assert_right(&stage, &attempts).await;
    Outcome { webhooks: tally.webhooks + more.webhooks, attempts: tally.attempts + more.attempts, settled }
}

async fn clickhouse_killed(traffic: Traffic) -> Outcome {
    let servers = Servers::fresh("clickhouse_killed").await;
    let mut clickhouse = ClickHouseServer::start().await;
    let direct = clickhouse.config(&format!("http://{}", clickhouse.address()));
    let stage = Stage::on(servers.kafka.clone(), &direct).await;
    let proxy = Proxy::to(clickhouse.address()).await;
    let mut processor = stage.processor("one", &[("CLICKHOUSE_URL", &proxy.url())]);
    let sending = traffic.send(stage.url.clone());
    for _ in 0..3 {
        rows(&stage, 1).await;
        proxy.set(Network::Slow(8 << 10));
        eventually("an insert under way", DEADLINE, async || {
            let inserts = "system.processes WHERE query_kind = 'Insert' AND read_rows + read_bytes > 0";
            stage.count(inserts).await.filter(|count| *count > 0)
        })
        .await;
        clickhouse.kill().await;
        proxy.set(Network::Open);
        clickhouse.restart().await;
    }
    end(&stage, sending, &mut processor).await
}

async fn kafka_restarted(traffic: Traffic, signal: Signal) -> Outcome {
    let servers = Servers::fresh("kafka_restarted").await;
    let mut cluster = KafkaCluster::start(&[]).await;
    let stage = Stage::on(cluster.config("hookline"), &servers.clickhouse).await;
    let mut processor = stage.processor("one", &[]);
    let sending = traffic.send(stage.url.clone());
    rows(&stage, traffic.jobs as u64 / 4).await;
    if signal == Signal::SIGKILL {
        cluster.kill(1).await;
    } else {
        cluster.terminate(1).await;
    }
    cluster.restart(1).await;
    end(&stage, sending, &mut processor).await
}

async fn network_cut(traffic: Traffic) -> Outcome {
    let (stage, proxy, mut processor) = behind_a_proxy("network_cut").await;
    let sending = traffic.send(stage.url.clone());
    // In the midst of a request, and after the last byte of one whose answer then never comes.
    for bytes in [1, 10 << 10, 30 << 10, 50 << 10] {
        proxy.sees(bytes).await;
        proxy.set(Network::Cut);
        sleep(Duration::from_millis(700)).await;
        proxy.set(Network::Open);
    }
    end(&stage, sending, &mut processor).await
}

async fn network_slow(traffic: Traffic) -> Outcome {
    let (stage, proxy, mut processor) = behind_a_proxy("network_slow").await;
    let sending = traffic.send(stage.url.clone());
    proxy.sees(1).await;
    proxy.set(Network::Slow(64 << 10));
    sleep(Duration::from_secs(3)).await;
    proxy.set(Network::Stalled);
    sleep(Duration::from_secs(3)).await;
    proxy.set(Network::Open);
    end(&stage, sending, &mut processor).await
}

async fn behind_a_proxy(name: &str) -> (Stage, Proxy, Daemon) {
    let stage = Stage::shared(name).await;
    let target = Url::parse(&stage.clickhouse_url).unwrap().socket_addrs(|| None).unwrap()[0];
    let proxy = Proxy::to(target).await;
    let processor = stage.processor("one", &[("CLICKHOUSE_URL", &proxy.url())]);
    (stage, proxy, processor)
}

/// Waits for rows, so that a fault does not come before there is anything to spoil.
async fn rows(stage: &Stage, wanted: u64) {
    eventually("rows", DEADLINE, async || stage.count("deliveries").await.filter(|rows| *rows >= wanted)).await;
}

type Sending = tokio::task::JoinHandle<(hookline_simulator::report::Tally, Vec<hookline_simulator::ledger::Attempt>)>;

async fn end(stage: &Stage, sending: Sending, processor: &mut Daemon) -> Outcome {
    let (tally, attempts) = sending.await.unwrap();
    let settled = settled(stage, processor).await;
    assert_right(stage, &attempts).await;
    Outcome { webhooks: tally.webhooks, attempts: tally.attempts, settled }
}
