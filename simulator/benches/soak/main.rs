//! What the tests do in minutes, for half an hour: every fault under much traffic, and a steady stream of webhooks with faults at
//! random moments. `make soak` runs it, on debug builds: others have no fail points.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a soak that cannot go on has failed"
)]

mod long_run;
mod report;

use clap::Parser;
use comfy_table::Table;
use hookline_simulator::pipeline::faults::Fault;
use hookline_simulator::pipeline::traffic::Traffic;
use indicatif::{ProgressBar, ProgressStyle};

/// Faults under load, for as long as you like; ends with an error where a number is wrong.
#[derive(Parser)]
struct Options {
    /// For this long, faults are injected at random moments; 0 = not at all
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Webhooks per second
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Draws the same traffic and the same faults again; a new one is drawn if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Before that, each fault by itself, under so many jobs
    #[arg(long, value_name = "JOBS", num_args = 0..=1, default_missing_value = "5000")]
    matrix: Option<usize>,
    #[arg(long, hide = true, help = "cargo bench passes it")]
    bench: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    if let Some(jobs) = options.matrix {
        matrix(Traffic { jobs, rate: options.rate, seed }).await;
    }
    if options.minutes > 0 {
        long_run::run(options.minutes * 60, options.rate, seed).await;
    }
}

async fn matrix(traffic: Traffic) {
    let bar = bar(Fault::ALL.len() as u64, "faults");
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["fault", "jobs, at least", "attempts", "differences", "settled after"]);
    for fault in Fault::ALL {
        bar.set_message(fault.to_string());
        let survived = fault.run_under_traffic(traffic).await;
        bar.suspend(|| println!("{fault}: {survived}"));
        bar.inc(1);
        let settled = format!("{:.1} s", survived.settled.as_secs_f64());
        // A difference would have been a panic.
        let differences = "0".to_owned();
        table.add_row([
            fault.to_string(),
            traffic.jobs.to_string(),
            survived.attempts.to_string(),
            differences,
            settled,
        ]);
    }
    bar.finish_and_clear();
    report::align(&mut table);
    println!("{table}");
}

/// A progress bar, which is shown on a terminal only.
fn bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {unit}  {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap();
    ProgressBar::new(length).with_style(style)
}
