//! What Prometheus makes of our metrics and our rules, told by a real one and its own tool.

mod dashboards;
mod expressions;
mod pages;
mod question;
mod rules;
mod runbooks;

use std::path::PathBuf;

use hookline_simulator::pipeline::Pipeline;
use hookline_testkit::{Daemon, Page, with};

/// A folder of the repository.
fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path).canonicalize().unwrap()
}

/// The files of a folder with this extension, in order.
fn files(path: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(path)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|of| of == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{path} has no file of {extension}");
    files
}

/// Every daemon, with the address of its page of metrics.
struct Services {
    pipeline: Pipeline,
    processor: Daemon,
    serve: Daemon,
    targets: Vec<(String, String)>,
}

impl Services {
    async fn start(name: &str) -> Self {
        let mut pipeline = Pipeline::on_shared_servers(name).await;
        let mut processor = pipeline.processor("one", &[]);
        processor.wait_ready().await;
        let listen = [("HOOKLINE_ANALYTICS__SERVE__LISTEN", "127.0.0.1:0")];
        let mut serve = Daemon::start("hookline-analytics", &["serve"], &with(&pipeline.environment, &listen));
        let targets = [
            ("hookline-ingest", pipeline.ingest.address("admin").await),
            ("hookline-processor", processor.address("admin").await),
            ("hookline-analytics", serve.address("serve").await),
        ];
        let targets = targets.map(|(job, address)| (job.to_owned(), address.to_string())).into();
        Self { pipeline, processor, serve, targets }
    }

    /// The page of each daemon, by its job.
    async fn pages(&self) -> Vec<(String, Page)> {
        let mut pages = Vec::new();
        for (job, address) in &self.targets {
            let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
            pages.push((job.clone(), Page(answer.text().await.unwrap())));
        }
        pages
    }
}
