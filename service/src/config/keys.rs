//! Every key of a configuration, from the types that hold it: their doc comments, types, bounds and shared names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::secret::MASK;
use super::{ConfigError, Settings, mask_url, shown_path};
use crate::clickhouse::check_url;
use crate::kafka::check_servers;

/// The attribute of a field that names the environment variable it shares with other programs.
const SHARED_NAME: &str = "x-environment";

/// A key that holds a value; sections are only part of its path.
#[derive(Debug)]
pub(super) struct Key {
    /// Sections and name, with a word in capitals for a name that the user chooses.
    pub path: String,
    section_meaning: String,
    meaning: String,
    schema: Value,
    default: Value,
    value: Value,
    /// Where the value comes from, if it is not the default.
    pub origin: Option<String>,
}

/// The keys of `settings`, sorted by their paths.
pub(super) fn keys<T: Settings>(settings: &T) -> Result<Vec<Key>, ConfigError> {
    let inline = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = inline.into_generator().into_root_schema_for::<T>().to_value();
    let value = |settings| serde_json::to_value(settings).map_err(|error| ConfigError::invalid("(top level)", error));
    let mut keys = Vec::new();
    collect(&schema, String::new(), "", &value(&T::default())?, &value(settings)?, &mut keys);
    Ok(keys)
}

/// The value of every key, by its path.
pub(super) fn values<T: Settings>(settings: &T) -> Result<BTreeMap<String, Value>, ConfigError> {
    Ok(keys(settings)?.into_iter().map(|key| (key.path, key.value)).collect())
}

fn collect(schema: &Value, path: String, section: &str, default: &Value, value: &Value, keys: &mut Vec<Key>) {
    let meaning =
        at(schema, "description").as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    // An optional value is either its type or null.
    let mut alternatives = at(schema, "anyOf").as_array().into_iter().flatten();
    let schema = alternatives.find(|schema| at(schema, "type") != "null").unwrap_or(schema);
    let child = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let inside = if path.is_empty() { String::new() } else { format!("{section} {meaning}").trim().to_owned() };
    if let Some(fields) = at(schema, "properties").as_object() {
        for (name, field) in fields {
            collect(field, child(name), &inside, at(default, name), at(value, name), keys);
        }
    } else if at(schema, "additionalProperties").is_object() {
        let placeholder = path.rsplit('.').next().unwrap_or_default().trim_end_matches('s').to_uppercase();
        let named = value.as_object().filter(|named| !named.is_empty());
        let names = named.map_or(vec![&placeholder], |named| named.keys().collect());
        for name in names {
            collect(at(schema, "additionalProperties"), child(name), &inside, &Value::Null, at(value, name), keys);
        }
    } else {
        let (section_meaning, schema) = (section.to_owned(), schema.clone());
        let (default, value) = (default.clone(), value.clone());
        keys.push(Key { path, section_meaning, meaning, schema, default, value, origin: None });
    }
}

/// The member of an object, or null.
fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

impl Key {
    pub fn is_secret(&self) -> bool {
        at(&self.schema, "writeOnly") == true
    }

    pub fn shared_name(&self) -> Option<&str> {
        at(&self.schema, SHARED_NAME).as_str()
    }

    /// Whether `path` is this key's, or that of a section around it.
    pub fn is_within(&self, path: &str) -> bool {
        let mut own = self.path.split('.');
        path.split('.').all(|name| own.next().is_some_and(|own| own == name || is_placeholder(own)))
    }

    /// Whether `path` is this key's own.
    pub fn is_at(&self, path: &str) -> bool {
        self.is_within(path) && path.split('.').count() == self.path.split('.').count()
    }

