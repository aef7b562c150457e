//! The report of a long run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use hookline_simulator::pipeline::Pipeline;
use hookline_simulator::pipeline::faults::Fault;
use hookline_testkit::{Daemon, Process};

/// How long it took from the end of each fault until the processor had caught up, and the memory meanwhile.
pub struct Report {
    quiet: Duration,
    lags: BTreeMap<Fault, Vec<Duration>>,
    ingest: Memory,
    processor: Memory,
}

/// Resident bytes of a daemon that may be started again.
#[derive(Default)]
struct Memory {
    first: Option<u64>,
    peak: u64,
    last: u64,
}

impl Memory {
    /// Notes what it has now, and the most it has had since it was started.
    fn note(&mut self, daemon: &Daemon) {
        self.last = Process(daemon.pid()).memory("VmRSS");
        self.peak = self.peak.max(Process(daemon.pid()).memory("VmHWM"));
        self.first.get_or_insert(self.last);
    }
}

impl Report {
    /// `quiet` is the time until the processor has caught up when there was no fault.
    pub fn new(quiet: Duration) -> Self {
        Self { quiet, lags: BTreeMap::new(), ingest: Memory::default(), processor: Memory::default() }
    }

    pub fn note_memory(&mut self, pipeline: &Pipeline, processor: &Daemon) {
        self.ingest.note(&pipeline.ingest);
        self.processor.note(processor);
    }

    pub fn add(&mut self, fault: Fault, lag: Duration) {
        self.lags.entry(fault).or_default().push(lag);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
        table.set_header(["fault", "times", "lag zero after, median", "max"]);
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        table.add_row(["none".to_owned(), "1".to_owned(), seconds(self.quiet), seconds(self.quiet)]);
        for (fault, lags) in &self.lags {
            let mut sorted = lags.clone();
            sorted.sort_unstable();
            let (median, max) =
                ((sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2, sorted[sorted.len() - 1]);
            table.add_row([fault.to_string(), lags.len().to_string(), seconds(median), seconds(max)]);
        }
        align(&mut table);
        writeln!(f, "{table}")?;

        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
        table.set_header(["memory", "at the start", "at the peak", "after"]);
        for (name, Memory { first, peak, last }) in [("ingest", &self.ingest), ("processor", &self.processor)] {
            let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
            table.add_row([name.to_owned(), mebibytes(first.unwrap_or(0)), mebibytes(*peak), mebibytes(*last)]);
        }
        align(&mut table);
        write!(f, "{table}")
    }
}

/// Aligns every column but the first to the right.
pub fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
