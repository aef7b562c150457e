use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::ConfigError;

/// What is shown in a secret's place.
const MASK: &str = "***";

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

    /// Reads a secret from a file and drops one line end, which editors add.
    pub fn read(key: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::invalid(key, format_args!("cannot read {}: {error}", path.display())))?;
        let secret = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() {
            return Err(ConfigError::invalid(key, format_args!("{} is empty", path.display())));
        }
        Ok(Self(secret.into()))
    }

    /// The secret that was given in one of two ways; both at once is an error.
    pub fn either(key: &str, value: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        match (value, file) {
            (Some(_), Some(_)) => {
                Err(ConfigError::invalid(key, format_args!("is given twice: by the environment and by {key}_file")))
            }
            (Some(value), None) => Ok(Some(value.clone())),
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

/// A URL with its user information and its query masked: either may hold a password.
pub fn mask_url(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    // A password may hold a slash, so everything up to the last @ is hidden.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{query}").into(),
        None if query.is_empty() => text.into(),
        None => format!("{scheme}://{rest}{query}").into(),
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
    }

    #[test]
    fn urls_are_shown_without_what_may_be_a_password() {
        for (url, shown) in [
            ("http://127.0.0.1:8123", "http://127.0.0.1:8123"),
            ("http://me:pw@host:1/p", "http://***@host:1/p"),
            ("http://me:p/w@x@host", "http://***@host"),
            ("http://host/?password=pw", "http://host/?***"),
            ("http://me@host?a=@b", "http://***@host?***"),
            ("127.0.0.1:9092,b@c", "127.0.0.1:9092,b@c"),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }
}
