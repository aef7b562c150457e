//! The table on the terminal, and the figures in `.local/bench.json`.

use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table};
use hookline_testkit::{keep_figures, rounded};
use serde_json::{Map, Value, json};

use crate::again::Again;
use crate::bench_topics::{Contender, Cost, ProcessorUsage};

/// The medians of a contender's runs.
pub struct Figures {
    pub contender: Contender,
    pub processor_us: Option<f64>,
    pub clickhouse_us: f64,
    pub broker_us: f64,
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
            clickhouse_us: over_runs(&|(cost, _)| Some(per_event(cost.used.clickhouse))).context(all)?,
            broker_us: over_runs(&|(cost, _)| Some(per_event(cost.used.broker))).context(all)?,
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
        "broker µs/event",
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
            number(row.broker_us, 2),
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

/// Keeps the figures in `.local/bench.json`.
pub fn keep(figures: &[Figures], records: u64, again: &Again, live: &[(u32, Vec<Figures>)]) -> anyhow::Result<()> {
    let (ours, engine, shipped) = three(figures)?;
    let of_processor = [
        ("records", json!(records)),
        ("cpu_us_per_event", json!(ours.processor_us.map(rounded))),
        ("clickhouse_cpu_us_per_event", json!(rounded(ours.clickhouse_us))),
        ("broker_cpu_us_per_event", json!(rounded(ours.broker_us))),
        ("clickhouse_engine_cpu_us_per_event", json!(rounded(engine.clickhouse_us))),
        ("engine_broker_cpu_us_per_event", json!(rounded(engine.broker_us))),
        ("ratio_to_clickhouse_engine", json!(rounded(ours.sum_us() / engine.sum_us()))),
        ("ratio_with_rollup", json!(rounded(shipped.sum_us() / engine.sum_us()))),
        ("refresh_cpu_us_per_event", json!(rounded(shipped.sum_us() - ours.sum_us()))),
        ("events_per_second", json!(shipped.events_per_second.round())),
        ("engine_events_per_second", json!(engine.events_per_second.round())),
        ("peak_memory_mb", json!(shipped.peak_memory_mb.map(f64::round))),
    ];
    let again = again.figures().map(|(name, figure)| (name, json!(figure.map(rounded))));
    let mut kept: Map<_, _> =
        of_processor.into_iter().chain(again).map(|(name, figure)| (name.to_owned(), figure)).collect();
    for (per_second, figures) in live {
        kept.insert(format!("r{per_second}"), of_live(figures)?);
    }
    keep_figures("processor", kept.into());
    Ok(())
}

fn of_live(figures: &[Figures]) -> anyhow::Result<Value> {
    let (ours, engine, shipped) = three(figures)?;
    Ok(json!({
        "cpu_us_per_event": ours.processor_us.map(rounded),
        "clickhouse_cpu_us_per_event": rounded(ours.clickhouse_us),
        "refresh_cpu_us_per_event": rounded(shipped.sum_us() - ours.sum_us()),
        "clickhouse_engine_cpu_us_per_event": rounded(engine.clickhouse_us),
    }))
}

/// The processor without the roll-up, the engine, and the processor as it is shipped.
fn three(figures: &[Figures]) -> anyhow::Result<(&Figures, &Figures, &Figures)> {
    let of = |contender| figures.iter().find(|figures| figures.contender == contender).context("a side did not run");
    Ok((of(Contender::Processor)?, of(Contender::Engine)?, of(Contender::WithRollUp)?))
}
