//! The overview as lines, for the terminal and for a pipe alike. No line has a control character, whatever a text from outside has.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use hookline_service::cli::printable;

use super::overview::{Ingest, Overview, ProcessorRates, Processors, Tables};
use crate::query::finished::{Durations, FinishedJobs, share};
use crate::query::open::OpenCount;
use crate::query::range::Moment;
use crate::query::timestamp::Timestamp;
use crate::report::columns::{self, Column, cut, table};
use crate::report::numbers::{count, percent, seconds};

/// The stages that are shown of a program, those that take most.
const STAGES: usize = 5;
/// Cells of a full bar.
const BAR: f64 = 10.0;
const UNKNOWN: &str = "–";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub weight: Weight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Plain,
    Heading,
    Problem,
}

impl Line {
    pub fn plain(text: String) -> Self {
        Self { text, weight: Weight::Plain }
    }
}

/// Lines that are no wider than the screen. `hint` says how to use the terminal.
pub fn lines(overview: &Overview, hint: Option<&str>, screen: Option<usize>) -> Vec<Line> {
    let mut out = Lines { lines: Vec::new(), screen };
    out.header(overview, hint);
    out.problems(overview);
    let pipeline = overview.pipeline.as_ref();
    let over = pipeline.and_then(|pipeline| pipeline.rates_over_seconds);
    let over = over.map_or(String::new(), |seconds| format!(", over {seconds:.0} s"));
    let (ingest, processors) = (
        pipeline.and_then(|pipeline| pipeline.ingest.as_ref()),
        pipeline.and_then(|pipeline| pipeline.processors.as_ref()),
    );
    out.heading(&format!("Webhooks a second{over}"));
    out.items(&of_ingest(ingest));
    out.heading("Processors");
    out.items(&of_processors(processors, overview.tables.as_ref()));
    out.stages(ingest, processors.and_then(|processors| processors.rates.as_ref()));
    out.jobs(overview.tables.as_ref());
    out.dead_letters(overview.tables.as_ref());
    out.lines
}

struct Lines {
    lines: Vec<Line>,
    screen: Option<usize>,
}

impl Lines {
    fn push(&mut self, text: &str, weight: Weight) {
        let text = printable(text);
        let text = self.screen.map_or_else(|| text.clone(), |screen| cut(&text, screen));
        self.lines.push(Line { text, weight });
    }

    fn heading(&mut self, text: &str) {
        self.push(text, Weight::Heading);
    }

    /// One text or another beside the other, as many in a line as fit.
    fn items(&mut self, items: &[String]) {
        let items: Vec<_> = items.iter().map(|item| printable(item)).collect();
        columns::lines(&items, self.screen).lines().for_each(|line| self.push(line, Weight::Plain));
    }

    /// The first line is that of the names of the columns.
    fn table(&mut self, columns: Vec<Column>, header: Weight) {
        for (at, line) in table(columns, self.screen).0.lines().enumerate() {
            self.push(line, if at == 0 { header } else { Weight::Plain });
        }
    }

    fn header(&mut self, overview: &Overview, hint: Option<&str>) {
        let mut items = vec![format!("as of {} UTC", day_and_clock(overview.as_of))];
        items.extend(hint.map(str::to_owned));
        self.items(&items);
    }

    fn problems(&mut self, overview: &Overview) {
        for failure in overview.failures() {
            self.push(&format!("! {failure}"), Weight::Problem);
        }
        if let (Some(_), Some(tables)) = (&overview.clickhouse_error, &overview.tables) {
            self.push(&format!("! jobs and dead letters are those of {}", clock(tables.as_of)), Weight::Problem);
        }
        match &overview.pipeline {
            None => self.push("! no metrics: set serve.admin_urls or serve.prometheus_url", Weight::Problem),
            Some(pipeline) => {
                let stopped = pipeline.processors.as_ref().map_or(0.0, |processors| processors.stopped_partitions);
                if stopped > 0.0 {
                    self.push(
                        &format!("! {stopped:.0} partitions stopped and wait for you: see the log"),
                        Weight::Problem,
                    );
                }
            }
        }
    }

