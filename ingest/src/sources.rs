//! Who may send: sources, each with its named secrets, and the verification of a request.

use std::collections::{BTreeMap, HashMap};

use hookline_schemas::ids::{KeyName, Source};
use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::{NamedKey, SigningKey, Unverified, Verified, VerifyError};
use hookline_service::config::{ConfigError, Secret};
use http::{HeaderMap, HeaderName};

use crate::config::{KeyConfig, SourceConfig};

/// The one source, where the configuration names none.
pub const SOURCE_VARIABLE: &str = "HOOKLINE_SOURCE";
/// The secret of that source.
pub const SECRET_VARIABLE: &str = "HOOKLINE_WEBHOOK_SECRET";

static TIMESTAMP: HeaderName = HeaderName::from_static(TIMESTAMP_HEADER);
static SIGNATURE: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);

/// A source with its secrets.
#[derive(Clone, Debug)]
pub struct SourceKeys {
    /// Its name.
    pub name: Source,
    /// Its secrets, prepared.
    pub keys: Vec<NamedKey>,
}

/// Every source by name.
#[derive(Clone, Debug, Default)]
pub struct Sources(HashMap<String, SourceKeys>);

impl Sources {
    /// Reads all secrets from `environment` and from files.
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
                return Err(ConfigError::invalid(format!("{at}.keys"), "a source needs at least one key"));
            }
            let mut keys = Vec::new();
            for (key, origin) in &config.keys {
                let at = format!("{at}.keys.{key}");
                let name = KeyName::new(key).map_err(|error| ConfigError::invalid(&at, error))?;
                let secret = match origin {
                    KeyConfig::Env(variable) => {
                        environment(variable).filter(|text| !text.is_empty()).map(Secret::new).ok_or_else(|| {
                            ConfigError::invalid(
                                format!("{at}.env"),
                                format_args!("the variable {variable} is not set or empty"),
                            )
                        })?
                    }
                    KeyConfig::File(path) => Secret::read(&format!("{at}.file"), path)?,
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

    /// A source by name.
    pub fn get(&self, name: &str) -> Option<&SourceKeys> {
        self.0.get(name)
    }

    /// Every source.
    pub fn iter(&self) -> impl Iterator<Item = &SourceKeys> {
        self.0.values()
    }
}

impl SourceKeys {
    /// Vouches for a body, or says why not.
    pub fn verify<'a, 'k>(&'k self, headers: &'a HeaderMap, body: &'a [u8]) -> Result<Verified<'a, 'k>, VerifyError> {
        let timestamp = once(headers, &TIMESTAMP, VerifyError::TimestampMissing, VerifyError::TimestampRepeated)?;
        let signature = once(headers, &SIGNATURE, VerifyError::SignatureMissing, VerifyError::SignatureRepeated)?;
        Unverified::new(timestamp, signature, body)?.verify(&self.keys)
    }
}

fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    missing: VerifyError,
    repeated: VerifyError,
) -> Result<&'a [u8], VerifyError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (None, _) => Err(missing),
        (Some(_), Some(_)) => Err(repeated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_keys() -> Sources {
        let keys = ["old", "new"].map(|key| (key.to_owned(), KeyConfig::Env(format!("SECRET_{key}"))));
        let configured = [("prod".to_owned(), SourceConfig { keys: keys.into() })].into();
        Sources::read(&configured, |name| Some(format!("value of {name}"))).unwrap()
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn any_key_of_the_source_vouches() {
        let sources = two_keys();
        for key in ["old", "new"] {
            let hex = SigningKey::new(&format!("value of SECRET_{key}")).sign("7", b"body").to_hex();
            let headers = headers(&[(TIMESTAMP_HEADER, "7"), (SIGNATURE_HEADER, hex.as_str())]);
            assert_eq!(sources.get("prod").unwrap().verify(&headers, b"body").unwrap().key().as_str(), key);
        }
    }

    #[test]
    fn headers_come_exactly_once() {
        let sources = two_keys();
        let hex = "0".repeat(64);
        for (list, refusal) in [
            (vec![], VerifyError::TimestampMissing),
            (vec![(TIMESTAMP_HEADER, "7")], VerifyError::SignatureMissing),
            (vec![(TIMESTAMP_HEADER, "7"), (TIMESTAMP_HEADER, "7")], VerifyError::TimestampRepeated),
            (
                vec![(TIMESTAMP_HEADER, "7"), (SIGNATURE_HEADER, &*hex), (SIGNATURE_HEADER, &*hex)],
                VerifyError::SignatureRepeated,
            ),
            (vec![(TIMESTAMP_HEADER, "7 "), (SIGNATURE_HEADER, &*hex)], VerifyError::TimestampMalformed),
            (vec![(TIMESTAMP_HEADER, "7"), (SIGNATURE_HEADER, "00")], VerifyError::SignatureMalformed),
            (vec![(TIMESTAMP_HEADER, "7"), (SIGNATURE_HEADER, &*hex)], VerifyError::SignatureWrong),
        ] {
            let source = sources.get("prod").unwrap();
            assert_eq!(source.verify(&headers(&list), b"body").unwrap_err(), refusal, "{list:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let read = |source: &str, keys: &[(&str, KeyConfig)]| {
            let keys = keys.iter().map(|(name, key)| ((*name).to_owned(), key.clone())).collect();
            let configured = [(source.to_owned(), SourceConfig { keys })].into();
            Sources::read(&configured, |_| None).unwrap_err().to_string()
        };
        assert!(read("prod", &[]).contains("sources.prod.keys"));
        assert!(read("Prod", &[]).contains("sources.Prod"));
        assert!(read("prod", &[("default", KeyConfig::Env("GONE".into()))]).contains("GONE"));
        assert!(read("prod", &[("default", KeyConfig::File("no/such/file".into()))]).contains("no/such/file"));
        assert!(Sources::read(&BTreeMap::new(), |_| None).unwrap_err().to_string().contains(SOURCE_VARIABLE));
        assert!(Sources::read(&BTreeMap::new(), |_| Some("magichour".into())).unwrap().get("magichour").is_some());
    }
}
