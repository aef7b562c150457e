use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
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
