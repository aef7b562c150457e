//! One of our binaries as a child process: started, asked for its metrics, stopped, killed, frozen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::eventually;
use super::page::Page;

/// Generous, because the machine may be compiling beside the tests.
const DEADLINE: Duration = Duration::from_secs(60);

/// How much of its log is printed where a test fails.
const LAST_LINES: usize = 30;

/// What becomes of the pipe that a daemon logs into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPipe {
    /// Every line is read.
    Read,
    /// After this many lines that say where the daemon listens, the reading end is closed.
    ClosedAfterListeners(usize),
    /// After this many lines that say where the daemon listens, nothing is read any more, so that the pipe becomes full.
    UnreadAfterListeners(usize),
}

/// A process that is killed when dropped. Where the test is failing then, the end of its log is printed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// The path of one of the workspace's binaries, in the target folder of the running test.
    pub fn binary(name: &str) -> PathBuf {
        let test = std::env::current_exe().expect("the path of the test");
        let target = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
        let path = target.join(name);
        assert!(path.is_file(), "{} is missing: `cargo build --workspace --bins` makes it", path.display());
        path
    }

    /// Starts `binary` with `environment` added to our own; what it writes to stderr is kept, see [`Daemon::log`].
    pub fn start(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> Self {
        Self::start_logging_into(LogPipe::Read, binary, arguments, environment)
    }

    /// The same with a log that is not read to its end.
    pub fn start_logging_into(
        pipe: LogPipe,
        binary: &str,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let mut child = Command::new(Self::binary(binary))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{binary}: {error}"));
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            let (mut listeners, mut line) = (0, String::new());
            while matches!(stderr.read_line(&mut line), Ok(1..)) {
                let line = std::mem::take(&mut line);
                listeners += usize::from(line.contains("\"listening\""));
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_end().to_owned());
                match pipe {
                    LogPipe::ClosedAfterListeners(enough) if listeners >= enough => return,
                    LogPipe::UnreadAfterListeners(enough) if listeners >= enough => {
                        // The pipe stays open until the test ends.
                        std::mem::forget(stderr);
                        return;
                    }
                    LogPipe::Read | LogPipe::ClosedAfterListeners(_) | LogPipe::UnreadAfterListeners(_) => {}
                }
            }
        });
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address of `listener`, such as `admin`; waits for the line in the log that says so.
    pub async fn address(&mut self, listener: &str) -> SocketAddr {
        self.until("a line in the log that says where it listens", async |daemon: &Self| {
            daemon.log().iter().find_map(|line| {
                let line: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).ok()?;
                let says = line.get("message")? == "listening" && line.get("listener")? == listener;
                says.then(|| line.get("address")?.as_str()?.parse().ok()).flatten()
            })
        })
        .await
    }

    /// Waits until `/health/ready` answers 200.
    pub async fn wait_ready(&mut self) {
        let url = format!("http://{}/health/ready", self.address("admin").await);
        self.until("to be ready", async |_: &Self| {
            reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }

    /// The status and the text of `/health/ready`.
    pub async fn health(&mut self) -> (u16, String) {
        let url = format!("http://{}/health/ready", self.address("admin").await);
        let answer = reqwest::get(&url).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// Its page of metrics.
    pub async fn metrics(&mut self) -> Page {
        let url = format!("http://{}/metrics", self.address("admin").await);
        Page(reqwest::get(&url).await.expect("an answer").text().await.expect("a page"))
    }

    /// The labels of each series of a metric, as its page writes them.
    pub async fn metric_labels(&mut self, name: &str) -> Vec<String> {
        self.metrics().await.labels(name)
    }

    /// The sum of a metric over those of its series whose line contains every one of `labels`, such as `topic="t"`. Fails
    /// where there is no such metric or no such series: a zero is one that the page says.
    pub async fn metric(&mut self, name: &str, labels: &[&str]) -> f64 {
        self.metrics().await.read(name, labels)
    }

    /// The same of series that come and go, such as those of partitions: for whoever waits for a value, and so fails at a
    /// deadline where the name is wrong.
    pub async fn metric_if_there(&mut self, name: &str, labels: &[&str]) -> Option<f64> {
        self.metrics().await.find(name, labels)
    }

    /// The same of a family whose labels are words of webhooks, see [`OF_DATA`](super::OF_DATA): zero before the first.
    pub async fn metric_or_zero(&mut self, name: &str, labels: &[&str]) -> f64 {
        self.metrics().await.read_or_zero(name, labels)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("{signal}: {error}"));
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("to kill our own child");
        self.child.wait().expect("to wait for our own child");
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        eventually("the end of the process", DEADLINE, async || self.child.try_wait().expect("to ask our own child"))
            .await
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    async fn until<T>(&mut self, what: &str, mut condition: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = condition(self).await {
                return value;
            }
            if let Some(status) = self.child.try_wait().expect("to ask our own child") {
                panic!("waiting for {what}, but the process ended ({status}):\n{}", self.log().join("\n"));
            }
            assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}; its log:\n{}", self.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("the last lines that process {} logged:", self.child.id());
            log.iter().skip(log.len().saturating_sub(LAST_LINES)).for_each(|line| eprintln!("  {line}"));
        }
    }
}
