//! Reads values into their types, and says in people's words which of them have the wrong one.

use ::config::{Config, Value, ValueKind};

use super::keys::{Key, is_placeholder};
use super::{ConfigError, Settings, Variables};

/// Reads the values; where one cannot be read, returns its path and what is wrong with it.
pub(super) fn read_settings<T: Settings>(merged: &Config, known: &[Key]) -> Result<T, (String, ConfigError)> {
    serde_path_to_error::deserialize(merged.clone()).map_err(|error| {
        let path = error.path().to_string();
        let found = merged.get::<Value>(&path).ok().map(|value| value.kind);
        match (known.iter().find(|key| key.is_within(&path)), found) {
            // The value may be a secret that stands one level too high, so it is not shown.
            (Some(key), Some(found)) if !key.is_at(&path) && !matches!(found, ValueKind::Table(_)) => {
                let example = key.path.split('.').nth(path.split('.').count()).unwrap_or_default();
                let reason = format_args!("expected a table with keys such as {example}, found a single value");
                let mistake = ConfigError::unreadable(&path, reason);
                (path, mistake)
            }
            (key, found) => {
                let key = key.filter(|key| key.is_at(&path));
                let mistake = ConfigError::unreadable(&path, reason(error.inner(), found.as_ref(), key));
                let text = error.inner().to_string();
                // The path of an unknown key may be that of its section.
                let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
                let path = match unknown {
                    Some((name, _)) if path == name || path.ends_with(&format!(".{name}")) => path,
                    Some((name, _)) if path == "." => name.to_owned(),
                    Some((name, _)) => format!("{path}.{name}"),
                    None => path,
                };
                (path, mistake)
            }
        }
    })
}

/// A name that differs in so many letters from that of a key is a misspelt one.
const MISSPELT: usize = 2;

/// Names variables that would be ignored and were meant for a key of this program: the underscores are not those of the key, or
/// a letter or two. What resembles no key may be anybody's: Kubernetes sets `HOOKLINE_INGEST_PORT` for a service of that name.
pub(super) fn misspelt_variables<T: Settings>(known: &[Key], environment: &Variables) -> Vec<ConfigError> {
    let own = format!("HOOKLINE_{}__", T::BINARY);
    let keys: Vec<_> = known.iter().map(|key| (pattern::<T>(key), T::variable(&key.path))).collect();
    let meant = |name: &str| {
        let single = name.replace("__", "_");
        let near = keys.iter().map(|(pattern, key)| (edits(pattern, &single), key)).min()?;
        // What begins as a key's variable does is read as one, and refused where there is no such key.
        (near.0 <= MISSPELT && !name.starts_with(&own)).then_some(near.1)
    };
    let mut wrong: Vec<_> = environment.keys().filter_map(|name| Some((name, meant(&name.to_uppercase())?))).collect();
    wrong.sort();
    let mistake = |(name, key)| ConfigError::invalid(name, format_args!("no key has this variable, expected {key}"));
    wrong.into_iter().map(mistake).collect()
}

/// Stands for a name that the user chooses.
const ANY: &str = "*";

/// The variable of a key with single underscores.
fn pattern<T: Settings>(key: &Key) -> String {
    let path = key.path.split('.').map(|name| if is_placeholder(name) { ANY.into() } else { name.to_uppercase() });
    path.fold(format!("HOOKLINE_{}", T::BINARY), |variable, name| variable + "_" + &name)
}

/// In how many letters a variable differs from the pattern of a key.
fn edits(pattern: &str, name: &str) -> usize {
    let words = |text: &'_ str| text.split('_').map(str::to_owned).collect::<Vec<_>>();
    if pattern.contains(ANY) {
        word_edits(&words(pattern), &words(name))
    } else {
        strsim::damerau_levenshtein(pattern, name)
    }
}

/// The same by words; a name that the user chooses may have several.
fn word_edits(pattern: &[String], name: &[String]) -> usize {
    match (pattern, name) {
        ([], []) => 0,
        ([any, rest @ ..], [_, names @ ..]) if any == ANY => word_edits(rest, names).min(word_edits(pattern, names)),
        ([word, rest @ ..], [name, names @ ..]) => {
            strsim::damerau_levenshtein(word, name).saturating_add(word_edits(rest, names))
        }
        ([], [_, ..]) | ([_, ..], []) => usize::MAX,
    }
}

/// Says what is wrong with a value of the wrong type or form. A text is never shown, since it may be a secret in the wrong place.
fn reason(error: &::config::ConfigError, found: Option<&ValueKind>, key: Option<&Key>) -> String {
    /// How messages begin that tell no value, but the name of a key or of a form. Types with a form of their own say "expected".
    const WITHOUT_VALUES: [&str; 4] = ["unknown field", "missing field", "invalid socket address syntax", "expected "];
    let found = match found {
        Some(ValueKind::String(text)) if text.parse::<f64>().is_ok() => format!("{text}, "),
        Some(number @ (ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::Float(_))) => {
            format!("{number}, ")
        }
        _ => String::new(),
    };
    let text = error.to_string();
    let said = text.lines().next().filter(|text| WITHOUT_VALUES.iter().any(|start| text.starts_with(start)));
    match (said, key) {
        (Some(said), _) if said.starts_with("invalid socket") => {
            "expected an IP address and a port, such as 127.0.0.1:8080".to_owned()
        }
        (Some(said), _) => said.to_owned(),
        (None, Some(key)) => format!("{found}expected {}", key.expected()),
        (None, None) => format!("{found}a value of the wrong type"),
    }
}
