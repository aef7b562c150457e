//! Where the keys of a file stand in it.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{Value, ValueKind};
use toml::de::{DeTable, DeValue};

/// The lines of a file, by the paths of the keys and tables that begin there.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: String,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// The places in a file that could be read; none in another.
    pub fn of_file(path: &Path, text: &str) -> Self {
        let mut places = Self { file: path.display().to_string(), lines: BTreeMap::new() };
        if let Ok(table) = DeTable::parse(text) {
            places.collect("", table.get_ref(), text);
        }
        places
    }

    fn collect(&mut self, section: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
            let before = text.get(..key.span().start).unwrap_or_default();
            self.lines.insert(path.clone(), before.matches('\n').count() + 1);
            if let DeValue::Table(table) = value.get_ref() {
                self.collect(&path, table, text);
            }
        }
    }

    /// Where the file sets `path`.
    pub fn of(&self, path: &str) -> Option<String> {
        self.lines.get(path).map(|line| format!("line {line} of {}", self.file))
    }
}

/// Takes the value of `path` away. Returns false where there is none.
pub(super) fn remove(value: &mut Value, path: &str) -> bool {
    let ValueKind::Table(table) = &mut value.kind else { return false };
    if table.remove(path).is_some() {
        return true;
    }
    let Some((first, rest)) = path.split_once('.') else { return false };
    table.get_mut(first).is_some_and(|value| remove(value, rest))
}