    fn stages(&mut self, ingest: Option<&Ingest>, processors: Option<&ProcessorRates>) {
        let stages = [
            ("processor stage", processors.map(|rates| &rates.stages), 0, 3),
            ("ingest stage", ingest.map(|ingest| &ingest.stages), 1, 4),
        ];
        let mut columns = Vec::new();
        for (name, stages, dispensable, bar) in stages {
            let stages = largest(stages);
            let of = |cell: &dyn Fn(&(&str, f64)) -> String| match &stages {
                Some(stages) => stages.iter().map(cell).collect(),
                None => vec![UNKNOWN.to_owned()],
            };
            columns.push(Column::text(name, dispensable, of(&|(name, _)| printable(name))));
            columns.push(Column::number("s/s", dispensable, of(&|(_, seconds)| format!("{seconds:.2}"))));
            columns.push(Column::text("", bar, of(&|(_, seconds)| bar_of(*seconds))));
        }
        self.table(columns, Weight::Heading);
    }

    fn jobs(&mut self, tables: Option<&Tables>) {
        let range = tables.map_or(String::new(), |tables| format!(" since {}", minute(tables.range.from)));
        self.heading(&format!("Jobs finished{range}, seconds from creation to end; open now"));
        let unknown = || vec![UNKNOWN.to_owned()];
        let rows = tables.map(rows);
        let of = |cell: &dyn Fn(&Row<'_>) -> String| {
            rows.as_ref().map_or_else(unknown, |rows| rows.iter().map(cell).collect())
        };
        let resources = rows.as_ref().map_or_else(
            || vec!["all".to_owned()],
            |rows| rows.iter().map(|row| printable(row.resource.unwrap_or("all"))).collect(),
        );
        let duration = |row: &Row<'_>, value: fn(&Durations) -> f64| seconds(row.jobs.total.as_ref().map(value));
        self.table(
            vec![
                Column::text("resource", 0, resources),
                Column::number("a minute", 3, of(&|row| rate(row.per_minute))),
                Column::number("finished", 0, of(&|row| count(row.jobs.finished()))),
                Column::number("error %", 0, of(&|row| percent(row.jobs.error_rate))),
                Column::number("p50", 4, of(&|row| duration(row, |durations| durations.p50))),
                Column::number("p95", 0, of(&|row| duration(row, |durations| durations.p95))),
                Column::number("open", 1, of(&|row| count(row.open))),
                Column::number("oldest", 5, of(&|row| row.oldest.map_or(UNKNOWN.to_owned(), age))),
                Column::number("stuck", 0, of(&|row| count(row.stuck))),
            ],
            Weight::Plain,
        );
    }

    fn dead_letters(&mut self, tables: Option<&Tables>) {
        let all = tables.map_or(UNKNOWN.to_owned(), |tables| {
            let all: u64 = tables.dead_letters.iter().map(|group| group.dead_letters).sum();
            format!("{} since {}", count(all), minute(tables.range.from))
        });
        self.heading(&format!("Dead letters: {all}"));
        let Some(groups) = tables.map(|tables| &tables.dead_letters).filter(|groups| !groups.is_empty()) else {
            return;
        };
        self.table(
            vec![
                Column::number("letters", 0, groups.iter().map(|group| count(group.dead_letters)).collect()),
                Column::text("reason", 0, groups.iter().map(|group| printable(&group.reason)).collect()),
                Column::text("source", 0, groups.iter().map(|group| printable(&group.source)).collect()),
                Column::text("last", 1, groups.iter().map(|group| clock(group.last_received_at)).collect()),
            ],
            Weight::Plain,
        );
    }
}

fn of_ingest(ingest: Option<&Ingest>) -> Vec<String> {
    let shown = |value: fn(&Ingest) -> f64, name: &str| {
        format!("{} {name}", ingest.map_or(UNKNOWN.to_owned(), |ingest| rate(value(ingest))))
    };
    let mut items = vec![
        shown(|ingest| ingest.webhooks_per_second, "in"),
        shown(|ingest| ingest.verified_per_second, "verified"),
        shown(|ingest| sum(&ingest.rejections_per_second), "rejected (401)"),
        shown(|ingest| sum(&ingest.refusals_per_second), "refused (503)"),
        shown(|ingest| sum(&ingest.dead_letters_per_second), "dead letters"),
    ];
    if let Some(ingest) = ingest {
        for reasons in [&ingest.rejections_per_second, &ingest.refusals_per_second, &ingest.dead_letters_per_second] {
            items.extend(
                reasons
                    .iter()
                    .filter(|(_, rate)| **rate > 0.0)
                    .map(|(name, per_second)| format!("{name} {}", rate(*per_second))),
            );
        }
    }
    items
}

