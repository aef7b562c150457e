//! A Prometheus of a test's own, which scrapes the listeners that the test names.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;

const DEADLINE: Duration = Duration::from_secs(60);

/// A server that scrapes every second; killed when dropped.
#[derive(Debug)]
pub struct PrometheusServer {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl PrometheusServer {
    /// Scrapes the pages of metrics at `addresses`, such as `127.0.0.1:9081`.
    pub async fn scraping(addresses: &[String]) -> Self {
        let program = std::env::var("HOOKLINE_PROMETHEUS").unwrap_or_else(|_| {
            panic!(
                "there is no Prometheus to test with: `apt-get install prometheus` brings one, and `make test` finds it"
            )
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: hookline\n  static_configs:\n  - targets: {addresses:?}\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut process = Command::new(&program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=logfmt"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
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
}

impl Drop for PrometheusServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
