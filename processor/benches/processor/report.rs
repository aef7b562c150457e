//! The table on the terminal, and the figures in `.local/bench.json`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};

use crate::bench_topics::{Contender, Cost, ProcessorUsage};

/// The medians of a contender's runs.
pub struct Figures {
    pub contender: Contender,
    pub processor_us: Option<f64>,
    pub clickhouse_us: f64,
    pub events_per_second: f64,
    pub peak_memory_mb: Option<f64>,
    pub disk_mb: f64,
}

impl Figures {
    /// Takes the medians over all runs of one contender.
    pub fn of(contender: Contender, runs: &[(Cost, u64)], records: u64) -> anyhow::Result<Self> {
        let per_event = |time: Duration| time.as_secs_f64() * 1e6 / records as f64;
        let over_runs = |of: &dyn Fn(&(Cost, u64)) -> Option<f64>| median(runs.iter().filter_map(of).collect());
        let usage = |of: fn(ProcessorUsage) -> f64| over_runs(&|(cost, _)| cost.processor.map(of));
        let all = "a contender without a run";
        Ok(Self {
            contender,
            processor_us: over_runs(&|(cost, _)| cost.processor.map(|usage| per_event(usage.cpu))),
            clickhouse_us: over_runs(&|(cost, _)| Some(per_event(cost.clickhouse))).context(all)?,
            events_per_second: over_runs(&|(cost, _)| Some(records as f64 / cost.elapsed.as_secs_f64()))
                .context(all)?,
            peak_memory_mb: usage(|usage| usage.peak_memory as f64 / 1e6),
            disk_mb: over_runs(&|(_, disk)| Some(*disk as f64 / 1e6)).context(all)?,
        })
    }

    /// CPU time of the processor and of ClickHouse together.
    pub fn sum_us(&self) -> f64 {
        self.clickhouse_us + self.processor_us.unwrap_or(0.0)
    }
}

/// The speed with which a rebuild fills its table, as a share of the processor's in the same run; one for each run.
#[derive(Default)]
pub struct Rebuilt {
    pub of_kafka: Vec<f64>,
    pub of_archive: Vec<f64>,
}

/// The middle value, or the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
    Some(f64::midpoint(lower, upper))
}

/// A row for each contender; shares are of the CPU time that the engine took.
pub fn table(figures: &[Figures]) -> Table {
    let engine = figures.iter().find(|figures| figures.contender == Contender::Engine).map(Figures::sum_us);
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "contender",
        "processor µs/event",
        "ClickHouse µs/event",
        "sum",
        "of the engine",
        "events/s",
        "peak MB",
        "disk MB",
    ]);
    for row in figures {
        let number = |value: f64, digits: usize| format!("{value:.digits$}");
        let optional = |value: Option<f64>, digits| value.map_or("–".into(), |value| number(value, digits));
        table.add_row([
            match &row.contender {
                Contender::Processor => "hookline-processor".into(),
                Contender::WithRollUp => "the same with the roll-up".into(),
                Contender::Engine => "Kafka engine and views".into(),
                Contender::Altered(statements) => statements.clone(),
            },
            optional(row.processor_us, 2),
            number(row.clickhouse_us, 2),
            number(row.sum_us(), 2),
            optional(engine.map(|engine| row.sum_us() / engine), 3),
            number(row.events_per_second, 0),
            optional(row.peak_memory_mb, 0),
            number(row.disk_mb, 0),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Puts the figures under `processor` into `.local/bench.json`, beside those of other benches.
pub fn keep(figures: &[Figures], records: u64, replayed: Option<f64>, rebuilt: Rebuilt) -> anyhow::Result<()> {
    let of = |contender| figures.iter().find(|figures| figures.contender == contender).context("a side did not run");
    let (ours, engine) = (of(Contender::Processor)?, of(Contender::Engine)?);
    let shipped = of(Contender::WithRollUp)?;
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/bench.json");
    let mut kept: Map<String, Value> = match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| format!("{} is not a JSON object", path.display()))?
        }
        Err(_) => Map::new(),
    };
    kept.insert(
        "processor".into(),
        json!({
            "records": records,
            "cpu_us_per_event": ours.processor_us.map(rounded),
            "clickhouse_cpu_us_per_event": rounded(ours.clickhouse_us),
            "clickhouse_engine_cpu_us_per_event": rounded(engine.clickhouse_us),
            "ratio_to_clickhouse_engine": rounded(ours.sum_us() / engine.sum_us()),
            "refresh_cpu_us_per_event": rounded(shipped.sum_us() - ours.sum_us()),
            "events_per_second": shipped.events_per_second.round(),
            "replay_records_per_second": replayed.map(f64::round),
            "rebuild_of_kafka_ratio_to_processor": median(rebuilt.of_kafka).map(rounded),
            "rebuild_of_archive_ratio_to_processor": median(rebuilt.of_archive).map(rounded),
            "engine_events_per_second": engine.events_per_second.round(),
            "peak_memory_mb": shipped.peak_memory_mb.map(f64::round),
        }),
    );
    fs::create_dir_all(path.parent().context("a folder above")?)?;
    fs::write(&path, format!("{:#}\n", Value::Object(kept)))?;
    Ok(())
}
