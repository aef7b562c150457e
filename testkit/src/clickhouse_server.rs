//! A ClickHouse of a test's own, which the test may kill: `deploy/local/clickhouse.py` as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use hookline_service::clickhouse::ClickHouseConfig;
use hookline_service::config::Secret;
use tempfile::TempDir;

use super::environment::local_server;
use super::eventually;
use super::small_disk::{Filler, SmallDisk, empty, fill};

const DEADLINE: Duration = Duration::from_secs(60);
const USER: &str = "hookline";
const DATABASE: &str = "hookline";
const READER: &str = "reader";
const PASSWORD: &str = "test";
/// Where `clickhouse.py` keeps the data, in the folder that it is given.
const DATA: &str = "data";

/// A server with an empty database; killed when dropped.
#[derive(Debug)]
pub struct ClickHouseServer {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl ClickHouseServer {
    pub async fn start() -> Self {
        Self::start_on(None).await
    }

    /// Starts one that has little room for its data, all of which goes with the process.
    pub async fn start_on_small_disk(disk: SmallDisk) -> Self {
        Self::start_on(Some(disk)).await
    }

    async fn start_on(disk: Option<SmallDisk>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = spawn(&folder, 0, disk);
        let port = listening(&folder, &mut process).await;
        Self { process, port, folder }
    }

    /// Fills the small disk that it was started on.
    pub fn fill_disk(&self, with: Filler) {
        fill(&self.data(), with);
    }

    /// Empties the small disk of what filled it.
    pub fn empty_disk(&self) {
        empty(&self.data());
    }

    /// The folder of its data as the process sees it, on the disk that only the process has.
    fn data(&self) -> PathBuf {
        let folder = self.folder.path().join(DATA);
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(folder.strip_prefix("/").unwrap())
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
        self.process = spawn(&self.folder, self.port, None);
        assert_eq!(listening(&self.folder, &mut self.process).await, self.port);
    }
}

fn spawn(folder: &TempDir, port: u16, disk: Option<SmallDisk>) -> Child {
    // A port file of an earlier process would say that this one listens already.
    let _ = std::fs::remove_file(folder.path().join("http_port"));
    let mut command = local_server("clickhouse.py");
    command.arg(folder.path()).args(["--until-eof", "--port", &port.to_string()]);
    if let Some(disk) = disk {
        command = disk.mounted_at(&folder.path().join(DATA), &command);
    }
    command
        .stdin(Stdio::piped())
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
