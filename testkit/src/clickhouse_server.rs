//! A ClickHouse of a test's own, which the test may kill: `deploy/local/clickhouse.py` as a child process.

use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use tempfile::TempDir;

use super::environment::local_server;
use super::eventually;

const DEADLINE: Duration = Duration::from_secs(60);
const USER: &str = "hookline";
const DATABASE: &str = "hookline";
const READER: &str = "reader";
const PASSWORD: &str = "test";

/// A server with an empty database; killed when dropped.
#[derive(Debug)]
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

    /// The id of the process, for whoever limits what it may use.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn config(&self) -> ClickHouseConfig {
        ClickHouseConfig {
            url: format!("http://{}", self.address()),
            database: DATABASE.into(),
            user: USER.into(),
            password: Some(Secret::new(PASSWORD)),
            ..ClickHouseConfig::default()
        }
    }

    /// The user that may read, and nothing else.
    pub fn reader(&self) -> ClickHouseConfig {
        ClickHouseConfig { user: READER.into(), ..self.config() }
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again after [`ClickHouseServer::kill`], with the same data and on the same port.
    pub async fn restart(&mut self) {
        self.process = spawn(&self.folder, self.port);
        assert_eq!(listening(&self.folder, &mut self.process).await, self.port);
    }
}

fn spawn(folder: &TempDir, port: u16) -> Child {
    // A port file of an earlier process would say that this one listens already.
    let _ = std::fs::remove_file(folder.path().join("http_port"));
    local_server("clickhouse.py")
        .arg(folder.path())
        .args(["--until-eof", "--port", &port.to_string()])
        .envs([("CLICKHOUSE_USER", USER), ("CLICKHOUSE_DATABASE", DATABASE), ("CLICKHOUSE_PASSWORD", PASSWORD)])
        .envs([("CLICKHOUSE_READER_USER", READER), ("CLICKHOUSE_READER_PASSWORD", PASSWORD)])
        .spawn()
        .expect("to run clickhouse.py")
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
        // Its data is thrown away, so nothing is lost by not ending it in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
