use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyEvent;

use super::super::overview::Pipeline;
use super::super::text::sample::overview;
use super::*;
use crate::query::pipeline::Unreachable;

const HINT: &str = "every 5s  q ends";

/// The screen as text, without the blanks at the ends of the lines.
fn drawn(overview: Option<&Overview>, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, overview, HINT)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(width.max(1)));
    let rows = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned());
    rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Nothing is known: the listeners and ClickHouse are away, and always were.
fn unknown() -> Overview {
    let silent =
        |port: u16| Unreachable { url: format!("http://127.0.0.1:{port}/metrics"), error: "connection refused".into() };
    Overview {
        pipeline: Some(Pipeline {
            unreachable: vec![silent(9081), silent(9082)],
            rates_over_seconds: None,
            ingest: None,
            processors: None,
        }),
        tables: None,
        clickhouse_error: Some("ClickHouse at http://127.0.0.1:8123, database hookline: connection refused".into()),
        ..overview()
    }
}

#[test]
fn the_documentation_is_up_to_date() {
    let screen = drawn(Some(&overview()), 80, 24);
    assert!(!screen.contains("lines more"), "{screen}");
    hookline_testkit::docs::assert_section("top.md", "screen", &format!("```text\n{screen}\n```"));
}

#[test]
fn a_low_screen_says_how_much_it_leaves_out() {
    insta::assert_snapshot!("narrow", drawn(Some(&overview()), 40, 12));
}

#[test]
fn what_is_not_known_is_a_dash_and_never_0() {
    let screen = drawn(Some(&unknown()), 80, 24);
    for named in ["http://127.0.0.1:9081/metrics", "http://127.0.0.1:9082/metrics", "ClickHouse at"] {
        assert!(screen.contains(named), "{named}:\n{screen}");
    }
    let figures: Vec<_> =
        screen.lines().skip_while(|line| line.starts_with('!') || line.starts_with("as of")).collect();
    let figures = figures.join("\n");
    let figures = ["401", "503", "p50", "p95"].into_iter().fold(figures, |figures, name| figures.replace(name, ""));
    assert!(figures.contains('–') && !figures.contains(|character: char| character.is_ascii_digit()), "{figures}");
    let first = drawn(None, 80, 24);
    assert!(first.starts_with("asking") && !first.contains('0'), "{first}");
    let unset = drawn(Some(&Overview { pipeline: None, ..overview() }), 80, 24);
    assert!(unset.contains("serve.admin_urls") && unset.contains("lag – s"), "{unset}");
    assert!(unset.contains("12,345"), "the tables are known:\n{unset}");
}

#[test]
fn figures_of_before_stay_with_their_time() {
    let mut away = overview();
    away.as_of.0 += 75_000;
    away.clickhouse_error = Some("ClickHouse at h: refused".into());
    let screen = drawn(Some(&away), 80, 30);
    assert!(screen.contains("12,345") && screen.contains("! jobs and dead letters are those of 09:40:00"), "{screen}");
    assert!(!drawn(Some(&overview()), 80, 30).contains("those of"), "the control");
}

#[test]
fn a_rate_that_is_not_0_is_not_shown_as_0() {
    let screen = drawn(Some(&overview()), 80, 24);
    assert!(screen.contains("<0.1 dead letters") && screen.contains("0 refused (503)"), "{screen}");
}

#[test]
fn every_size_and_every_text_can_be_drawn() {
    let mut odd = overview();
    let text = "\u{1b}[2J\r\n\u{202e}動画".repeat(9);
    odd.clickhouse_error = Some(text.clone());
    if let Some(tables) = &mut odd.tables {
        tables.dead_letters[0].reason.clone_from(&text);
        tables.resources[0].resource = Some(text.clone());
        tables.open[0].resource = text;
    }
    for overview in [odd, overview(), unknown()] {
        for width in 0..100 {
            for height in [0, 1, 2, 12, 50] {
                let screen = drawn(Some(&overview), width, height);
                let is_control =
                    |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
                assert!(!screen.contains(is_control), "{width}x{height}: {screen:?}");
            }
        }
        let plain = super::super::plain(&overview, None);
        assert!(!plain.contains(['\u{1b}', '\r', '\u{202e}']), "{plain:?}");
    }
}

#[test]
fn q_escape_and_control_c_end_it() {
    let key = |code, modifiers| ends(&Event::Key(KeyEvent::new(code, modifiers)));
    assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
    assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    assert!(!ends(&Event::Resize(1, 1)));
}
