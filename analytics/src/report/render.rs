//! Renders a report: as tables for people, and as JSON for programs.

use comfy_table::{CellAlignment, Table};
use hookline_service::cli::printable;
use serde_json::{Map, Value, json};

use super::{Dimension, FinishedJobs, Range, Report};
use crate::query::finished::{Durations, share};

fn kinds(group: &FinishedJobs) -> [(&'static str, Option<Durations>); 3] {
    [("total", group.total), ("run", group.run), ("queue", group.queue)]
}

fn names(group: &FinishedJobs, by: &[Dimension]) -> Map<String, Value> {
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
                row.insert("error_rate".into(), json!(group.error_rate));
                for (kind, durations) in kinds(group) {
                    row.insert(format!("{kind}_seconds"), json!(durations));
                }
                row
            })
            .collect();
        let errors: Vec<_> = errors
            .iter()
            .filter(|group| group.errored > 0)
            .map(|group| {
                let mut row = names(group, by);
                row.insert("error_code".into(), group.value(Dimension::ErrorCode).into());
                row.insert("errored".into(), group.errored.into());
                row.insert("error_rate".into(), json!(share_of_code(group, durations, by)));
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
        let values =
            |group: &FinishedJobs| by.iter().map(|dimension| printable(group.value(*dimension))).collect::<Vec<_>>();

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
            row.extend([jobs.to_string(), percent(group.error_rate)]);
            for (_, durations) in kinds(group) {
                let of = |value: fn(Durations) -> f64| seconds(durations.map(value));
                row.extend([of(|all| all.p50), of(|all| all.p95), of(|all| all.p99), of(|all| all.max)]);
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
                let share = percent(share_of_code(group, durations, by));
                row.extend([printable(group.value(Dimension::ErrorCode)), group.errored.to_string(), share]);
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

/// The share that an error code has of the finished jobs with the same values of all other dimensions.
fn share_of_code(group: &FinishedJobs, durations: &[FinishedJobs], by: &[Dimension]) -> Option<f64> {
    let same = |other: &&FinishedJobs| {
        let mut whole = by.iter().filter(|dimension| **dimension != Dimension::ErrorCode);
        whole.all(|dimension| other.value(*dimension) == group.value(*dimension))
    };
    let finished: u64 = durations.iter().filter(same).map(|other| other.completed + other.errored).sum();
    share(group.errored, finished)
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
    use crate::query::finished::error_rate;

    fn group(job_type: &str, error_code: &str, completed: u64, errored: u64, max: Option<f64>) -> FinishedJobs {
        FinishedJobs {
            resource: Some("video".into()),
            job_type: Some(job_type.into()),
            error_code: Some(error_code.into()),
            completed,
            errored,
            error_rate: error_rate(completed, errored),
            total: Durations::new(completed + errored, max, &[1.0, 2.0, 3.0, 4.0]),
            ..FinishedJobs::NONE
        }
    }

    fn report(durations: &[FinishedJobs], errors: &[FinishedJobs]) -> Report {
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
        assert_eq!(shown["groups"][0]["total_seconds"]["jobs"], 8);
        assert_eq!(shown["groups"][0]["run_seconds"], Value::Null);
        assert_eq!(shown["errors"].as_array().unwrap().len(), 1);
        assert_eq!(shown["errors"][0]["error_rate"], 0.25);
    }

    #[test]
    fn nothing_is_not_zero() {
        let nothing = "No job finished from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z, by the facts.\n";
        assert_eq!(report(&[], &[]).text(), nothing);
        assert!(report(&[group("FACE_SWAP", "", 1, 0, None)], &[]).text().contains('–'));
        assert_eq!(error_rate(0, 0), None);
    }

    #[test]
    fn control_characters_of_the_providers_stay_in_their_cell() {
        let odd = [group("FACE\u{1b}[2J\nSWAP", "\u{9b}1m\r", 0, 2, Some(5.0))];
        let text = report(&odd, &odd).text();
        assert!(!text.contains(|character: char| character != '\n' && character.is_control()), "{text:?}");
        assert!(text.contains("FACE\\u001b[2J\\u000aSWAP") && text.contains("\\u009b1m\\u000d"), "{text}");
    }
}
