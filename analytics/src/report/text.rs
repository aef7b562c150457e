//! The report for people: 23 lines by default, so that it fits a terminal of 24 lines with the prompt below.

use std::collections::HashMap;

use hookline_service::cli::printable;

use super::answer::{Compared, Report};
use super::arguments::ReportArgs;
use super::columns::{Column, lines, sentence, table};
use super::numbers::{change_of_count, change_of_seconds, change_of_share, count, percent, seconds};
use super::sparkline::{largest, sparkline};
use crate::query::Dimension;
use crate::query::finished::{Durations, FinishedJobs};
use crate::query::range::{Moment, Range};
use crate::query::timestamp::Timestamp;

/// The most steps of a sparkline.
const STEPS: usize = 48;
/// What a line has beside its sparkline.
const BESIDE_SPARKLINE: usize = 30;

/// The steps that fit a screen.
pub fn steps(screen: Option<usize>) -> usize {
    screen.map_or(STEPS, |columns| columns.saturating_sub(BESIDE_SPARKLINE)).clamp(8, STEPS)
}

impl Report {
    /// Renders the report for a screen that is so wide.
    pub fn text(&self, arguments: &ReportArgs, screen: Option<usize>) -> String {
        let jobs = &self.summary.jobs;
        let mut out = sentence(&["Jobs that finished".to_owned(), from(self.range), to(self.range)], screen);
        if let Some(compared) = &self.compared {
            out.push_str(&sentence(&["compared with".to_owned(), from(compared.range), to(compared.range)], screen));
        }
        let now = ["open", "stuck", "unresolved"].map(|state| format!("{} {state}", count(self.without_end(state))));
        let mut items = vec![format!("as of {}:", clock(self.as_of))];
        items.extend(now);
        if jobs.finished() == 0 {
            out.push_str(&lines(&items, screen));
            out.push_str(&sentence(&self.what_to_do_next(arguments), screen));
            return out;
        }
        let all = [
            format!("{} finished:", count(jobs.finished())),
            format!("{} completed", count(jobs.completed)),
            format!("{} errored", count(jobs.errored)),
            format!("error rate {} %", percent(jobs.error_rate)),
        ];
        out.push_str(&lines(&all, screen));
        out.push_str(&lines(&items, screen));
        out.push_str(&self.sparklines(screen));
        out.push_str(&self.durations_table(arguments, screen));
        out.push_str(&self.errors_table(screen));
        out
    }

    fn without_end(&self, state: &str) -> u64 {
        self.summary.open.iter().filter(|count| count.state == state).map(|count| count.jobs).sum()
    }

    fn what_to_do_next(&self, arguments: &ReportArgs) -> Vec<String> {
        let mut items = vec!["No job finished.".to_owned(), "Look further back: --last 7d.".to_owned()];
        let filters = [
            ("--source", !arguments.source.is_empty()),
            ("--resource", !arguments.resource.is_empty()),
            ("--job-type", !arguments.job_type.is_empty()),
            ("--error-code", !arguments.error_code.is_empty()),
            ("--outcome", !arguments.outcome.is_empty()),
        ];
        let given: Vec<_> = filters.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if given.is_empty() {
            items.push("Do webhooks arrive?".to_owned());
            items.push("See /metrics of hookline-ingest.".to_owned());
        } else {
            items.push("Or leave out".to_owned());
            items.extend(given.into_iter().map(str::to_owned));
        }
        items
    }

