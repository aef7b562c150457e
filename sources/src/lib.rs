//! The sources of webhooks: their names, their secrets, and the verification of a signature by any of them.
//!
//! A source may have several secrets, so that the provider's can be changed without refusing anything in between. To reload
//! them, [`Sources::read`] is called again with the configuration as it is then: variables stay, all else may have changed.

#![warn(missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use hookline_schemas::ids::{KeyName, Source};
use hookline_schemas::signature::{NamedKey, SignatureHeaders, SigningKey, Verified, VerifyError};
use hookline_service::config::{ConfigError, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A source needs at least one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The secrets of a source have names, which records tell: one as a rule, two while the provider's secret is changed. Each
    /// has at least 16 characters, and none is there twice.
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
    /// Fails if a name is malformed, a secret is missing, too short or there twice, or there is no source at all.
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
            let mut secrets: Vec<(&str, Secret)> = Vec::new();
            for (key, origin) in &config.keys {
                let at = format!("{at}.keys.{key}");
                let name = KeyName::new(key).map_err(|error| ConfigError::invalid(&at, error))?;
                let secret = match (&origin.env, &origin.file) {
                    (Some(variable), None) => {
                        let at = format!("{at}.env");
                        let text = environment(variable).ok_or_else(|| {
                            // What stands there may be the secret itself.
                            let reason = "the variable that it names is not set (its name is not shown)";
                            ConfigError::invalid(&at, reason)
                        })?;
                        long_enough(&at, Secret::parse(&at, &text)?)?
                    }
                    (None, Some(path)) => {
                        let at = format!("{at}.file");
                        long_enough(&at, Secret::read(&at, path)?)?
                    }
                    (None, None) | (Some(_), Some(_)) => {
                        let reason = "expected either { env = \"NAME\" } or { file = \"PATH\" }";
                        return Err(ConfigError::invalid(at, reason));
                    }
                };
                if let Some((same, _)) = secrets.iter().find(|(_, known)| *known == secret) {
                    // Which of the two signs could not be told, and the old one would seem unused while it is needed.
                    return Err(ConfigError::invalid(at, format_args!("has the same secret as the key {same}")));
                }
                keys.push(NamedKey { name, key: SigningKey::new(secret.expose()) });
                secrets.push((key, secret));
            }
            sources.insert(source.clone(), SourceKeys { name, keys });
        }
        Ok(Self(sources))
    }

    fn single(source: Option<String>, secret: Option<String>) -> Result<Self, ConfigError> {
        let (Some(source), Some(secret)) = (source, secret) else {
            let reason =
                format!("none; configure [sources.NAME.keys.KEY] or set {SOURCE_VARIABLE} and {SECRET_VARIABLE}");
            return Err(ConfigError::invalid("sources", reason));
        };
        let name = Source::new(&source).map_err(|error| ConfigError::invalid(SOURCE_VARIABLE, error))?;
        let secret = long_enough(SECRET_VARIABLE, Secret::parse(SECRET_VARIABLE, &secret)?)?;
        let key = KeyName::new("default").map_err(|error| ConfigError::invalid("sources", error))?;
        let keys = vec![NamedKey { name: key, key: SigningKey::new(secret.expose()) }];
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
    /// Verifies a body by its headers with the secrets of this source.
    pub fn verify<'a, 'k>(
        &'k self,
        headers: SignatureHeaders<'a>,
        body: &'a [u8],
    ) -> Result<Verified<'a, 'k>, VerifyError> {
        headers.with_body(body).verify(&self.keys)
    }
}

/// Reads the two headers of a request from the values that it has of each, which must be one. That can be told before the body
/// has arrived.
pub fn signature_headers<'a>(
    timestamp: impl IntoIterator<Item = &'a [u8]>,
    signature: impl IntoIterator<Item = &'a [u8]>,
) -> Result<SignatureHeaders<'a>, VerifyError> {
    let timestamp = only(timestamp, VerifyError::TimestampMissing, VerifyError::TimestampRepeated)?;
    let signature = only(signature, VerifyError::SignatureMissing, VerifyError::SignatureRepeated)?;
    SignatureHeaders::parse(timestamp, signature)
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

/// The provider's secrets are longer; whoever can guess one can send webhooks.
const SHORTEST_SECRET: usize = 16;

