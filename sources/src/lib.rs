//! The sources of webhooks: their names, their secrets, and the verification of a signature by any of them.
//!
//! A source may have several secrets, so that the provider's can be changed without refusing anything in between. To reload
//! them, [`Sources::read`] is called again with the same configuration: variables stay, files may have new contents.

#![warn(missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use hookline_schemas::ids::{KeyName, Source};
use hookline_schemas::signature::{NamedKey, SigningKey, Unverified, Verified, VerifyError};
use hookline_service::config::{ConfigError, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A source needs at least one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The secrets of a source have names, which records tell: one as a rule, two while the provider's secret is changed.
    pub keys: BTreeMap<String, KeyConfig>,
}

/// Exactly one of the two keys says where the secret is; the secret itself does not belong here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// The name of the environment variable that holds the secret.
    #[serde(serialize_with = "shown_variable")]
    pub env: Option<String>,
    /// The file that holds the secret; it is read again on SIGHUP.
    pub file: Option<PathBuf>,
}

/// The variable with the name of the only source, where the configuration has no section `[sources]`.
pub const SOURCE_VARIABLE: &str = "HOOKLINE_SOURCE";
/// The variable with the secret of that source.
pub const SECRET_VARIABLE: &str = "HOOKLINE_WEBHOOK_SECRET";

/// A source with its secrets, ready to verify.
#[derive(Clone, Debug)]
pub struct SourceKeys {
    /// The name in the path of its webhooks and in the records.
    pub name: Source,
    /// One for each secret; the name tells in a record which of them signed.
    pub keys: Vec<NamedKey>,
}

/// All sources by their names.
#[derive(Clone, Debug, Default)]
pub struct Sources(HashMap<String, SourceKeys>);

impl Sources {
    /// Reads all secrets from `environment` and from files.
    ///
    /// Fails if a name is malformed, a secret is missing or empty, or there is no source at all.
    pub fn read(
        configured: &BTreeMap<String, SourceConfig>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        if configured.is_empty() {
            return Self::single(environment(SOURCE_VARIABLE), environment(SECRET_VARIABLE));
        }
        let mut sources = HashMap::new();
        for (source, config) in configured {
            let at = format!("sources.{source}");
            let name = Source::new(source).map_err(|error| ConfigError::invalid(&at, error))?;
            if config.keys.is_empty() {
                return Err(ConfigError::invalid(format_args!("{at}.keys"), "a source needs at least one key"));
            }
            let mut keys = Vec::new();
            for (key, origin) in &config.keys {
                let at = format!("{at}.keys.{key}");
                let name = KeyName::new(key).map_err(|error| ConfigError::invalid(&at, error))?;
                let secret = match (&origin.env, &origin.file) {
                    (Some(variable), None) => {
                        let secret = environment(variable).filter(|text| !text.is_empty()).map(Secret::new);
                        secret.ok_or_else(|| {
                            let reason = format_args!("the variable {} is not set or empty", shown(variable));
                            ConfigError::invalid(format_args!("{at}.env"), reason)
                        })?
                    }
                    (None, Some(path)) => Secret::read(&format!("{at}.file"), path)?,
                    (None, None) | (Some(_), Some(_)) => {
                        let reason = "expected either { env = \"NAME\" } or { file = \"PATH\" }";
                        return Err(ConfigError::invalid(at, reason));
                    }
                };
                keys.push(NamedKey { name, key: SigningKey::new(secret.expose()) });
            }
            sources.insert(source.clone(), SourceKeys { name, keys });
        }
        Ok(Self(sources))
    }

    fn single(source: Option<String>, secret: Option<String>) -> Result<Self, ConfigError> {
        let (Some(source), Some(secret)) = (source, secret.filter(|secret| !secret.is_empty())) else {
            let reason =
                format!("none; configure [sources.NAME.keys.KEY] or set {SOURCE_VARIABLE} and {SECRET_VARIABLE}");
            return Err(ConfigError::invalid("sources", reason));
        };
        let name = Source::new(&source).map_err(|error| ConfigError::invalid(SOURCE_VARIABLE, error))?;
        let key = KeyName::new("default").map_err(|error| ConfigError::invalid("sources", error))?;
        let keys = vec![NamedKey { name: key, key: SigningKey::new(&secret) }];
        Ok(Self([(source, SourceKeys { name, keys })].into()))
    }

    /// The source of this name.
    pub fn get(&self, name: &str) -> Option<&SourceKeys> {
        self.0.get(name)
    }

    /// How many secrets there are in all.
    pub fn key_count(&self) -> usize {
        self.0.values().map(|source| source.keys.len()).sum()
    }

