//! Shows the figures as a table, and keeps them in `.local/bench.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::server::Kind;

/// The figures of one repetition.
#[derive(Clone, Copy)]
pub struct Figures {
    /// CPU time of the server for each webhook, µs.
    pub cpu_us: f64,
    /// Webhooks per second at full load.
    pub per_second: f64,
    // Latencies at full load, and then at half of it.
    pub full_p50_ms: f64,
    pub full_p99_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The most memory that was resident up to the end of full load.
    pub resident_peak_mib: f64,
}

/// Every repetition, by connections and server.
#[derive(Default)]
pub struct Report(BTreeMap<(usize, Kind), Vec<Figures>>);

impl Report {
    pub fn add(&mut self, connections: usize, kind: Kind, figures: Figures) {
        self.0.entry((connections, kind)).or_default().push(figures);
    }

    fn median(&self, connections: usize, kind: Kind, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        let mut values: Vec<_> = self.0.get(&(connections, kind))?.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn ratio(&self, connections: usize, kind: Kind) -> Option<f64> {
        let floor = self.median(connections, Kind::Floor, |figures| figures.cpu_us)?;
        Some(self.median(connections, kind, |figures| figures.cpu_us)? / floor)
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
            "connections",
            "server",
            "CPU µs",
            "least – most",
            "of the floor",
            "per second",
            "full load p50 / p99 ms",
            "half load p50 / p99 ms",
            "peak MiB",
        ]);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for (&(connections, kind), repetitions) in &self.0 {
            let median = |figure: fn(&Figures) -> f64| self.median(connections, kind, figure).unwrap_or(f64::NAN);
            let cpu = || repetitions.iter().map(|figures| figures.cpu_us);
            let (least, most) = (cpu().fold(f64::INFINITY, f64::min), cpu().fold(0.0, f64::max));
            table.add_row([
                connections.to_string(),
                format!("{kind:?}").to_lowercase(),
                format!("{:.1}", median(|figures| figures.cpu_us)),
                format!("{least:.1} – {most:.1}"),
                format!("{:.2}", self.ratio(connections, kind).unwrap_or(f64::NAN)),
                format!("{:.0}", median(|figures| figures.per_second)),
                format!("{:.2} / {:.2}", median(|figures| figures.full_p50_ms), median(|figures| figures.full_p99_ms)),
                format!("{:.2} / {:.2}", median(|figures| figures.p50_ms), median(|figures| figures.p99_ms)),
                format!("{:.1}", median(|figures| figures.resident_peak_mib)),
            ]);
        }
        table
    }

    /// Writes the medians to `.local/bench.json`, and leaves what other benches wrote there.
    pub fn save(&self) -> anyhow::Result<()> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.local");
        let path = folder.join("bench.json");
        fs::create_dir_all(&folder)?;
        let mut whole: Map<String, Value> = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is broken", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let ingest = whole.entry("ingest").or_insert_with(|| json!({}));
        for &(connections, _) in self.0.keys().filter(|(_, kind)| *kind == Kind::Ingest) {
            let figure = |kind, figure: fn(&Figures) -> f64| rounded(self.median(connections, kind, figure));
            ingest[format!("c{connections}")] = json!({
                "cpu_us_per_webhook": figure(Kind::Ingest, |figures| figures.cpu_us),
                "floor_cpu_us": figure(Kind::Floor, |figures| figures.cpu_us),
                "ratio": rounded(self.ratio(connections, Kind::Ingest)),
                "p50_ms": figure(Kind::Ingest, |figures| figures.p50_ms),
                "p99_ms": figure(Kind::Ingest, |figures| figures.p99_ms),
                "webhooks_per_second": figure(Kind::Ingest, |figures| figures.per_second),
                "resident_peak_mib": figure(Kind::Ingest, |figures| figures.resident_peak_mib),
            });
        }
        fs::write(&path, serde_json::to_string_pretty(&whole)? + "\n").with_context(|| path.display().to_string())
    }
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1e3).round() / 1e3)
}