fn long_enough(at: &str, secret: Secret) -> Result<Secret, ConfigError> {
    if secret.expose().chars().count() < SHORTEST_SECRET {
        let reason = format_args!("the secret has fewer than {SHORTEST_SECRET} characters");
        return Err(ConfigError::invalid(at, reason));
    }
    Ok(secret)
}

/// The name of a variable that is set. Any other text may be a secret in the wrong place.
fn shown(variable: &str) -> &str {
    // The system's function panics where a name has these characters.
    let is_set = !variable.is_empty() && !variable.contains(['=', '\0']) && std::env::var_os(variable).is_some();
    if is_set { variable } else { "***" }
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
            let headers = signature_headers([&b"7"[..]], [hex.as_str().as_bytes()]).unwrap();
            assert_eq!(sources.get("prod").unwrap().verify(headers, b"body").unwrap().key().as_str(), key);
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
            let verified = signature_headers(timestamp, signature)
                .and_then(|headers| sources.get("prod").unwrap().verify(headers, b"body"));
            assert_eq!(verified.unwrap_err(), error);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let file = KeyConfig { file: Some("/tmp/no-such-secret".into()), env: None };
        let read = |source: &str, keys: &[(&str, KeyConfig)]| {
            let keys = keys.iter().map(|(name, key)| ((*name).to_owned(), key.clone())).collect();
            let configured = [(source.to_owned(), SourceConfig { keys })].into();
            Sources::read(&configured, |_| None).unwrap_err().to_string()
        };
        assert!(read("prod", &[]).contains("sources.prod.keys"));
        assert!(read("Prod", &[]).contains("sources.Prod"));
        assert!(read("prod", &[("default", env("GONE"))]).contains("sources.prod.keys.default.env"));
        assert!(read("prod", &[("default", file.clone())]).contains("/tmp/no-such-secret"));
        let neither = read("prod", &[("default", KeyConfig::default())]);
        assert!(neither.contains("sources.prod.keys.default: expected either"), "{neither}");
        for secret in ["mhw_live_x", "MHWLIVEX"] {
            let error = read("prod", &[("default", env(secret))]);
            assert!(error.contains("sources.prod.keys.default.env") && !error.contains(secret), "{error}");
            assert_eq!(serde_json::to_value(env(secret)).unwrap()["env"], "***");
        }
        assert_eq!(serde_json::to_value(env("PATH")).unwrap()["env"], "PATH");
        assert!(Sources::read(&BTreeMap::new(), |_| None).unwrap_err().to_string().contains(SOURCE_VARIABLE));
        assert!(
            Sources::read(&BTreeMap::new(), |_| Some("magichour01234567".into()))
                .unwrap()
                .get("magichour01234567")
                .is_some()
        );
    }

    #[test]
    fn a_secret_is_long_enough_and_there_once() {
        let read = |secrets: [&str; 2]| {
            let keys = [("A".to_owned(), secrets[0].to_owned()), ("B".to_owned(), secrets[1].to_owned())];
            let configured = keys.iter().map(|(name, _)| (name.to_lowercase(), env(name))).collect();
            let configured = [("prod".to_owned(), SourceConfig { keys: configured })].into();
            let environment: HashMap<_, _> = keys.into();
            Sources::read(&configured, |name| environment.get(name).cloned()).map_err(|error| error.to_string())
        };
        assert_eq!(read(["0123456789abcdef", "0123456789abcdeg\n"]).unwrap().key_count(), 2);
        for (secrets, part) in [
            (["0123456789abcdef", "0123456789abcde"], "sources.prod.keys.b.env: the secret has fewer than 16"),
            (["0123456789abcdef", "0123456789abcdef\n"], "sources.prod.keys.b: has the same secret as the key a"),
            (["0123456789abcdef", ""], "sources.prod.keys.b.env: the secret is empty"),
            (["\u{feff}0123456789abcdef", ""], "sources.prod.keys.a.env: the secret begins with a byte order mark"),
            (["0123456789abcdef ", ""], "white space"),
        ] {
            let error = read(secrets).unwrap_err();
            assert!(error.contains(part) && !error.contains("0123456789"), "{error}");
        }
    }
}
