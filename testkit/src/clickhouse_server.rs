//! A ClickHouse of a test's own, to be killed: `deploy/local/clickhouse.py` as a child.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually;
use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "test";

pub struct ClickHouseServer {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl ClickHouseServer {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = spawn(&folder, 0);
        let port = listening(&folder, &mut process).await;
        Self { process, port, folder }
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// How to reach it, or a proxy before it.
    pub fn config(&self, url: &str) -> ClickHouseConfig {
        ClickHouseConfig {
            url: url.into(),
            database: "hookline".into(),
            user: "hookline".into(),
            password: Some(Secret::new(PASSWORD)),
            ..ClickHouseConfig::default()
        }
    }

    /// SIGKILL, and a start on the same data and port.
    pub async fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.process = spawn(&self.folder, self.port);
        assert_eq!(listening(&self.folder, &mut self.process).await, self.port);
    }
}

fn spawn(folder: &TempDir, port: u16) -> Child {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"));
    // Of a run before: what it says is no longer true.
    let _ = std::fs::remove_file(folder.path().join("http_port"));
    Command::new(variable("HOOKLINE_PYTHON"))
        .arg(PathBuf::from(variable("HOOKLINE_DEPLOY_LOCAL")).join("clickhouse.py"))
        .arg(folder.path())
        .args(["--until-eof", "--port", &port.to_string()])
        .envs([("CLICKHOUSE_USER", "hookline"), ("CLICKHOUSE_DATABASE", "hookline"), ("CLICKHOUSE_PASSWORD", PASSWORD)])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn listening(folder: &TempDir, process: &mut Child) -> u16 {
    eventually("ClickHouse to listen", DEADLINE, async || {
        assert!(process.try_wait().unwrap().is_none(), "clickhouse.py ended, see above");
        std::fs::read_to_string(folder.path().join("http_port")).ok()?.trim().parse().ok()
    })
    .await
}

impl Drop for ClickHouseServer {
    fn drop(&mut self) {
        // Its data is thrown away: there is nothing to end in good order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
