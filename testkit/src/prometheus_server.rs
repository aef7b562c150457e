//! A Prometheus of a test's own, which scrapes the listeners that the test names.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::promtool::promtool;

const DEADLINE: Duration = Duration::from_secs(60);

/// A server that scrapes every second; killed when dropped.
#[derive(Debug)]
pub struct PrometheusServer {
    process: Child,
    url: String,
    _folder: TempDir,
}

/// What a Prometheus knows.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Names of jobs, each with the address of a page of metrics, such as `127.0.0.1:9081`.
    pub targets: Vec<(String, String)>,
    /// Files of rules, which are evaluated every second.
    pub rules: Vec<PathBuf>,
    /// What it has scraped in the past, in the text format of OpenMetrics.
    pub history: Option<String>,
}

/// The program that tests start.
pub(super) fn program() -> PathBuf {
    let program = std::env::var("HOOKLINE_PROMETHEUS").unwrap_or_else(|_| {
        panic!("there is no Prometheus to test with: `apt-get install prometheus` brings one, and `make test` finds it")
    });
    program.into()
}

impl PrometheusServer {
    /// Scrapes the pages of metrics at `addresses`.
    pub async fn scraping(addresses: &[String]) -> Self {
        let targets = addresses.iter().map(|address| ("hookline".to_owned(), address.clone())).collect();
        Self::start(&Setup { targets, ..Setup::default() }).await
    }

    pub async fn start(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("prometheus.yml"), folder.path().join("data"));
        std::fs::write(&file, setup.config()).unwrap();
        if let Some(history) = &setup.history {
            backfill(folder.path(), &data, history);
        }
        let program = program();
        let mut process = Command::new(&program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=logfmt"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        // It names the port that it took in this line alone.
        let listening =
            lines.find(|line| line.contains("msg=\"Listening on\"")).expect("Prometheus ended before it listened");
        let address = listening.split("address=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let url = format!("http://{address}");
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { process, url, _folder: folder };
        eventually("Prometheus to be ready", DEADLINE, async || {
            let answer = reqwest::get(format!("{}/-/ready", server.url)).await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
        server
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a question has as its answer now: the elements of an instant vector, or of a scalar none. Panics with what Prometheus
    /// says where it is no question.
    pub async fn query(&self, question: &str) -> Vec<Value> {
        let escaped: String = question.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={escaped}")).await;
        assert_eq!(answer["status"], "success", "{question}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The groups of rules, as it has read them.
    pub async fn rule_groups(&self) -> Vec<Value> {
        self.get("/api/v1/rules").await["data"]["groups"].as_array().cloned().unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Value {
        let text = reqwest::get(format!("{}{path}", self.url)).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }
}

impl Setup {
    fn config(&self) -> String {
        let mut text = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n".to_owned();
        writeln!(text, "rule_files: {:?}", self.rules).unwrap();
        text.push_str("scrape_configs:\n");
        let mut jobs: Vec<_> = self.targets.iter().map(|(job, _)| job).collect();
        jobs.dedup();
        for job in jobs {
            let addresses: Vec<_> =
                self.targets.iter().filter(|(of, _)| of == job).map(|(_, address)| address).collect();
            writeln!(text, "- job_name: {job}\n  static_configs: [{{targets: {addresses:?}}}]").unwrap();
        }
        text
    }
}

/// Writes the blocks of what was scraped before the server started.
fn backfill(folder: &Path, data: &Path, history: &str) {
    std::fs::write(folder.join("history"), history).unwrap();
    let data = data.to_str().expect("a path in UTF-8");
    let made = promtool(folder, &["tsdb", "create-blocks-from", "openmetrics", "history", data], "");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Drop for PrometheusServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
