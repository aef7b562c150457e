//! The questions of the API on the terminal: how many jobs finished in a range of time, how long they took, and why some failed.

mod answer;
mod arguments;
pub(crate) mod columns;
pub(crate) mod numbers;
mod sparkline;
mod text;

use std::time::Duration;

use hookline_service::cli::{Screen, UsageError, print, print_line, redraw};
use serde_json::Value;

pub use self::answer::{Report, ask};
use self::arguments::CsvTable;
pub use self::arguments::ReportArgs;
pub(crate) use self::arguments::interval;
use crate::config::AnalyticsConfig;
use crate::csv::to_csv;
pub use crate::query::ReadFrom;

/// The steps of a series that a program reads.
const STEPS_FOR_PROGRAMS: i64 = 200;

/// Asks ClickHouse and prints the answer.
pub async fn run(config: &AnalyticsConfig, arguments: ReportArgs) -> anyhow::Result<()> {
    if let Some(interval) = arguments.watch {
        return watch(config, &arguments, interval).await;
    }
    if !arguments.for_programs() {
        print(text(config, &arguments, columns_of_output()).await?);
        return Ok(());
    }
    let report = serde_json::to_value(ask(config, &arguments, STEPS_FOR_PROGRAMS).await?)?;
    match arguments.csv {
        None => print_line(serde_json::to_string_pretty(&report)?),
        Some(table) => {
            let rows = report.pointer(match table {
                CsvTable::Durations => "/durations/rows",
                CsvTable::Errors => "/errors/rows",
                CsvTable::Series => "/series/rows",
            });
            print(String::from_utf8_lossy(&to_csv(rows.unwrap_or(&Value::Null))?));
        }
    }
    Ok(())
}

async fn text(config: &AnalyticsConfig, arguments: &ReportArgs, columns: Option<usize>) -> anyhow::Result<String> {
    let steps = i64::try_from(text::steps(columns)).unwrap_or(i64::MAX);
    Ok(ask(config, arguments, steps).await?.text(arguments, columns))
}

/// The width of standard output. A pipe has none, so that nothing is cut unless `COLUMNS` says so.
pub(crate) fn columns_of_output() -> Option<usize> {
    let of_environment = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    Screen::now().map(|screen| screen.columns).or_else(of_environment)
}

/// Redraws the terminal until a signal ends the program. A question that fails is shown in place of its answer and asked again,
/// since the report is to go on when ClickHouse is back.
async fn watch(config: &AnalyticsConfig, arguments: &ReportArgs, interval: Duration) -> anyhow::Result<()> {
    loop {
        let Some(screen) = Screen::now() else {
            return Err(UsageError(
                "--watch redraws a terminal, and standard output is none: leave --watch out, and run the report as often as needed"
                    .to_owned(),
            )
            .into());
        };
        let text = text(config, arguments, Some(screen.columns)).await;
        if let Err(error) = &text
            && error.is::<UsageError>()
        {
            return text.map(drop);
        }
        let text = text.unwrap_or_else(|error| format!("error: {error:#}\n"));
        redraw(cropped(&text, screen.lines));
        tokio::time::sleep(interval).await;
    }
}

/// The lines that fit the terminal, and how many more there are. The cursor takes the last line.
fn cropped(text: &str, lines: usize) -> String {
    let (all, fitting) = (text.lines().count(), lines.saturating_sub(1).max(1));
    if all <= fitting {
        return text.to_owned();
    }
    let shown: String = text.lines().take(fitting - 1).flat_map(|line| [line, "\n"]).collect();
    format!("{shown}… {} lines more\n", all - (fitting - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_the_terminal_is_counted() {
        assert_eq!(cropped("a\nb\n", 3), "a\nb\n");
        assert_eq!(cropped("a\nb\nc\nd\n", 4), "a\nb\n… 2 lines more\n");
        assert_eq!(cropped("a\nb\n", 0), "… 2 lines more\n");
    }
}
