use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::ConfigError;

/// What is shown in a secret's place.
pub(super) const MASK: &str = "***";
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value that is never shown: its `Debug` and its serialised form are `***`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text so that it is not shown by accident.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that signs or logs in with it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the secret that `key` gives, less one line end, which editors and shells add. What else they add, and nobody sees,
    /// is refused: it would be part of the secret.
    pub fn parse(key: &str, text: &str) -> Result<Self, ConfigError> {
        let secret = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        let reason = if secret.is_empty() {
            "the secret is empty"
        } else if secret.starts_with(BYTE_ORDER_MARK) {
            "the secret begins with a byte order mark, which an editor has added: remove it"
        } else if secret.trim() != secret {
            "the secret begins or ends with white space: remove it"
        } else {
            return Ok(Self(secret.into()));
        };
        Err(ConfigError::invalid(key, reason))
    }

    /// Reads a secret from a file, see [`Secret::parse`].
    pub fn read(key: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::invalid(key, format_args!("cannot read {}: {error}", shown_path(path))))?;
        Self::parse(key, &text)
    }

    /// The secret that was given in one of two ways; both at once is an error. An empty value is none.
    pub fn either(key: &str, value: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        match (value.filter(|value| !value.0.is_empty()), file) {
            (Some(_), Some(_)) => {
                Err(ConfigError::invalid(key, format_args!("is given twice: by the environment and by {key}_file")))
            }
            (Some(value), None) => Self::parse(key, &value.0).map(Some),
            (None, Some(path)) => Self::read(&format!("{key}_file"), path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// A path for messages. It is masked unless its folder exists: somebody may have written a secret where the path of its file
/// belongs.
pub fn shown_path(path: &Path) -> Cow<'_, str> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_path = folder.map_or_else(|| path.exists(), Path::is_dir);
    if is_path { path.to_string_lossy() } else { MASK.into() }
}

/// A URL with its user information and its query masked: either may hold a password.
pub fn mask_url(text: &str) -> Cow<'_, str> {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let (rest, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(rest, _)| (rest, "?***"));
    // A password may hold a slash, so everything up to the last @ is hidden.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}{MASK}@{host}{query}").into(),
        None if query.is_empty() => text.into(),
        None => format!("{scheme}{separator}{rest}{query}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_one_place_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "mhw_live_x\n").unwrap();
        let secret = Secret::either("k", None, Some(&path)).unwrap().unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}")), ("mhw_live_x", "***".into()));
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        assert!(Secret::either("k", Some(&secret), Some(&path)).is_err());
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read("k", &path).unwrap_err().to_string().contains("is empty"));
        let nothing = Secret::new("");
        assert_eq!(Secret::either("k", Some(&nothing), None).unwrap(), None);
    }

    #[test]
    fn what_nobody_sees_is_no_part_of_a_secret() {
        for (given, result) in [
            ("mhw_live_x", Ok("mhw_live_x")),
            ("mhw_live_x\n", Ok("mhw_live_x")),
            ("mhw_live_x\r\n", Ok("mhw_live_x")),
            ("mhw live x", Ok("mhw live x")),
            ("mhw_live_x\n\n", Err("white space")),
            ("mhw_live_x ", Err("white space")),
            ("\tmhw_live_x", Err("white space")),
            ("\u{feff}mhw_live_x", Err("byte order mark")),
            ("", Err("empty")),
            ("\n", Err("empty")),
        ] {
            let variable = Secret::either("k", Some(&Secret::new(given)), None);
            for parsed in [Secret::parse("k", given), variable.map(Option::unwrap_or_default)] {
                match (&parsed, result) {
                    (Ok(secret), Ok(expected)) => assert_eq!(secret.expose(), expected),
                    (Ok(secret), Err(_)) => assert_eq!((secret.expose(), given), ("", "")),
                    (Err(error), Err(part)) => {
                        let text = error.to_string();
                        assert!(text.contains(part) && !text.contains("mhw"), "{text}");
                    }
                    (Err(error), Ok(_)) => panic!("{given:?}: {error}"),
                }
            }
        }
    }

    #[test]
    fn a_path_is_shown_where_its_folder_exists() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert_eq!(shown_path(&missing), missing.to_str().unwrap());
        for secret in ["mhw_live_x", "mhw/live/x", "/mhw/live_x"] {
            assert_eq!(shown_path(Path::new(secret)), "***");
        }
    }

    #[test]
    fn urls_are_shown_without_what_may_be_a_password() {
        for (url, shown) in [
            ("http://127.0.0.1:8123", "http://127.0.0.1:8123"),
            ("http://me:pw@host:1/p", "http://***@host:1/p"),
            ("http://me:p/w@x@host", "http://***@host"),
            ("http://host/?password=pw", "http://host/?***"),
            ("http://me@host?a=@b", "http://***@host?***"),
            ("127.0.0.1:9092,b", "127.0.0.1:9092,b"),
            ("127.0.0.1:9092,me:pw@c", "***@c"),
            ("host#pw", "host?***"),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }
}