    fn sparklines(&self, screen: Option<usize>) -> String {
        let step = i64::from(self.series.step);
        let rows: HashMap<i64, &FinishedJobs> =
            self.series.rows.iter().filter_map(|row| Some((row.at?.0 / 1_000, row))).collect();
        let first = self.range.from.0.div_euclid(step);
        let ends = self.range.to.0.saturating_add(step - 1).div_euclid(step);
        let points: Vec<_> = (first..ends).map(|at| rows.get(&(at * step)).copied()).collect();
        let counts: Vec<_> = points.iter().map(|row| row.map_or(0, FinishedJobs::finished)).collect();
        let most = counts.iter().copied().max().unwrap_or_default();
        let finished: Vec<_> = counts.into_iter().map(as_float).map(Some).collect();
        let rates: Vec<_> = points.iter().map(|row| row.and_then(|row| row.error_rate)).collect();
        let width = span(step);
        let line = |name: &str, values: &[Option<f64>], most: String| {
            let items = [format!("{name:<10}  {}", sparkline(values, steps(screen))), most];
            lines(&items, screen)
        };
        line("finished", &finished, format!("≤ {} in {width}", count(most)))
            + &line("error rate", &rates, format!("≤ {} %", percent(Some(largest(&rates)))))
    }

    fn durations_table(&self, arguments: &ReportArgs, screen: Option<usize>) -> String {
        let kind = arguments.kind;
        let by = &self.durations.by;
        let names: Vec<_> = by.iter().map(|dimension| spoken(*dimension)).collect();
        let mut title = vec![format!("Seconds {}", kind.meaning()), format!("by {}", names.join(", "))];
        title.extend(shown(self.durations.rows.len(), self.durations.groups));
        let mut out = sentence(&title, screen);

        let groups: Vec<_> = [&self.summary.jobs].into_iter().chain(&self.durations.rows).collect();
        let mut columns: Vec<Column> = Vec::new();
        for (at, dimension) in by.iter().enumerate() {
            let all = (at == 0).then(|| "all".to_owned());
            let values = self.durations.rows.iter().map(|group| name(group.value(*dimension)));
            let cells = [all.unwrap_or_default()].into_iter().chain(values).collect();
            columns.push(Column::text(spoken(*dimension), 0, cells));
        }
        let of = |cell: &dyn Fn(&FinishedJobs) -> String| groups.iter().map(|group| cell(group)).collect::<Vec<_>>();
        let seconds_of = |value: fn(Durations) -> f64| of(&|group| seconds(group.durations(kind).map(value)));
        let earlier = self.compared.as_ref().map(|compared| {
            let jobs = |group: &&FinishedJobs| compared.group(group, by).unwrap_or(&FinishedJobs::NONE);
            let rows: Vec<_> = self.durations.rows.iter().collect();
            [&compared.jobs].into_iter().chain(rows.iter().map(jobs)).collect::<Vec<_>>()
        });
        let changes = |cell: &dyn Fn(&FinishedJobs, &FinishedJobs) -> String| {
            let earlier = earlier.as_ref()?;
            Some(groups.iter().zip(earlier).map(|(now, earlier)| cell(now, earlier)).collect::<Vec<_>>())
        };
        columns.push(Column::number("finished", 0, of(&|group| count(group.finished()))));
        let change = changes(&|now, earlier| change_of_count(now.finished(), earlier.finished()));
        columns.extend(change.map(|cells| Column::number("change", 3, cells)));
        columns.push(Column::number("error %", 2, of(&|group| percent(group.error_rate))));
        let change = changes(&|now, earlier| change_of_share(now.error_rate, earlier.error_rate));
        columns.extend(change.map(|cells| Column::number("change", 4, cells)));
        let timed = of(&|group| count(group.durations(kind).map_or(0, |durations| durations.jobs)));
        columns.push(Column::number("timed", 8, timed));
        columns.push(Column::number("p50", 7, seconds_of(|durations| durations.p50)));
        columns.push(Column::number("p95", 1, seconds_of(|durations| durations.p95)));
        let p95 = |group: &FinishedJobs| group.durations(kind).map(|durations| durations.p95);
        let change = changes(&|now, earlier| change_of_seconds(p95(now), p95(earlier)));
        columns.extend(change.map(|cells| Column::number("change", 4, cells)));
        columns.push(Column::number("p99", 6, seconds_of(|durations| durations.p99)));
        columns.push(Column::number("max", 5, seconds_of(|durations| durations.max)));
        out.push_str(&fitted(columns, screen));
        out
    }