    /// All sources, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &SourceKeys> {
        self.0.values()
    }
}

impl SourceKeys {
    /// Verifies a body by the values of its two headers, each of which must be there exactly once.
    pub fn verify<'a, 'k>(
        &'k self,
        timestamp: impl IntoIterator<Item = &'a [u8]>,
        signature: impl IntoIterator<Item = &'a [u8]>,
        body: &'a [u8],
    ) -> Result<Verified<'a, 'k>, VerifyError> {
        let timestamp = only(timestamp, VerifyError::TimestampMissing, VerifyError::TimestampRepeated)?;
        let signature = only(signature, VerifyError::SignatureMissing, VerifyError::SignatureRepeated)?;
        Unverified::new(timestamp, signature, body)?.verify(&self.keys)
    }
}

fn only<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    missing: VerifyError,
    repeated: VerifyError,
) -> Result<&'a [u8], VerifyError> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(missing),
        (Some(_), Some(_)) => Err(repeated),
    }
}

/// The name of a variable, unless it does not look like one: then it may be a secret in the wrong place.
fn shown(variable: &str) -> &str {
    let is_name = variable.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if is_name { variable } else { "***" }
}

fn shown_variable<S: Serializer>(variable: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    variable.as_deref().map(shown).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> KeyConfig {
        KeyConfig { env: Some(name.into()), file: None }
    }

    fn two_keys() -> Sources {
        let keys = ["old", "new"].map(|key| (key.to_owned(), env(&format!("SECRET_{key}"))));
        let configured = [("prod".to_owned(), SourceConfig { keys: keys.into() })].into();
        Sources::read(&configured, |name| Some(format!("value of {name}"))).unwrap()
    }

    #[test]
    fn any_key_of_the_source_vouches() {
        let sources = two_keys();
        for key in ["old", "new"] {
            let hex = SigningKey::new(&format!("value of SECRET_{key}")).sign("7", b"body").to_hex();
            let verified = sources.get("prod").unwrap().verify([&b"7"[..]], [hex.as_str().as_bytes()], b"body");
            assert_eq!(verified.unwrap().key().as_str(), key);
        }
    }

    #[test]
    fn headers_come_exactly_once() {
        let sources = two_keys();
        let hex = "0".repeat(64);
        for (timestamp, signature, error) in [
            (&[][..], &[][..], VerifyError::TimestampMissing),
            (&["7"], &[], VerifyError::SignatureMissing),
            (&["7", "7"], &[], VerifyError::TimestampRepeated),
            (&["7"], &[&*hex, &*hex], VerifyError::SignatureRepeated),
            (&["7 "], &[&*hex], VerifyError::TimestampMalformed),
            (&["7"], &["00"], VerifyError::SignatureMalformed),
            (&["7"], &[&*hex], VerifyError::SignatureWrong),
        ] {
            let [timestamp, signature] =
                [timestamp, signature].map(|values| values.iter().map(|value| value.as_bytes()));
            assert_eq!(sources.get("prod").unwrap().verify(timestamp, signature, b"body").unwrap_err(), error);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let file = KeyConfig { file: Some("no/such/file".into()), env: None };
        let read = |source: &str, keys: &[(&str, KeyConfig)]| {
            let keys = keys.iter().map(|(name, key)| ((*name).to_owned(), key.clone())).collect();
            let configured = [(source.to_owned(), SourceConfig { keys })].into();
            Sources::read(&configured, |_| None).unwrap_err().to_string()
        };
        assert!(read("prod", &[]).contains("sources.prod.keys"));
        assert!(read("Prod", &[]).contains("sources.Prod"));
        assert!(read("prod", &[("default", env("GONE"))]).contains("GONE"));
        assert!(read("prod", &[("default", file.clone())]).contains("no/such/file"));
        let neither = read("prod", &[("default", KeyConfig::default())]);
        assert!(neither.contains("sources.prod.keys.default: expected either"), "{neither}");
        let secret = read("prod", &[("default", env("mhw_live_x"))]);
        assert!(secret.contains("sources.prod.keys.default.env") && !secret.contains("mhw_live_x"), "{secret}");
        assert_eq!(serde_json::to_value(env("mhw_live_x")).unwrap()["env"], "***");
        assert!(Sources::read(&BTreeMap::new(), |_| None).unwrap_err().to_string().contains(SOURCE_VARIABLE));
        assert!(Sources::read(&BTreeMap::new(), |_| Some("magichour".into())).unwrap().get("magichour").is_some());
    }
}
