//! Renders a report: as tables for people, and as JSON for programs.

use comfy_table::{CellAlignment, Table};
use hookline_service::cli::printable;
use serde_json::{Map, Value, json};

use super::{Dimension, Group, Range, Report};

const QUANTILES: [&str; 4] = ["p50", "p90", "p95", "p99"];

fn rate(errored: u64, finished: u64) -> Option<f64> {
    (finished > 0).then(|| errored as f64 / finished as f64)
}

fn kinds(group: &Group) -> [(&'static str, &[f64], Option<f64>); 3] {
    [
        ("total", &group.total, group.total_max),
        ("run", &group.run, group.run_max),
        ("queue", &group.queue, group.queue_max),
    ]
}

fn names(group: &Group, by: &[Dimension]) -> Map<String, Value> {
    by.iter().map(|dimension| (dimension.name().to_owned(), group.value(*dimension).into())).collect()
}

impl Report {
    /// Renders the JSON that `--json` prints.
    pub fn json(&self) -> Value {
        let Self { read_from, range, by, durations, errors } = self;
        let groups: Vec<_> = durations
            .iter()
            .map(|group| {
                let mut row = names(group, by);
                row.insert("completed".into(), group.completed.into());
                row.insert("errored".into(), group.errored.into());
                row.insert("error_rate".into(), json!(rate(group.errored, group.completed + group.errored)));
                for (kind, quantiles, max) in kinds(group) {
                    let seconds = max.map(|max| {
                        let mut seconds: Map<_, _> = QUANTILES
                            .iter()
                            .zip(quantiles)
                            .map(|(name, value)| ((*name).to_owned(), json!(value)))
                            .collect();
                        seconds.insert("max".into(), json!(max));
                        seconds
                    });
                    row.insert(format!("{kind}_seconds"), json!(seconds));
                }
                row
            })
            .collect();
        let errors: Vec<_> = errors
            .iter()
            .filter(|group| group.errored > 0)
            .map(|group| {
                let mut row = names(group, by);
                row.insert("error_code".into(), group.error_code.clone().into());
                row.insert("errored".into(), group.errored.into());
                row.insert("error_rate".into(), json!(rate(group.errored, finished_of(group, durations, by))));
                row
            })
            .collect();
        let (from, to) = (range.from.to_string(), range.to.to_string());
        json!({ "from": from, "to": to, "basis": read_from.name(), "groups": groups, "errors": errors })
    }

    /// Renders the tables that are printed on the terminal.
    pub fn text(&self) -> String {
        let Self { read_from, range: Range { from, to }, by, durations, errors } = self;
        if durations.is_empty() {
            return format!("No job finished from {from} to {to}, by {read_from}.\n");
        }
        let keys: Vec<_> = by.iter().map(|dimension| dimension.name().replace('_', " ")).collect();
        let values = |group: &Group| by.iter().map(|dimension| printable(group.value(*dimension))).collect::<Vec<_>>();

        let mut table = Table::new();
        let measures = ["total", "run", "queue"]
            .iter()
            .flat_map(|kind| ["p50", "p95", "p99", "max"].map(|of| format!("{kind} {of}")));
        table.set_header(
            keys.iter().cloned().chain(["jobs".into(), "error rate".into()]).chain(measures).collect::<Vec<_>>(),
        );
        for group in durations {
            let jobs = group.completed + group.errored;
            let mut row = values(group);
            row.extend([jobs.to_string(), percent(rate(group.errored, jobs))]);
            for (_, quantiles, max) in kinds(group) {
                let shown = [quantiles.first(), quantiles.get(2), quantiles.get(3), max.as_ref()];
                row.extend(shown.map(|value| seconds(value.copied().filter(|_| max.is_some()))));
            }
            table.add_row(row);
        }
        style(&mut table, keys.len());
        let mut out = format!("Jobs that finished from {from} to {to}, by {read_from}; times in seconds\n{table}\n");

        if errors.iter().any(|group| group.errored > 0) {
            let mut table = Table::new();
            let keys = by.iter().filter(|dimension| **dimension != Dimension::ErrorCode);
            let header = keys.clone().map(|dimension| dimension.name().replace('_', " "));
            table.set_header(
                header.chain(["error code", "errored", "error rate"].map(String::from)).collect::<Vec<_>>(),
            );
            for group in errors.iter().filter(|group| group.errored > 0) {
                let mut row: Vec<_> = keys.clone().map(|dimension| printable(group.value(*dimension))).collect();
                let rate = rate(group.errored, finished_of(group, durations, by));
                row.extend([printable(&group.error_code), group.errored.to_string(), percent(rate)]);
                table.add_row(row);
            }
            style(&mut table, keys.count() + 1);
            out.push_str(&format!("Errors by code; rates of all jobs that finished\n{table}\n"));
        }
        out
    }
}

/// Aligns the first columns, which are `names`, to the left and the others, which are numbers, to the right.
fn style(table: &mut Table, names: usize) {
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Counts the finished jobs that the rate of an error code is a share of: those with the same values of all other dimensions.
fn finished_of(group: &Group, durations: &[Group], by: &[Dimension]) -> u64 {
    let same = |other: &&Group| {
        let mut whole = by.iter().filter(|dimension| **dimension != Dimension::ErrorCode);
        whole.all(|dimension| other.value(*dimension) == group.value(*dimension))
    };
    durations.iter().filter(same).map(|other| other.completed + other.errored).sum()
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.1}"))
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".into(), |rate| format!("{:.1} %", rate * 100.0))
}

#[cfg(test)]
mod tests {
    use super::super::ReadFrom;
    use super::*;

    fn group(job_type: &str, error_code: &str, completed: u64, errored: u64, max: Option<f64>) -> Group {
        Group {
            source: String::new(),
            resource: "video".into(),
            job_type: job_type.into(),
            error_code: error_code.into(),
            completed,
            errored,
            total_max: max,
            run_max: None,
            queue_max: None,
            total: vec![1.0, 2.0, 3.0, 4.0],
            run: vec![f64::NAN; 4],
            queue: vec![f64::NAN; 4],
        }
    }

    fn report(durations: &[Group], errors: &[Group]) -> Report {
        let range = Range::new(0, 60).unwrap();
        let by = vec![Dimension::Resource, Dimension::JobType];
        Report {
            read_from: ReadFrom::faster_for(range),
            range,
            by,
            durations: durations.to_vec(),
            errors: errors.to_vec(),
        }
    }

    #[test]
    fn rates_of_codes_are_shares_of_all_that_finished() {
        let durations = [group("FACE_SWAP", "", 6, 2, Some(5.0)), group("LIP_SYNC", "", 9, 0, Some(5.0))];
        let errors = [group("FACE_SWAP", "", 6, 0, None), group("FACE_SWAP", "no_source_face", 0, 2, None)];
        let shown = report(&durations, &errors).json();
        assert_eq!(shown["basis"], "facts");
        assert_eq!(shown["groups"][0]["error_rate"], 0.25);
        assert_eq!(shown["groups"][1]["error_rate"], 0.0);
        assert_eq!(shown["groups"][0]["total_seconds"]["p95"], 3.0);
        assert_eq!(shown["groups"][0]["run_seconds"], Value::Null);
        assert_eq!(shown["errors"].as_array().unwrap().len(), 1);
        assert_eq!(shown["errors"][0]["error_rate"], 0.25);
    }

    #[test]
    fn nothing_is_not_zero() {
        let nothing = "No job finished from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z, by the facts.\n";
        assert_eq!(report(&[], &[]).text(), nothing);
        assert!(report(&[group("FACE_SWAP", "", 1, 0, None)], &[]).text().contains('–'));
        assert_eq!(rate(0, 0), None);
    }

    #[test]
    fn control_characters_of_the_providers_stay_in_their_cell() {
        let odd = [group("FACE\u{1b}[2J\nSWAP", "\u{9b}1m\r", 0, 2, Some(5.0))];
        let text = report(&odd, &odd).text();
        assert!(!text.contains(|character: char| character != '\n' && character.is_control()), "{text:?}");
        assert!(text.contains("FACE\\u001b[2J\\u000aSWAP") && text.contains("\\u009b1m\\u000d"), "{text}");
    }
}