    /// What values the key can have, for people.
    pub fn kind(&self) -> String {
        if let Some(choices) = at(&self.schema, "enum").as_array() {
            let choices: Vec<_> = choices.iter().filter_map(Value::as_str).collect();
            return format!("one of {}", choices.join(", "));
        }
        if self.is_secret() {
            return "secret".into();
        }
        let is_a = |kind: &str| {
            at(&self.schema, "type") == kind || at(&self.schema, "type").get(0).is_some_and(|first| first == kind)
        };
        match self.bounds() {
            _ if is_a("boolean") => "true or false".into(),
            _ if !is_a("integer") => "text".into(),
            (0, None) => "whole number".into(),
            (least, None) => format!("whole number, at least {least}"),
            (0, Some(most)) => format!("whole number, at most {most}"),
            (least, Some(most)) => format!("whole number, {least} to {most}"),
        }
    }

    /// What a message says that a value should be, with the default as an example where that is a number.
    pub fn expected(&self) -> String {
        let kind = self.kind();
        let article = if kind.starts_with("whole number") { "a " } else { "" };
        match &self.default {
            Value::Number(number) => format!("{article}{kind}, such as {number}"),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                article.to_owned() + &kind
            }
        }
    }

    fn bounds(&self) -> (u64, Option<u64>) {
        (at(&self.schema, "minimum").as_u64().unwrap_or(0), at(&self.schema, "maximum").as_u64())
    }

    /// Checks the bounds that the types of numbers do not have by themselves.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (least, most) = self.bounds();
        match self.value.as_u64() {
            Some(value) if value < least || most.is_some_and(|most| value > most) => {
                let reason = format_args!("{value}, expected {}", self.expected());
                Err(ConfigError::invalid(&self.path, reason))
            }
            _ => Ok(()),
        }
    }

    fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }
}

pub(super) fn is_placeholder(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The configuration as a file that sets every key to the value it has, with the meaning and the origin of each.
pub(super) fn to_toml(keys: &[Key]) -> String {
    let mut text = String::new();
    let mut current = "";
    for key in keys {
        let (section, name) = key.split();
        if section != current {
            current = section;
            let gap = if text.is_empty() { "" } else { "\n" };
            let mark = if section.split('.').any(is_placeholder) { "# " } else { "" };
            let _ = writeln!(text, "{gap}# {}\n{mark}[{section}]", key.section_meaning);
        }
        let (meaning, kind) = (&key.meaning, key.kind());
        let origin = key.origin.as_deref().unwrap_or("default");
        let _ = writeln!(text, "# {meaning} ({kind})");
        let _ = match &key.value {
            value if value.is_null() => writeln!(text, "# {name} =  # not set"),
            value if key.is_secret() => writeln!(text, "# {name} = {value}  # {origin}"),
            value => writeln!(text, "{name} = {}  # {origin}", shown(name, value)),
        };
    }
    text
}

/// A section of `docs/configuration.md`: a table for each section of the configuration, with the defaults.
pub fn to_markdown<T: Settings>() -> Result<String, ConfigError> {
    let mut text = String::new();
    let mut current = String::new();
    for key in keys(&T::default())? {
        let (section, name) = key.split();
        if section != current {
            current = section.to_owned();
            let _ = write!(
                text,
                "\n### `[{section}]`\n\n{}\n\n| key | type | default | meaning | environment |\n|---|---|---|---|---|\n",
                key.section_meaning
            );
        }
        let default = if key.default.is_null() { "–".into() } else { format!("`{}`", shown(name, &key.default)) };
        let shared = key.shared_name().map(|name| format!("`{name}`, ")).unwrap_or_default();
        let (kind, meaning, variable) = (key.kind(), &key.meaning, T::variable(&key.path));
        let _ = writeln!(text, "| `{name}` | {kind} | {default} | {meaning} | {shared}`{variable}` |");
    }
    Ok(text)
}

/// The value of the key `name`, without what may be a password. It may not have been checked yet.
fn shown(name: &str, value: &Value) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let shown = match name {
        "url" if check_url(text).is_err() && !text.contains("://") => MASK.into(),
        "bootstrap_servers" if check_servers(text).is_err() => MASK.into(),
        _ if name.ends_with("file") || name.ends_with("location") => shown_path(Path::new(text)),
        _ => mask_url(text),
    };
    // A string of JSON is a basic string of TOML.
    Value::from(shown).to_string()
}
