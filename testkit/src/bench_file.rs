//! `.local/bench.json`, where each bench keeps the figures of its last whole run beside those of the others.

use std::path::Path;
use std::{fs, io};

use serde_json::{Map, Value};

/// Writes the figures of one bench, and the machine that they were taken on.
pub fn keep_figures(bench: &str, figures: Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/bench.json");
    let mut kept: Map<String, Value> = match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{} is broken: {error}", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    kept.insert(bench.to_owned(), figures);
    kept.insert("machine".into(), machine().into());
    let text = format!("{:#}\n", Value::Object(kept));
    fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// `2 × Intel(R) Xeon(R) Processor`: figures of another machine are others.
fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap();
    let models: Vec<_> = processors
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == "model name")
        .map(|(_, model)| model.trim())
        .collect();
    format!("{} × {}", models.len(), models.first().unwrap_or(&"unknown processor"))
}

/// To three decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