    fn errors_table(&self, screen: Option<usize>) -> String {
        let rows = &self.errors.rows;
        if rows.is_empty() {
            return "No errors\n".to_owned();
        }
        let mut title = vec!["Errors".to_owned()];
        title.extend(shown(rows.len(), self.errors.groups));
        let mut out = sentence(&title, screen);
        let groups: Vec<_> = rows.iter().map(|row| &row.group).collect();
        let mut columns = vec![Column::number("errored", 0, groups.iter().map(|group| count(group.errored)).collect())];
        if let Some(compared) = &self.compared {
            let earlier: HashMap<_, _> = compared
                .errors
                .iter()
                .map(|group| (Dimension::ALL.map(|dimension| group.value(dimension)), group.errored))
                .collect();
            let change = groups.iter().map(|group| {
                let key = [&*group.source, &*group.resource, &*group.job_type, &*group.error_code];
                change_of_count(group.errored, earlier.get(&key).copied().unwrap_or_default())
            });
            columns.push(Column::number("change", 1, change.collect()));
        }
        // One source alone says nothing.
        if groups.iter().any(|group| groups.first().is_some_and(|first| first.source != group.source)) {
            columns.push(Column::text("source", 2, groups.iter().map(|group| name(&group.source)).collect()));
        }
        columns.push(Column::text("resource", 3, groups.iter().map(|group| name(&group.resource)).collect()));
        columns.push(Column::text("type", 0, groups.iter().map(|group| name(&group.job_type)).collect()));
        columns.push(Column::text("code", 0, groups.iter().map(|group| name(&group.error_code)).collect()));
        columns.push(Column::text("last seen", 4, groups.iter().map(|group| minute(group.last_seen)).collect()));
        out.push_str(&fitted(columns, screen));
        out
    }
}

impl Compared {
    /// The jobs of the earlier range that have the same values of the dimensions.
    fn group(&self, group: &FinishedJobs, by: &[Dimension]) -> Option<&FinishedJobs> {
        let same = |earlier: &&FinishedJobs| by.iter().all(|by| earlier.value(*by) == group.value(*by));
        self.durations.iter().find(same)
    }
}

fn fitted(columns: Vec<Column>, screen: Option<usize>) -> String {
    let (mut text, left_out) = table(columns, screen);
    if !left_out.is_empty() {
        let mut items = vec!["left out, since the screen is narrow:".to_owned()];
        items.extend(left_out.into_iter().rev().map(str::to_owned));
        items.dedup();
        text.push_str(&sentence(&items, screen));
    }
    text
}

/// How many rows a table has, where it has not all.
fn shown(rows: usize, groups: u64) -> Option<String> {
    let rows = rows as u64;
    let more = groups.saturating_sub(rows);
    (more > 0).then(|| format!("(the {} largest, and {} more: --all)", count(rows), count(more)))
}

/// A text from outside. An empty one is shown as a dash, so that its column is not taken for a missing one.
fn name(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { printable(text) }
}

const fn spoken(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Source => "source",
        Dimension::Resource => "resource",
        Dimension::JobType => "type",
        Dimension::ErrorCode => "code",
    }
}

fn from(range: Range) -> String {
    format!("from {}", day_and_minute(range.from))
}

fn to(range: Range) -> String {
    format!("to {} UTC", day_and_minute(range.to))
}

/// `2026-11-25 10:05`.
fn day_and_minute(moment: Moment) -> String {
    moment.to_string().replace('T', " ").get(..16).unwrap_or_default().to_owned()
}

/// `11-25 10:05`.
fn minute(at: Timestamp) -> String {
    at.to_string().replace('T', " ").get(5..16).unwrap_or_default().to_owned()
}

/// `10:05:17`.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// `15m`.
fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds % unit == 0);
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[expect(clippy::cast_precision_loss, reason = "the height of a bar")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
