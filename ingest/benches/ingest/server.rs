//! Starts the servers that are measured, and reads from `/proc` what they use.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hookline_testkit::{Daemon, Process, Servers};

use crate::webhooks::{SECRET, SOURCE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The least that any receiver does, see [`crate::floor`].
    Floor,
    Ingest,
}

/// The broker that stores what the server acknowledges.
pub struct Broker(Process);

impl Broker {
    pub fn of(servers: &Servers) -> anyhow::Result<Self> {
        let address = servers.kafka.bootstrap_servers.split(',').next().unwrap_or_default();
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        Ok(Self(Process::listening_on(port.context("KAFKA_BOOTSTRAP_SERVERS names no port")?)))
    }

    /// User and system time of all its threads so far, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        self.0.cpu()
    }
}

/// A running server; killed when dropped.
pub struct Server(Daemon);

impl Server {
    /// This executable, started again as the floor.
    pub async fn floor() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("a path that is not UTF-8")?;
        Ok(Self(Daemon::start(program, &["--floor-server"], &[])))
    }

    /// `hookline-ingest`, ready to receive.
    pub async fn ingest(servers: &Servers) -> Self {
        let own = [
            ("HOOKLINE_INGEST__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_INGEST__ADMIN__LISTEN", "127.0.0.1:0"),
            ("HOOKLINE_SOURCE", SOURCE),
            ("HOOKLINE_WEBHOOK_SECRET", SECRET),
        ];
        let mut environment = servers.environment();
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut daemon = Daemon::start("hookline-ingest", &[], &environment);
        daemon.wait_ready().await;
        Self(daemon)
    }

    pub async fn address(&mut self) -> SocketAddr {
        self.0.address("server").await
    }

    /// User and system time of all its threads so far, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        Process(self.0.pid()).cpu()
    }

    /// The most memory that was resident so far.
    pub fn resident_peak_mib(&self) -> f64 {
        Process(self.0.pid()).memory("VmHWM") as f64 / 1024.0 / 1024.0
    }
}
