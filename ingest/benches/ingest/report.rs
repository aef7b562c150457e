//! Shows the figures as a table, and keeps them in `.local/bench.json`.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use hookline_testkit::{keep_figures, rounded};
use serde_json::{Map, Value, json};

use crate::plan::Load;
use crate::server::Kind;

/// The figures of one repetition.
#[derive(Clone, Copy)]
pub struct Figures {
    /// CPU time of the server for each webhook, µs.
    pub cpu_us: f64,
    /// The same of its broker.
    pub broker_cpu_us: Option<f64>,
    /// Webhooks per second.
    pub per_second: f64,
    /// The latencies p50 and p99.
    pub full_ms: (f64, f64),
    /// The same at half of the load.
    pub half_ms: Option<(f64, f64)>,
    /// The most memory that was resident up to the end of the load.
    pub resident_peak_mib: f64,
}

/// Every repetition, by load and server.
#[derive(Default)]
pub struct Report(BTreeMap<(Load, Kind), Vec<Figures>>);

impl Report {
    pub fn add(&mut self, load: Load, kind: Kind, figures: Figures) {
        self.0.entry((load, kind)).or_default().push(figures);
    }

    /// The median of a figure that each repetition has.
    fn median(&self, load: Load, kind: Kind, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<_> = self.0.get(&(load, kind))?.iter().filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// How many times what the floor costs in the same run.
    fn of_floor(&self, load: Load, kind: Kind, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let floor = self.median(load, Kind::Floor, |figures| Some(figures.cpu_us))?;
        Some(self.median(load, kind, figure)? / floor)
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
            "load",
            "server",
            "CPU µs",
            "least – most",
            "of the floor",
            "broker µs",
            "sum of the floor",
            "per second",
            "p50 / p99 ms",
            "at half load",
            "peak MiB",
        ]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for (&(load, kind), repetitions) in &self.0 {
            let median =
                |figure: &dyn Fn(&Figures) -> Option<f64>, digits| text(self.median(load, kind, figure), digits);
            let pair = |figure: fn(&Figures) -> Option<(f64, f64)>| {
                let p50 = median(&|figures| Some(figure(figures)?.0), 2);
                let p99 = median(&|figures| Some(figure(figures)?.1), 2);
                format!("{p50} / {p99}")
            };
            let cpu = || repetitions.iter().map(|figures| figures.cpu_us);
            let (least, most) = (cpu().fold(f64::INFINITY, f64::min), cpu().fold(0.0, f64::max));
            table.add_row([
                load.to_string(),
                format!("{kind:?}").to_lowercase(),
                median(&|figures| Some(figures.cpu_us), 1),
                format!("{least:.1} – {most:.1}"),
                text(self.of_floor(load, kind, |figures| Some(figures.cpu_us)), 2),
                median(&|figures| figures.broker_cpu_us, 1),
                text(self.of_floor(load, kind, Figures::sum_us), 2),
                median(&|figures| Some(figures.per_second), 0),
                pair(|figures| Some(figures.full_ms)),
                pair(|figures| figures.half_ms),
                median(&|figures| Some(figures.resident_peak_mib), 1),
            ]);
        }
        table
    }

    /// Writes the medians to `.local/bench.json`.
    pub fn save(&self) {
        let mut kept = Map::new();
        for &(load, _) in self.0.keys().filter(|(_, kind)| *kind == Kind::Ingest) {
            let median =
                |figure: &dyn Fn(&Figures) -> Option<f64>| self.median(load, Kind::Ingest, figure).map(rounded);
            // Latencies of a closed loop are its speed; those at half of it are what a sender sees.
            let latencies: fn(&Figures) -> Option<(f64, f64)> = match load {
                Load::Connections(_) => |figures| figures.half_ms,
                Load::Rate(_) => |figures| Some(figures.full_ms),
            };
            let of_floor = |figure: fn(&Figures) -> Option<f64>| self.of_floor(load, Kind::Ingest, figure).map(rounded);
            let floor = self.median(load, Kind::Floor, |figures| Some(figures.cpu_us)).map(rounded);
            // Those beside the floor are null where it was not measured.
            let figures = json!({
                "cpu_us_per_webhook": median(&|figures| Some(figures.cpu_us)),
                "broker_cpu_us": median(&|figures| figures.broker_cpu_us),
                "floor_cpu_us": floor,
                "ratio": of_floor(|figures| Some(figures.cpu_us)),
                "ratio_with_broker": of_floor(Figures::sum_us),
                "p50_ms": median(&|figures| Some(latencies(figures)?.0)),
                "p99_ms": median(&|figures| Some(latencies(figures)?.1)),
                "webhooks_per_second": median(&|figures| Some(figures.per_second)),
                "resident_peak_mib": median(&|figures| Some(figures.resident_peak_mib)),
            });
            kept.insert(load.key(), figures);
        }
        keep_figures("ingest", Value::Object(kept));
    }
}

impl Figures {
    /// CPU time of the server and its broker.
    fn sum_us(&self) -> Option<f64> {
        Some(self.cpu_us + self.broker_cpu_us?)
    }
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}