fn of_processors(processors: Option<&Processors>, tables: Option<&Tables>) -> Vec<String> {
    let rates = processors.and_then(|processors| processors.rates.as_ref());
    let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    let lag_seconds = processors.and_then(|processors| processors.lag_seconds);
    let freshness = rates.and_then(|rates| rates.signed_to_visible_seconds);
    let rollup = tables.and_then(|tables| tables.rollup_age_seconds);
    vec![
        format!("{} records a second", known(rates.map(|rates| rate(rates.records_per_second)))),
        format!("{} dead letters", known(rates.map(|rates| rate(sum(&rates.dead_letters_per_second))))),
        format!(
            "lag {} records",
            known(processors.and_then(|processors| processors.lag_records).map(|records| format!("{records:.0}")))
        ),
        format!("lag {} s", seconds(lag_seconds)),
        format!("{} s from signing to the tables", seconds(freshness)),
        format!("roll-up {} s old", seconds(rollup)),
    ]
}

/// The jobs of one resource, or of all.
struct Row<'t> {
    resource: Option<&'t str>,
    per_minute: f64,
    jobs: &'t FinishedJobs,
    open: u64,
    /// Seconds since the oldest open one was created.
    oldest: Option<f64>,
    stuck: u64,
}

impl<'t> Row<'t> {
    fn new(tables: &Tables, resource: Option<&'t str>, jobs: &'t FinishedJobs) -> Self {
        let of = |state: &'static str| {
            let own = move |count: &&OpenCount| resource.is_none_or(|resource| count.resource == resource);
            tables.open.iter().filter(move |count| count.state == state).filter(own)
        };
        let of_all = share(jobs.finished(), tables.jobs.finished()).unwrap_or_default();
        Self {
            resource,
            per_minute: tables.finished_per_minute * of_all,
            jobs,
            open: of("open").map(|count| count.jobs).sum(),
            oldest: of("open").filter_map(|count| count.oldest_seconds).max_by(f64::total_cmp),
            stuck: of("stuck").map(|count| count.jobs).sum(),
        }
    }
}

/// All first, then every resource that has a finished or an open job.
fn rows(tables: &Tables) -> Vec<Row<'_>> {
    let finished = tables.resources.iter().filter_map(|group| group.resource.as_deref());
    let resources: BTreeSet<_> = finished.chain(tables.open.iter().map(|count| count.resource.as_str())).collect();
    let of_resource = |resource| {
        let group = tables.resources.iter().find(|group| group.resource.as_deref() == Some(resource));
        Row::new(tables, Some(resource), group.unwrap_or(&FinishedJobs::NONE))
    };
    [Row::new(tables, None, &tables.jobs)].into_iter().chain(resources.into_iter().map(of_resource)).collect()
}

/// The stages that take most, these first; none where there is no stage.
fn largest(stages: Option<&BTreeMap<String, f64>>) -> Option<Vec<(&str, f64)>> {
    let mut stages: Vec<_> = stages?.iter().map(|(name, seconds)| (name.as_str(), *seconds)).collect();
    stages.sort_by(|(_, one), (_, other)| other.partial_cmp(one).unwrap_or(Ordering::Equal));
    stages.truncate(STAGES);
    (!stages.is_empty()).then_some(stages)
}

/// Full where the stage takes all the time of a thread.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10")]
fn bar_of(seconds: f64) -> String {
    "█".repeat((seconds.clamp(0.0, 1.0) * BAR).round() as usize)
}

fn sum(rates: &BTreeMap<String, f64>) -> f64 {
    // An empty sum of floats is -0.
    rates.values().fold(0.0, |sum, rate| sum + rate)
}

/// A rate that is not 0 is not shown as such.
fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        small if small < 0.05 => "<0.1".to_owned(),
        value => seconds(Some(value)),
    }
}

/// `95s`, `12m`, `30h`, `3d`.
fn age(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0}s"),
        seconds if seconds < 7_200.0 => format!("{:.0}m", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0}h", seconds / 3_600.0),
        seconds => format!("{:.0}d", seconds / 86_400.0),
    }
}

/// `2026-11-25 10:05:17`.
fn day_and_clock(at: Timestamp) -> String {
    at.to_string().replace('T', " ").get(..19).unwrap_or_default().to_owned()
}

/// `10:05:17`.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// `11-25 10:05`.
fn minute(moment: Moment) -> String {
    moment.to_string().replace('T', " ").get(5..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod sample;
