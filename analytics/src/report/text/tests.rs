//! The report as it is printed, at several widths.

use clap::Parser;
use serde_json::json;

use super::*;
use crate::query::ReadFrom;
use crate::query::errors::ErrorWithExamples;
use crate::query::finished::error_rate;
use crate::report::answer::{Compared, ErrorTable, Series, Summary};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    report: ReportArgs,
}

fn arguments(text: &str) -> ReportArgs {
    Cli::parse_from(["report"].into_iter().chain(text.split_whitespace())).report
}

const FROM: i64 = 1_795_608_000;

fn jobs(resource: Option<&str>, completed: u64, errored: u64, p50: f64) -> FinishedJobs {
    FinishedJobs {
        resource: resource.map(str::to_owned),
        completed,
        errored,
        error_rate: error_rate(completed, errored),
        total: Durations::new(completed + errored - 1, Some(p50 * 9.0), &[p50, p50 * 3.0, p50 * 4.0, p50 * 8.0]),
        ..FinishedJobs::NONE
    }
}

fn error(resource: &str, job_type: &str, code: &str, errored: u64) -> ErrorWithExamples {
    let group = json!({
        "source": "default", "resource": resource, "job_type": job_type, "error_code": code, "errored": errored,
        "first_seen": FROM * 1_000, "last_seen": (FROM + 3_000) * 1_000, "last_created_hour": FROM, "groups": 61,
    });
    let group = serde_json::from_value(group).unwrap();
    ErrorWithExamples { group, examples: vec!["j1".into()], message: "why".into() }
}

fn report() -> Report {
    let of_minute = |minute: i64| FinishedJobs {
        at: Some(Timestamp::of_seconds(FROM + minute * 300)),
        ..jobs(None, 20 + 7 * minute.unsigned_abs(), minute.unsigned_abs() % 4, 1.0)
    };
    let range = Range::new(FROM, FROM + 3_600).unwrap();
    let codes = ["no_source_face", "file_too_large", "moderation_failed", "internal_error", "timeout"];
    let errors = (0..10).map(|at| {
        let job_type = ["FACE_SWAP", "TEXT_TO_VIDEO", "AI_IMAGE_GENERATOR_EXTENDED_EDITION"].get(at % 3).unwrap();
        error("video", job_type, codes.get(at % 5).unwrap(), 40 - at as u64)
    });
    Report {
        as_of: Timestamp::of_seconds(FROM + 3_590),
        range,
        read_from: ReadFrom::Facts,
        summary: Summary {
            jobs: jobs(None, 2_831, 151, 40.16),
            open: ["open", "stuck", "open"]
                .map(|state| crate::query::open::OpenCount {
                    state: state.into(),
                    source: "default".into(),
                    resource: "video".into(),
                    jobs: 7,
                    oldest_seconds: Some(61.0),
                })
                .to_vec(),
        },
        durations: crate::report::answer::Durations {
            by: vec![Dimension::Resource],
            groups: 3,
            rows: vec![
                jobs(Some("video"), 1_500, 100, 139.9),
                jobs(Some("image"), 1_000, 50, 9.0),
                jobs(Some("audio"), 331, 1, 20.0),
            ],
        },
        errors: ErrorTable { groups: 61, rows: errors.collect() },
        series: Series { step: 300, rows: (0..12).filter(|at| *at != 5).map(of_minute).collect() },
        compared: None,
    }
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn widest(text: &str) -> usize {
    text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap_or_default()
}

#[test]
fn the_default_fits_a_screen() {
    let text = report().text(&arguments(""), Some(80));
    assert!(text.lines().count() <= 23 && widest(&text) <= 80, "{text}");
    assert!(!text.contains("left out"), "{text}");
    snapshot("at_80_columns", &text);
}

#[test]
fn a_narrow_screen_has_what_matters() {
    let text = report().text(&arguments(""), Some(40));
    assert!(widest(&text) <= 40, "{text}");
    snapshot("at_40_columns", &text);
}

#[test]
fn a_pipe_has_every_text_whole() {
    let text = report().text(&arguments(""), None);
    assert!(text.contains("AI_IMAGE_GENERATOR_EXTENDED_EDITION"), "{text}");
}

#[test]
fn a_comparison_has_the_changes() {
    let range = Range::new(FROM - 7 * 86_400, FROM + 3_600 - 7 * 86_400).unwrap();
    let earlier_error = FinishedJobs {
        source: Some("default".into()),
        job_type: Some("FACE_SWAP".into()),
        error_code: Some("no_source_face".into()),
        ..jobs(Some("video"), 0, 20, 1.0)
    };
    let compared = Compared {
        range,
        jobs: jobs(None, 1_900, 101, 50.0),
        durations: vec![jobs(Some("image"), 900, 40, 9.0), jobs(Some("video"), 1_000, 61, 120.0)],
        errors: vec![earlier_error],
    };
    let text = Report { compared: Some(compared), ..report() }.text(&arguments("--compare -7d"), Some(80));
    assert!(widest(&text) <= 80, "{text}");
    snapshot("compared_at_80_columns", &text);
}

#[test]
fn names_are_readable_however_narrow_the_screen() {
    let mut narrow = report();
    narrow.durations.by = vec![Dimension::Resource, Dimension::JobType];
    for group in &mut narrow.durations.rows {
        group.job_type = Some("AI_IMAGE_GENERATOR".into());
    }
    let compared =
        Compared { range: narrow.range, jobs: jobs(None, 1, 1, 1.0), durations: Vec::new(), errors: Vec::new() };
    let text = Report { compared: Some(compared), ..narrow }.text(&arguments(""), Some(40));
    assert!(text.contains("video     AI_IMAGE_GE") && widest(&text) <= 40, "{text}");
}

#[test]
fn an_empty_range_says_what_to_do() {
    let mut empty = report();
    empty.summary.jobs = FinishedJobs::NONE;
    snapshot("empty", &empty.text(&arguments(""), Some(80)));
    let text = empty.text(&arguments("--source nobody --job-type X"), Some(80));
    assert!(text.contains("Or leave out --source --job-type\n"), "{text}");
    assert!(widest(&empty.text(&arguments(""), Some(40))) <= 40);
}

#[test]
fn texts_from_outside_stay_in_their_cell() {
    let mut hostile = report();
    let texts =
        ["FACE\u{1b}[2J\nSWAP", "\u{9b}1m\r\u{202e}txt\u{2028}", "動画生成動画生成動画生成動画生成動画生成", ""];
    hostile.errors.rows = texts.iter().map(|text| error(text, text, text, 3)).collect();
    hostile.durations.rows = texts.iter().map(|text| jobs(Some(text), 3, 1, 2.0)).collect();
    for screen in [Some(80), Some(40), None] {
        let text = hostile.text(&arguments(""), screen);
        assert!(!text.contains(|character: char| character != '\n' && character.is_control()), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text:?}");
        assert!(screen.is_none_or(|screen| widest(&text) <= screen), "{text}");
    }
    snapshot("hostile_at_80_columns", &hostile.text(&arguments(""), Some(80)));
}
