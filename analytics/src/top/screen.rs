//! The overview on the whole terminal, drawn anew with each answer, until a key or a signal ends it.

use std::time::Duration;

use anyhow::Context as _;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::arguments::TopArgs;
use super::asking::Asking;
use super::overview::Overview;
use super::text::{Line, Weight, lines};

/// The terminal as it was: leaves raw mode and the alternate screen, however the function ends. A panic does so before its message.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // The terminal itself may be gone.
        let _ = ratatui::try_restore();
    }
}

pub async fn show(asking: Asking, arguments: &TopArgs) -> anyhow::Result<()> {
    // Before the terminal is changed, so that no signal finds it changed and unhandled.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let restored = Restored;
    let mut terminal = ratatui::try_init().context("cannot draw on the terminal: `top --once` prints the same once")?;
    let hint = format!("every {:?}  q ends", arguments.interval);
    let (sender, mut overviews) = watch::channel(None);
    let mut asked = tokio::spawn(ask_at_intervals(asking, arguments.interval, sender));
    let mut events = events();
    loop {
        terminal.draw(|frame| draw(frame, overviews.borrow_and_update().as_ref(), &hint))?;
        tokio::select! {
            Ok(()) = overviews.changed() => {}
            Some(event) = events.recv() => if ends(&event) { break },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => break,
            ended = &mut asked => return ended.context("the questions ended by an error of the program"),
        }
    }
    drop(restored);
    Ok(())
}

async fn ask_at_intervals(mut asking: Asking, interval: Duration, overviews: watch::Sender<Option<Overview>>) {
    asking.begin().await;
    loop {
        let overview = asking.ask().await;
        if overviews.send(Some(overview)).is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

/// What is typed, and changes of the size. The thread is not waited for: it ends with the process.
fn events() -> mpsc::UnboundedReceiver<Event> {
    let (sender, events) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    events
}

/// Whether the user wants the command to end. Raw mode makes a key of Ctrl-C.
fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (control_c || matches!(key.code, KeyCode::Esc | KeyCode::Char('q' | 'Q')))
}

fn draw(frame: &mut Frame<'_>, overview: Option<&Overview>, hint: &str) {
    let area = frame.area();
    render(overview, hint, area, frame.buffer_mut());
}

fn render(overview: Option<&Overview>, hint: &str, area: Rect, buffer: &mut Buffer) {
    let lines = match overview {
        Some(overview) => lines(overview, Some(hint), Some(area.width.into())),
        None => vec![Line::plain(format!("asking ClickHouse and the listeners …  {hint}"))],
    };
    for (line, y) in cropped(lines, area.height.into()).into_iter().zip(area.y..area.bottom()) {
        let style = match line.weight {
            Weight::Plain => Style::new(),
            Weight::Heading => Style::new().add_modifier(Modifier::BOLD),
            Weight::Problem => Style::new().add_modifier(Modifier::REVERSED),
        };
        buffer.set_stringn(area.x, y, line.text, area.width.into(), style);
    }
}

/// The lines that fit the terminal, and how many more there are.
fn cropped(mut lines: Vec<Line>, height: usize) -> Vec<Line> {
    if lines.len() > height {
        let shown = height.saturating_sub(1);
        let more = lines.len() - shown;
        lines.truncate(shown);
        lines.push(Line::plain(format!("… {more} lines more")));
    }
    lines
}

#[cfg(test)]
mod tests;
