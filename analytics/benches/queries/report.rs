//! The table on the terminal, and the figures in `.local/bench.json`.

use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table};
use hookline_testkit::keep_figures;
use serde_json::{Map, json};

/// The longest p95 of each question at ten million jobs on two idle cores, in milliseconds.
const TARGETS: [(&str, f64); 6] = [
    ("overview_1d", 150.0),
    ("overview_7d", 200.0),
    ("overview_30d", 300.0),
    ("counts_30d", 60.0),
    ("facts_24h", 300.0),
    ("job_by_id", 50.0),
];
/// How much more a refresh may take than one of minutes alone.
const REFRESH_TARGET: f64 = 1.5;

/// How long a question took, or a refresh.
pub struct Figure {
    key: &'static str,
    what: String,
    median_ms: f64,
    pub p95_ms: f64,
}

impl Figure {
    pub fn of(key: &'static str, what: &str, mut times: Vec<Duration>) -> anyhow::Result<Self> {
        times.sort();
        // The upper rank: of thirty times the second longest.
        let at = |share: usize| {
            let rank = (times.len() * share).div_ceil(100).max(1) - 1;
            times.get(rank).map(|time| (time.as_secs_f64() * 1e4).round() / 10.0)
        };
        let (median_ms, p95_ms) = at(50).zip(at(95)).with_context(|| format!("{key} was never asked"))?;
        Ok(Self { key, what: what.to_lowercase(), median_ms, p95_ms })
    }
}

/// The refresh of two hours, and one that keeps minutes alone.
pub struct Refreshes {
    pub now: Figure,
    pub before: Figure,
}

impl Refreshes {
    /// Of medians: the longest of thirty says more of the machine.
    fn ratio(&self) -> f64 {
        (self.now.median_ms / self.before.median_ms * 100.0).round() / 100.0
    }
}

pub fn table(figures: &[Figure], refreshes: &Refreshes) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["question", "slowest", "median ms", "p95 ms", "at most"]);
    for figure in figures.iter().chain([&refreshes.now, &refreshes.before]) {
        let ms = |value: f64| format!("{value:.1}");
        let target =
            TARGETS.iter().find(|(key, _)| *key == figure.key).map_or_else(String::new, |(_, target)| ms(*target));
        table.add_row([figure.key.into(), figure.what.clone(), ms(figure.median_ms), ms(figure.p95_ms), target]);
    }
    let (ratio, target) = (refreshes.ratio().to_string(), REFRESH_TARGET.to_string());
    table.add_row(["refresh_2h of before".into(), String::new(), ratio, String::new(), target]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Keeps the figures in `.local/bench.json`.
pub fn keep(figures: &[Figure], refreshes: &Refreshes, jobs: u64) {
    let mut queries = Map::new();
    queries.insert("jobs".into(), jobs.into());
    for figure in figures {
        queries.insert(figure.key.into(), json!({ "p95_ms": figure.p95_ms, "slowest": figure.what }));
    }
    let refresh = json!({
        "p95_ms": refreshes.now.p95_ms,
        "minutes_alone_p95_ms": refreshes.before.p95_ms,
        "ratio_to_minutes_alone": refreshes.ratio(),
    });
    queries.insert(refreshes.now.key.into(), refresh);
    keep_figures("queries", queries.into());
}
