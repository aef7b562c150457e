//! A Kafka cluster of a test's own, to be broken: `deploy/local/kafka.py` as a child.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tempfile::TempDir;

use super::eventually;
use hookline_service::kafka::KafkaConfig;

/// Three JVMs on two busy cores take their time.
const DEADLINE: Duration = Duration::from_secs(120);

/// Running brokers; all stopped when dropped.
#[derive(Debug)]
pub struct KafkaCluster {
    process: Child,
    folder: TempDir,
}

/// What `kafka.json` says of the cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Layout {
    /// Of the plain listener.
    pub bootstrap_servers: String,
    /// What the brokers call themselves.
    pub cluster_id: String,
    /// The brokers.
    pub nodes: Vec<Node>,
    /// The listener with TLS and passwords, if the cluster was started with `--sasl-ssl`.
    pub sasl: Option<Sasl>,
}

/// A broker.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Node {
    /// From 1.
    pub id: u32,
    /// Of the JVM.
    pub pid: i32,
    /// Of the plain listener.
    pub port: u16,
}

/// The secure listener.
#[derive(Clone, Debug, Deserialize)]
pub struct Sasl {
    /// Of the secure listener.
    pub bootstrap_servers: String,
    /// The certificate authority.
    pub ca: PathBuf,
    /// Who may log in with PLAIN.
    pub plain: Login,
    /// Who may log in with SCRAM-SHA-512.
    pub scram: Login,
}

/// A user of the secure listener.
#[derive(Clone, Debug, Deserialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl KafkaCluster {
    /// Starts brokers; `options` are those of `kafka.py`, such as `--nodes 3` or `--sasl-ssl`.
    pub async fn start(options: &[&str]) -> Self {
        let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"));
        let folder = tempfile::tempdir().expect("a folder for the brokers");
        let mut process = Command::new(variable("HOOKLINE_PYTHON"))
            .arg(PathBuf::from(variable("HOOKLINE_DEPLOY_LOCAL")).join("kafka.py"))
            .arg(folder.path())
            .args(["--until-eof"])
            .args(options)
            .stdin(Stdio::piped())
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

    /// What the cluster is made of now.
    pub fn layout(&self) -> Layout {
        let text = std::fs::read(self.folder.path().join("kafka.json")).expect("kafka.json");
        serde_json::from_slice(&text).expect("kafka.json as kafka.py writes it")
    }

    /// The plain listener, with a topic prefix.
    pub fn config(&self, topic_prefix: &str) -> KafkaConfig {
        KafkaConfig {
            bootstrap_servers: self.layout().bootstrap_servers,
            topic_prefix: topic_prefix.into(),
            ..KafkaConfig::default()
        }
    }

    /// Sends a signal to a broker; SIGKILL kills, SIGSTOP freezes, SIGCONT wakes it.
    pub fn signal(&self, node: u32, signal: Signal) {
        let pid = Pid::from_raw(self.node(node).pid);
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to node {node}: {error}"));
    }

    /// Kills a broker, and waits until it is gone.
    pub async fn kill(&self, node: u32) {
        let pid = Pid::from_raw(self.node(node).pid);
        self.signal(node, Signal::SIGKILL);
        eventually("the end of the broker", DEADLINE, async || kill(pid, None).is_err().then_some(())).await;
    }

    /// Stops a broker in good order, and waits until it is gone.
    pub async fn terminate(&self, node: u32) {
        let pid = Pid::from_raw(self.node(node).pid);
        self.signal(node, Signal::SIGTERM);
        eventually("the end of the broker", DEADLINE, async || kill(pid, None).is_err().then_some(())).await;
    }

    /// Starts a broker again that was killed or stopped, and waits until it is ready.
    pub async fn restart(&mut self, node: u32) {
        let old = self.node(node).pid;
        let stdin = self.process.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "start {node}").expect("kafka.py to listen");
        eventually("the broker", DEADLINE, async || (self.node(node).pid != old).then_some(())).await;
    }

    /// Where a broker has its `server.properties` and, in `data`, its partitions: for tests that change them while it is
    /// stopped.
    pub fn files(&self, node: u32) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    fn node(&self, id: u32) -> Node {
        let nodes = self.layout().nodes;
        nodes.into_iter().find(|node| node.id == id).unwrap_or_else(|| panic!("the cluster has no node {id}"))
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        // Its end of stdin is what tells kafka.py to stop the brokers.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
