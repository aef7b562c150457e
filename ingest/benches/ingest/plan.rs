//! The loads, and how each of them is measured.

use std::fmt;

use anyhow::Context as _;
use hookline_schemas::topics::Topics;

use crate::report::Figures;
use crate::server::{Broker, Server};
use crate::webhooks::{Events, Webhooks};
use crate::{Args, connection, load};

/// Connections of an open loop: enough that one is always free.
const OPEN_CONNECTIONS: usize = 256;
const OPEN_SECONDS: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// A closed loop: so many connections send as fast as they are answered.
    Connections(usize),
    /// An open loop: so many webhooks a second arrive, whether those before them are answered or not.
    Rate(u32),
}

impl Load {
    /// The name in bench.json.
    pub fn key(self) -> String {
        match self {
            Self::Connections(connections) => format!("c{connections}"),
            Self::Rate(rate) => format!("r{rate}"),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(connections) => write!(f, "{connections} connections"),
            Self::Rate(rate) => write!(f, "{rate} a second"),
        }
    }
}

pub struct Plan {
    events: Events,
    /// What a full run is divided by.
    share: usize,
    pub repetitions: usize,
    /// Whether the figures are written to bench.json, which compares runs of the same plan alone.
    pub save: bool,
}

impl Plan {
    pub fn new(args: &Args) -> Self {
        let (share, repetitions) = if args.quick { (5, 1) } else { (1, 3) };
        let as_shipped = args.events == Events::Mixed && args.partitions == Topics::DEFAULT_PARTITIONS;
        Self { events: args.events, share, repetitions, save: as_shipped && !args.quick && !args.floor_only }
    }

    fn warm_up(&self, load: Load) -> usize {
        match load {
            Load::Connections(_) => 20_000 / self.share,
            Load::Rate(rate) => 2 * rate as usize,
        }
    }

    /// The webhooks whose cost is measured.
    fn measured(&self, load: Load) -> usize {
        match load {
            Load::Connections(_) => 100_000 / self.share,
            Load::Rate(rate) => OPEN_SECONDS * rate as usize / self.share,
        }
    }

    /// Those at half of a closed loop's speed.
    fn at_half_load(&self, load: Load) -> usize {
        match load {
            Load::Connections(_) => self.measured(load) / 2,
            Load::Rate(_) => 0,
        }
    }

    /// All that are sent in a repetition.
    pub fn webhooks(&self, load: Load) -> usize {
        self.warm_up(load) + self.measured(load) + self.at_half_load(load)
    }

    /// Measures CPU time, memory and latencies of a load, and then the latencies at half of it where it is a closed loop.
    pub async fn measure(&self, mut server: Server, load: Load, broker: Option<&Broker>) -> anyhow::Result<Figures> {
        let address = server.address().await;
        let (connections, pace) = match load {
            Load::Connections(connections) => (connections, load::Pace::Closed),
            Load::Rate(rate) => (OPEN_CONNECTIONS, load::Pace::Open { per_second: rate.into() }),
        };
        let webhooks = Webhooks::signed(self.events, self.warm_up(load));
        let mut connections = load::run(connection::open(address, connections).await?, webhooks, pace)
            .await
            .context("while warming up")?
            .connections;
        let count = self.measured(load);
        let webhooks = Webhooks::signed(self.events, count);
        let (before, broker_before) = (server.cpu_time(), broker.map(Broker::cpu_time));
        let full = load::run(connections, webhooks, pace).await.context("at full load")?;
        let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        let cpu_us = each(server.cpu_time() - before);
        let broker_cpu_us = broker.zip(broker_before).map(|(broker, before)| each(broker.cpu_time() - before));
        let resident_peak_mib = server.resident_peak_mib();
        connections = full.connections;
        let mut half = None;
        if self.at_half_load(load) > 0 {
            let webhooks = Webhooks::signed(self.events, self.at_half_load(load));
            let pace = load::Pace::Open { per_second: full.per_second / 2.0 };
            half = Some(load::run(connections, webhooks, pace).await.context("at half load")?.latencies);
        }
        let ms = |latencies: &load::Latencies| (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99));
        Ok(Figures {
            cpu_us,
            broker_cpu_us,
            per_second: full.per_second,
            full_ms: ms(&full.latencies),
            half_ms: half.as_ref().map(ms),
            resident_peak_mib,
        })
    }
}
