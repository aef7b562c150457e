//! Everything that a fault can strike: a processor, its servers, and the network between it and ClickHouse.

use std::time::Duration;

use hookline_testkit::{Daemon, KafkaCluster, eventually};
use reqwest::Url;

use crate::stage::Stage;
use hookline_testkit::ClickHouseServer;
use hookline_testkit::NetworkProxy;

/// A generous deadline: the machine may be compiling beside the tests.
pub const DEADLINE: Duration = Duration::from_secs(90);

pub struct Scene {
    pub processor: Daemon,
    pub stage: Stage,
    pub proxy: NetworkProxy,
    /// Servers of its own, where it has them.
    own: Option<(KafkaCluster, ClickHouseServer)>,
}

impl Scene {
    /// On the servers that the whole test run shares.
    pub async fn shared(name: &str) -> Self {
        Self::on(Stage::shared(name).await, None).await
    }

    /// On servers of its own, which may be broken.
    pub async fn own() -> Self {
        let (kafka, clickhouse) = tokio::join!(KafkaCluster::start(&[]), ClickHouseServer::start());
        let direct = clickhouse.config();
        Self::on(Stage::on(kafka.config("hookline"), &direct).await, Some((kafka, clickhouse))).await
    }

    async fn on(stage: Stage, own: Option<(KafkaCluster, ClickHouseServer)>) -> Self {
        let clickhouse = Url::parse(&stage.clickhouse_url).unwrap().socket_addrs(|| None).unwrap()[0];
        let proxy = NetworkProxy::to(clickhouse).await;
        let processor = member(&stage, &proxy, "one", &[]);
        Self { processor, stage, proxy, own }
    }

    /// Another processor of the group.
    pub fn member(&self, instance: &str) -> Daemon {
        member(&self.stage, &self.proxy, instance, &[])
    }

    /// Starts the processor again, which has ended.
    pub fn start_processor(&mut self, settings: &[(&str, &str)]) {
        self.processor = member(&self.stage, &self.proxy, "one", settings);
    }

    pub fn kafka(&mut self) -> &mut KafkaCluster {
        &mut self.own.as_mut().expect("a Kafka of its own").0
    }

    pub fn clickhouse(&mut self) -> &mut ClickHouseServer {
        &mut self.own.as_mut().expect("a ClickHouse of its own").1
    }

    /// Waits for rows, so that a fault does not come before there is anything to spoil.
    pub async fn rows(&self, wanted: u64) {
        let count = async || self.stage.count("deliveries").await.filter(|rows| *rows >= wanted);
        eventually("rows", DEADLINE, count).await;
    }
}

fn member(stage: &Stage, proxy: &NetworkProxy, instance: &str, settings: &[(&str, &str)]) -> Daemon {
    let url = proxy.url();
    let settings = [&[("CLICKHOUSE_URL", &*url)], settings].concat();
    stage.processor(instance, &settings)
}
