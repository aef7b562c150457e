//! A Kafka cluster of a test's own, whose brokers the test may kill: `deploy/local/kafka.py` as a child process.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use hookline_service::kafka::KafkaConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tempfile::TempDir;

use super::environment::local_server;
use super::eventually;

/// Three JVMs that start on two busy cores take most of it.
const DEADLINE: Duration = Duration::from_secs(120);

/// A cluster whose brokers are stopped when it is dropped.
#[derive(Debug)]
pub struct KafkaCluster {
    process: Child,
    folder: TempDir,
}

/// What `kafka.json`, which `kafka.py` writes, says of the cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Layout {
    /// Those of the listener without TLS and passwords.
    pub bootstrap_servers: String,
    pub cluster_id: String,
    pub nodes: Vec<Node>,
    /// The listener with TLS and passwords, if the cluster was started with `--sasl-ssl`.
    pub sasl: Option<Sasl>,
}

/// A broker, which is also a controller.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Node {
    pub id: u32,
    pub pid: i32,
    /// The port of the listener without TLS and passwords.
    pub port: u16,
}

/// The listener with TLS and passwords.
#[derive(Clone, Debug, Deserialize)]
pub struct Sasl {
    pub bootstrap_servers: String,
    /// The certificate of the authority that signed the brokers' own, as a PEM file.
    pub ca: PathBuf,
    /// The user that the mechanism PLAIN lets in.
    pub plain: Login,
    /// The user that the mechanism SCRAM-SHA-512 lets in.
    pub scram: Login,
}

/// A user of the listener with passwords.
#[derive(Clone, Debug, Deserialize)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl KafkaCluster {
    /// Starts brokers; `options` are those of `kafka.py`, such as `--nodes 3` or `--sasl-ssl`.
    pub async fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the brokers");
        let mut process = local_server("kafka.py")
            .arg(folder.path())
            .arg("--until-eof")
            .args(options)
            .spawn()
            .expect("to run kafka.py");
        eventually("the brokers", DEADLINE, async || {
            let ended = process.try_wait().expect("to ask our own child");
            assert!(ended.is_none(), "kafka.py ended, see above");
            folder.path().join("kafka.json").exists().then_some(())
        })
        .await;
        Self { process, folder }
    }

    /// The brokers as they run now; a broker that was started again has another pid.
    pub fn layout(&self) -> Layout {
        let text = std::fs::read(self.folder.path().join("kafka.json")).expect("kafka.json");
        serde_json::from_slice(&text).expect("kafka.json as kafka.py writes it")
    }

    /// Connects to the listener without TLS and passwords.
    pub fn config(&self, topic_prefix: &str) -> KafkaConfig {
        KafkaConfig {
            bootstrap_servers: self.layout().bootstrap_servers,
            topic_prefix: topic_prefix.into(),
            ..KafkaConfig::default()
        }
    }

    /// Sends a signal to a broker: SIGSTOP freezes it, SIGCONT lets it go on. A frozen broker answers nothing once this returns.
    pub fn signal(&self, node: u32, signal: Signal) {
        let pid = Pid::from_raw(self.node(node).pid);
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to node {node}: {error}"));
        if signal == Signal::SIGSTOP {
            // The signal is only sent by then: threads that run on another core go on until they notice it.
            let began = Instant::now();
            while !is_stopped(pid) {
                assert!(began.elapsed() < DEADLINE, "node {node} was told to stop and did not");
                std::thread::yield_now();
            }
        }
    }

    /// Sends SIGKILL to a broker, and waits until its process is gone.
    pub async fn kill(&self, node: u32) {
        self.end(node, Signal::SIGKILL).await;
    }

    /// Sends SIGTERM to a broker, which hands over its partitions, and waits until its process is gone.
    pub async fn terminate(&self, node: u32) {
        self.end(node, Signal::SIGTERM).await;
    }

    async fn end(&self, node: u32, signal: Signal) {
        let pid = Pid::from_raw(self.node(node).pid);
        self.signal(node, signal);
        eventually("the end of the broker", DEADLINE, async || kill(pid, None).is_err().then_some(())).await;
    }

    /// Starts a broker again that was killed or stopped, and waits until it is ready.
    pub async fn restart(&mut self, node: u32) {
        let old = self.node(node).pid;
        let stdin = self.process.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "start {node}").expect("kafka.py to listen");
        eventually("the broker", DEADLINE, async || (self.node(node).pid != old).then_some(())).await;
    }

    /// The folder of a broker: its `server.properties` and, in `data`, its partitions. A test may change them while the broker
    /// is stopped.
    pub fn files(&self, node: u32) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    fn node(&self, id: u32) -> Node {
        let nodes = self.layout().nodes;
        nodes.into_iter().find(|node| node.id == id).unwrap_or_else(|| panic!("the cluster has no node {id}"))
    }
}

/// Whether no thread of a process runs any more.
fn is_stopped(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process that runs");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which stands in parentheses and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
    })
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        // kafka.py stops the brokers at the end of its stdin.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
