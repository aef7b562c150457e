use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use super::printable::Printable;

static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output, control characters escaped. Once that has failed, nothing is written any more: a reader that has read enough, such as
/// `head`, ends no command, and [`finish`](super::finish) reports any other failure.
pub fn print(text: impl Display) {
    if FAILURE.get().is_none()
        && let Err(error) = write!(io::stdout().lock(), "{}", Printable(text))
    {
        let _ = FAILURE.set(error);
    }
}

/// Writes a line to standard output, see [`print()`].
pub fn print_line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// The size of the terminal that standard output goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Cells of a line.
    pub columns: usize,
    /// Lines, of which the cursor takes one.
    pub lines: usize,
}

impl Screen {
    /// The size now; none where standard output is no terminal.
    pub fn now() -> Option<Self> {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return None;
        }
        let size = terminal_size::terminal_size_of(&stdout);
        let size = size.map(|(columns, lines)| Self { columns: columns.0.into(), lines: lines.0.into() });
        // A terminal that does not know its size, such as a serial line.
        Some(size.unwrap_or(Self { columns: 80, lines: 24 }))
    }
}

/// Shows a text in place of all that the terminal shows, see [`print()`].
pub fn redraw(text: impl Display) {
    const HOME_AND_CLEAR: &[u8] = b"\x1b[H\x1b[2J";
    if FAILURE.get().is_none()
        && let Err(error) = io::stdout().lock().write_all(HOME_AND_CLEAR)
    {
        let _ = FAILURE.set(error);
    }
    print(text);
    let _ = io::stdout().flush();
}

/// Whether nobody reads what is printed any more: who prints without an end should stop then, and [`finish`](super::finish) says why.
pub fn is_closed() -> bool {
    if FAILURE.get().is_none()
        && let Err(error) = io::stdout().flush()
    {
        let _ = FAILURE.set(error);
    }
    FAILURE.get().is_some()
}

/// Fails if some of what was printed is lost and nobody wanted that.
pub(super) fn flush() -> anyhow::Result<()> {
    let flushed = io::stdout().flush().err();
    match FAILURE.get().or(flushed.as_ref()) {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            anyhow::bail!("cannot write to standard output: {error}")
        }
        Some(_) | None => Ok(()),
    }
}
