//! Columns that fit a screen: the least important are left out, long texts are cut, and every row is one line.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Cells between columns.
const GAP: usize = 2;
/// A column of text is not made narrower than this as long as another column can be left out.
const READABLE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text, which may be cut.
    Left,
    /// A number, which is shown whole.
    Right,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub header: &'static str,
    pub align: Align,
    /// Where the screen is too narrow, the column with the largest is left out first, and one with 0 never.
    pub dispensable: u8,
    pub cells: Vec<String>,
}

impl Column {
    pub const fn text(header: &'static str, dispensable: u8, cells: Vec<String>) -> Self {
        Self { header, align: Align::Left, dispensable, cells }
    }

    pub const fn number(header: &'static str, dispensable: u8, cells: Vec<String>) -> Self {
        Self { header, align: Align::Right, dispensable, cells }
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).chain([self.header.width()]).max().unwrap_or_default()
    }

    /// The width that the column is content with, if need be.
    fn least(&self) -> usize {
        match self.align {
            Align::Left => self.width().min(READABLE),
            Align::Right => self.width(),
        }
    }
}

/// Renders a table no wider than the screen, and names the columns that were left out for that.
pub fn table(mut columns: Vec<Column>, screen: Option<usize>) -> (String, Vec<&'static str>) {
    let screen = screen.unwrap_or(usize::MAX);
    let needed = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let mut left_out = Vec::new();
    while needed(&columns.iter().map(Column::least).collect::<Vec<_>>()) > screen
        && let Some((at, column)) = columns.iter().enumerate().rev().max_by_key(|(_, column)| column.dispensable)
        && column.dispensable > 0
    {
        left_out.push(columns.remove(at).header);
    }
    let mut widths: Vec<_> = columns.iter().map(Column::width).collect();
    let is_text = |column: &Column| column.align == Align::Left;
    while needed(&widths) > screen {
        let texts = widths.iter_mut().zip(&columns).filter(|(_, column)| is_text(column)).map(|(width, _)| width);
        match texts.max() {
            Some(widest @ 2..) => *widest -= 1,
            _ => break,
        }
    }

    let mut out = String::new();
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or_default();
    for row in 0..=rows {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            let cell = if row == 0 { column.header } else { column.cells.get(row - 1).map_or("", String::as_str) };
            let cell = cut(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if is_text(column) { ("", &*space) } else { (&*space, "") };
            line.push_str(&format!("{before}{cell}{after}{:GAP$}", ""));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    (out, left_out)
}

/// The beginning of a text that fills no more than so many cells of the screen.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 1);
    for character in text.chars() {
        used += character.width().unwrap_or_default();
        if used > width {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// Joins items into lines no wider than the screen.
pub fn lines(items: &[String], screen: Option<usize>) -> String {
    wrapped(items, GAP, screen)
}

/// Joins parts of a sentence into lines no wider than the screen.
pub fn sentence(parts: &[String], screen: Option<usize>) -> String {
    wrapped(parts, 1, screen)
}

fn wrapped(items: &[String], gap: usize, screen: Option<usize>) -> String {
    let (mut out, mut used) = (String::new(), 0);
    for item in items {
        let fits = screen.is_none_or(|screen| used + gap + item.width() <= screen);
        match (used, fits) {
            (0, _) => {}
            (_, true) => {
                out.push_str(&" ".repeat(gap));
                used += gap;
            }
            (_, false) => {
                out.push('\n');
                used = 0;
            }
        }
        out.push_str(item);
        used += item.width();
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(name: &str) -> Vec<Column> {
        vec![
            Column::text("name", 0, vec![name.into(), "b".into()]),
            Column::number("jobs", 0, vec!["1,000".into(), "2".into()]),
            Column::number("p50", 2, vec!["1.5".into(), "20.5".into()]),
            Column::number("p99", 1, vec!["3.5".into(), "4.5".into()]),
        ]
    }

    #[test]
    fn what_fits_is_whole() {
        let (text, left_out) = table(columns("abc"), Some(23));
        assert_eq!(
            text,
            "name   jobs   p50  p99\n\
             abc   1,000   1.5  3.5\n\
             b         2  20.5  4.5\n"
        );
        assert_eq!(left_out, [""; 0]);
    }

    #[test]
    fn columns_are_left_out_before_text_is_unreadable() {
        let long = "a_long_name_of_a_job";
        let (text, left_out) = table(columns(long), Some(26));
        assert_eq!(
            text,
            "name             jobs  p99\n\
             a_long_name_o…  1,000  3.5\n\
             b                   2  4.5\n"
        );
        assert_eq!(left_out, ["p50"]);
        let (text, left_out) = table(columns(long), Some(12));
        assert!(text.lines().all(|line| line.width() <= 12), "{text}");
        assert_eq!(left_out, ["p50", "p99"]);
        assert!(table(columns(long), None).0.contains(long));
    }

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!(cut("動画生成", 8), "動画生成");
        assert_eq!(cut("動画生成", 7), "動画生…");
        assert_eq!(cut("動画生成", 6), "動画…");
        let (text, _) = table(columns("動画生成"), Some(40));
        let ends: Vec<_> = text.lines().map(unicode_width::UnicodeWidthStr::width).collect();
        assert!(ends.iter().all(|end| Some(end) == ends.first()), "{text}");
    }

    #[test]
    fn items_wrap() {
        let items = ["1 finished", "2 errored", "3 open"].map(String::from);
        assert_eq!(lines(&items, Some(21)), "1 finished  2 errored\n3 open\n");
        assert_eq!(sentence(&items, Some(21)), "1 finished 2 errored\n3 open\n");
        assert_eq!(lines(&items, None), "1 finished  2 errored  3 open\n");
    }
}
