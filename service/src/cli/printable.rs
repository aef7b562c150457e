//! Makes text safe for a terminal. Job types, error codes and details are the provider's or a foreign producer's, and a
//! terminal obeys the control characters in them: it moves the cursor, hides lines or answers into the shell.

use std::fmt::{self, Display, Write};

/// Shows control characters as `\u001b`, except for line ends and tabs. JSON that is written so has the same value: it has
/// control characters only within strings.
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, keeps: &['\n', '\t'] }, "{}", self.0)
    }
}

/// Shows a text from outside in one line, as for the cell of a table: without any control character.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    // Writing into a String cannot fail.
    let _ = Escaping { to: &mut printable, keeps: &[] }.write_str(text);
    printable
}

struct Escaping<'w, W> {
    to: &'w mut W,
    keeps: &'static [char],
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let escaped = |character: char| is_control(character) && !self.keeps.contains(&character);
        let mut rest = text;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| escaped(*character)) {
            let (before, after) = rest.split_at(at);
            write!(self.to, "{before}\\u{:04x}", u32::from(character))?;
            rest = after.strip_prefix(character).unwrap_or_default();
        }
        self.to.write_str(rest)
    }
}

/// Whether a terminal could obey it: C0, DEL, C1, line separators, and what turns the direction of the text that follows.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_left() {
        let every: String = ('\0'..=char::MAX).collect();
        assert!(!printable(&every).chars().any(is_control));
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{9b}\u{202e}ü"), "a\\u001b[2J\\u000d\\u000ab\\u009b\\u202eü");
        assert_eq!(Printable("a\u{1b}\n\tb\r").to_string(), "a\\u001b\n\tb\\u000d");
        assert_eq!(Printable("größer – 5 %\n").to_string(), "größer – 5 %\n");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{7f}": "\u{1b}[1m\u{85}\u{202e}\n\\" });
        let printed = Printable(serde_json::to_string_pretty(&value).unwrap()).to_string();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
        assert!(!printed.chars().any(|character| character != '\n' && is_control(character)));
    }
}
