//! Configuration: one TOML file for each binary, every key overridable from the environment.
//!
//! From the weakest to the strongest: defaults, the file, the names of `.local/env`, `HOOKLINE_{BINARY}__SECTION__KEY`.
//! Secrets come from the environment or from files of their own, never from the TOML file.

mod keys;
mod places;
mod read;
mod secret;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use ::config::{Config, Environment, File, FileFormat, Value};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::keys::to_markdown;
use self::keys::{Key, keys, to_toml};
use self::places::Places;
use self::read::{misspelt_variables, read_settings};
pub use self::secret::{Secret, mask_url, shown_path};

/// The variables that the process was started with.
pub type Variables = HashMap<String, String>;

/// The configuration of a binary.
///
/// The doc comment of each field is its meaning in `--print-config` and in `docs/configuration.md`. The attribute
/// `schemars(extend("x-environment" = NAME))` gives a field a variable that it shares with other programs, and
/// `schemars(range(…))` bounds that are checked when the configuration is read. A [`Secret`] is refused in the file.
pub trait Settings: Default + DeserializeOwned + Serialize + JsonSchema {
    /// The middle of `HOOKLINE_{BINARY}__SECTION__KEY`, in upper case.
    const BINARY: &'static str;

    /// Finds whatever can be wrong without asking a server: values that do not fit together, files that are not there.
    fn check(&self, environment: &Variables) -> Result<(), ConfigError>;

    /// The environment variable of a key.
    fn variable(key: &str) -> String {
        format!("HOOKLINE_{}__{}", Self::BINARY, key.replace('.', "__").to_uppercase())
    }
}

/// A configuration that cannot be used; the message names every mistake: the key, the value and what was expected, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(Vec<Mistake>);

#[derive(Debug)]
struct Mistake {
    /// The path of the key; empty where the mistake is none of one key.
    key: String,
    reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.key, self.reason)
    }
}

impl ConfigError {
    /// A value that `key` cannot have; `reason` tells it, unless it may be a secret, and what was expected.
    pub fn invalid(key: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self(vec![Mistake { key: key.to_string(), reason: reason.to_string() }])
    }

    /// All mistakes of several checks.
    pub fn join(checks: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let errors: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
        if errors.is_empty() { Ok(()) } else { Err(Self::all(errors)) }
    }

    fn all(errors: Vec<Self>) -> Self {
        Self(errors.into_iter().flat_map(|error| error.0).collect())
    }

    fn unreadable(key: &str, reason: impl fmt::Display) -> Self {
        Self::invalid(if key == "." { "" } else { key }, reason)
    }
}

/// Reads the configuration from `file` and `environment`, and checks it.
pub fn load<T: Settings>(file: Option<&Path>, environment: &Variables) -> Result<T, ConfigError> {
    Loaded::read(file, environment)?.checked()
}

/// The keys that have other values in `new` than in `old`, by their paths.
pub fn changed_keys<T: Settings>(old: &T, new: &T) -> Result<Vec<String>, ConfigError> {
    let (mut old, mut new) = (keys::values(old)?, keys::values(new)?);
    let (before, after) = (old.clone(), new.clone());
    old.retain(|path, value| after.get(path) != Some(value));
    new.retain(|path, value| before.get(path) != Some(value));
    old.append(&mut new);
    Ok(old.into_keys().collect())
}

/// A configuration that was read, but is not checked yet.
#[derive(Debug)]
pub struct Loaded<'a, T> {
    settings: T,
    keys: Vec<Key>,
    layers: Layers,
    environment: &'a Variables,
}

impl<'a, T: Settings> Loaded<'a, T> {
    /// Reads the configuration from `file` and `environment`.
    pub fn read(file: Option<&Path>, environment: &'a Variables) -> Result<Self, ConfigError> {
        let known = keys(&T::default())?;
        let (file, places) = match file {
            Some(path) => read_file::<T>(path, &known)?,
            None => (Config::default(), Places::default()),
        };
        let layers = Layers {
            file,
            places,
            shared: shared_variables(&known, environment).map_err(|error| ConfigError::unreadable("", error))?,
            own: own_variables::<T>(environment).map_err(|error| ConfigError::unreadable("", error))?,
        };
        let mut merged = layers.merged().map_err(|error| ConfigError::unreadable("", error))?;
        let mut mistakes = misspelt_variables::<T>(&known, environment);
        // What cannot be read is taken away, so that the next mistake is found, too.
        let settings: T = loop {
            let (path, mistake) = match read_settings(&merged, &known) {
                Ok(settings) => break settings,
                Err(found) => found,
            };
            let is_removed = places::remove(&mut merged.cache, &path);
            mistakes.push(layers.placed::<T>(&path, mistake));
            if !is_removed {
                return Err(ConfigError::all(mistakes));
            }
        };
        let mut keys = keys(&settings)?;
        for key in &mut keys {
            key.origin = layers.origin::<T>(key);
        }
        if !mistakes.is_empty() {
            // What was taken away has its default, so that only the values by themselves can be checked.
            let bounds = keys.iter().filter_map(|key| key.check().err());
            mistakes.extend(bounds.map(|error| layers.with_places(error, &keys)));
            return Err(ConfigError::all(mistakes));
        }
        Ok(Self { settings, keys, layers, environment })
    }

    /// Every key with its meaning, its value and its origin; secrets are masked, and a program can read it again.
    pub fn to_toml(&self) -> String {
        to_toml(&self.keys)
    }

    /// The configuration, if it can be used.
    pub fn checked(self) -> Result<T, ConfigError> {
        let bounds = self.keys.iter().map(Key::check);
        ConfigError::join(bounds.chain([self.settings.check(self.environment)]))
            .map_err(|error| self.layers.with_places(error, &self.keys))?;
        Ok(self.settings)
    }
}

/// What was set, from the weakest to the strongest.
#[derive(Debug)]
struct Layers {
    file: Config,
    places: Places,
    shared: Config,
    own: Config,
}

impl Layers {
    fn merged(&self) -> Result<Config, ::config::ConfigError> {
        let layers = [&self.file, &self.shared, &self.own];
        layers.into_iter().fold(Config::builder(), |all, layer| all.add_source(layer.clone())).build()
    }

    fn origin<T: Settings>(&self, key: &Key) -> Option<String> {
        let sets = |layer: &Config| layer.get::<Value>(&key.path).is_ok();
        if sets(&self.own) {
            Some(T::variable(&key.path))
        } else if sets(&self.shared) {
            key.shared_name().map(str::to_owned)
        } else {
            sets(&self.file).then(|| "file".to_owned())
        }
    }

    /// Adds where the value of `path` is set, which is no known key's or cannot be read.
    fn placed<T: Settings>(&self, path: &str, mut error: ConfigError) -> ConfigError {
        let variable = T::variable(path);
        let place = if self.own.get::<Value>(path).is_ok() {
            format!("set by {variable}")
        } else if let Some(place) = self.places.of(path) {
            format!("{place}; its variable is {variable}")
        } else {
            return error;
        };
        error.0.iter_mut().for_each(|mistake| mistake.reason += &format!(" ({place})"));
        error
    }

    /// Adds to each mistake where the value is set, unless that is the default.
    fn with_places(&self, mut error: ConfigError, keys: &[Key]) -> ConfigError {
        for mistake in &mut error.0 {
            let origin = keys.iter().find(|key| key.path == mistake.key).and_then(|key| key.origin.as_deref());
            match (origin, self.places.of(&mistake.key)) {
                (Some("file") | None, Some(place)) => mistake.reason += &format!(" ({place})"),
                (Some(variable), _) if variable != "file" => mistake.reason += &format!(" (set by {variable})"),
                _ => {}
            }
        }
        error
    }
}

fn shared_variables(known: &[Key], environment: &Variables) -> Result<Config, ::config::ConfigError> {
    let mut set = known.iter().filter_map(|key| Some((&key.path, environment.get(key.shared_name()?)?)));
    set.try_fold(Config::builder(), |all, (key, value)| all.set_override(key, value.as_str()))?.build()
}

fn own_variables<T: Settings>(environment: &Variables) -> Result<Config, ::config::ConfigError> {
    let own = Environment::with_prefix(&format!("HOOKLINE_{}", T::BINARY)).prefix_separator("__").separator("__");
    Config::builder().add_source(own.source(Some(environment.clone().into_iter().collect()))).build()
}

fn read_file<T: Settings>(path: &Path, known: &[Key]) -> Result<(Config, Places), ConfigError> {
    let unreadable = |reason: String| ConfigError::invalid(path.display(), reason);
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let file = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
    // The parser quotes the line that it cannot read, and a secret may stand in it.
    let quotes = |line: &str| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    let file = file.map_err(|error| {
        unreadable(error.to_string().lines().filter(|line| !quotes(line)).collect::<Vec<_>>().join(": "))
    })?;
    let is_given = |key: &&Key| key.is_secret() && file.get::<Value>(&key.path).is_ok();
    match known.iter().find(is_given).map(|key| &key.path) {
        Some(key) => Err(unreadable(format!(
            "the secret {key} does not belong in this file; set {}, or name a file in {key}_file",
            T::variable(key)
        ))),
        None => Ok((file, Places::of_file(path, &text))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct TestConfig {
        /// Where to listen.
        server: Server,
        /// The brokers.
        kafka: crate::kafka::KafkaConfig,
        /// People,
        /// by name.
        people: BTreeMap<String, Person>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Server {
        /// The port.
        #[schemars(range(min = 10, max = 1000))]
        port: u16,
        /// The name.
        name: String,
    }

    #[derive(Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Person {
        /// In years.
        age: Option<u32>,
    }

    impl Default for Server {
        fn default() -> Self {
            Self { port: 80, name: "a".into() }
        }
    }

    impl Settings for TestConfig {
        const BINARY: &'static str = "TEST";

        fn check(&self, _: &Variables) -> Result<(), ConfigError> {
            Ok(())
        }
    }

    fn with<R>(file: &str, environment: &[(&str, &str)], then: impl FnOnce(&Path, &Variables) -> R) -> R {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        std::fs::write(&path, file).unwrap();
        then(&path, &environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<TestConfig, ConfigError> {
        with(file, environment, |path, environment| super::load(Some(path), environment))
    }

    fn print(file: &str, environment: &[(&str, &str)]) -> String {
        with(file, environment, |path, environment| {
            Loaded::<TestConfig>::read(Some(path), environment).unwrap().to_toml()
        })
    }

    #[test]
    fn the_environment_beats_the_file_and_the_file_the_defaults() {
        assert_eq!(load("", &[]).unwrap(), TestConfig::default());
        let file = "[server]\nport = 81\nname = \"b\"\n[kafka]\nbootstrap_servers = \"f:1\"\n";
        let settings =
            load(file, &[("HOOKLINE_TEST__SERVER__PORT", "82"), ("KAFKA_BOOTSTRAP_SERVERS", "e:1")]).unwrap();
        assert_eq!(settings.server, Server { port: 82, name: "b".into() });
        assert_eq!(settings.kafka.bootstrap_servers, "e:1");
        let settings =
            load(file, &[("HOOKLINE_TEST__KAFKA__BOOTSTRAP_SERVERS", "h:1"), ("KAFKA_BOOTSTRAP_SERVERS", "e:1")])
                .unwrap();
        assert_eq!(settings.kafka.bootstrap_servers, "h:1");
    }

    #[test]
    fn text_from_the_environment_stays_text() {
        let settings = load("", &[("HOOKLINE_TEST__SERVER__NAME", "007")]).unwrap();
        assert_eq!(settings.server.name, "007");
    }

    #[test]
    fn errors_name_the_key_the_value_and_what_was_expected() {
        for (file, environment, parts) in [
            (
                "[server]\nport = \"x\"",
                None,
                ["server.port", "expected a whole number, 10 to 1000", "HOOKLINE_TEST__SERVER__PORT"],
            ),
            ("", Some(("HOOKLINE_TEST__SERVER__PORT", "70000")), ["server.port", "70000", "10 to 1000"]),
            ("[server]\nport = 7", None, ["server.port", "7,", "10 to 1000"]),
            ("[server]\nprot = 1", None, ["server", "prot", "`port`"]),
            ("[sever]\nport = 1", None, ["sever", "`server`", "unknown"]),
            ("[server", None, ["test.toml", "", ""]),
            ("[kafka]\nsecurity_protocol = \"tls\"", None, ["kafka.security_protocol", "one of plaintext", "sasl_ssl"]),
            ("[kafka]\nsasl_password = \"p\"", None, ["kafka.sasl_password", "kafka.sasl_password_file", "secret"]),
        ] {
            let message = load(file, environment.as_slice()).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn a_misspelt_variable_is_named_and_a_foreign_one_is_not() {
        for (wrong, right) in [
            ("HOOKLINE_TEST_SERVER_PORT", "HOOKLINE_TEST__SERVER__PORT"),
            ("HOOKLINE_TEST_SERVER__PROT", "HOOKLINE_TEST__SERVER__PORT"),
            ("HOOKLINE_TST__SERVER__PORT", "HOOKLINE_TEST__SERVER__PORT"),
            ("HOOKLIN_TEST__SERVER__PORT", "HOOKLINE_TEST__SERVER__PORT"),
            ("hookline_test_server_port", "HOOKLINE_TEST__SERVER__PORT"),
            ("HOOKLINE_TEST_PEOPLE_ADA_AGE", "HOOKLINE_TEST__PEOPLE__PEOPLE__AGE"),
            ("HOOKLINE_TEST_PEOPLE__ADA_LOVELACE__AGE", "HOOKLINE_TEST__PEOPLE__PEOPLE__AGE"),
            ("HOOKLINE_TEST_PEOPLES_ADA_AGE", "HOOKLINE_TEST__PEOPLE__PEOPLE__AGE"),
            ("HOOKLIN_TEST__PEOPLE__ADA__AGE", "HOOKLINE_TEST__PEOPLE__PEOPLE__AGE"),
            ("HOOKLINE_TEST_PEOPLE_ADA_LOVELACE_AG", "HOOKLINE_TEST__PEOPLE__PEOPLE__AGE"),
        ] {
            let message = load("", &[(wrong, "81")]).expect_err(wrong).to_string();
            assert_eq!(message, format!("{wrong}: no key has this variable, expected {right}"));
        }
        for foreign in [
            "HOOKLINE_TEST_SERVICE_HOST",
            "HOOKLINE_TEST_PORT",
            "HOOKLINE_TEST_PORT_8080_TCP_ADDR",
            "HOOKLINE_OTHER__SERVER__PORT",
            "HOOKLINE_TEST_PEOPLE__AGE",
            "HOOKLINE_TEST_ADMIN_URL",
        ] {
            assert_eq!(load("", &[(foreign, "81")]).expect(foreign), TestConfig::default());
        }
        let right = load("", &[("HOOKLINE_TEST__PEOPLE__ADA__AGE", "36")]).unwrap();
        assert_eq!(right.people["ada"], Person { age: Some(36) });
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_lines() {
        let file =
            "[server]\nport = \"x\"\nprot = 1\n\n[kafka]\nsecurity_protocol = \"tls\"\n[people.ada]\nage = \"old\"\n";
        let message = load(file, &[("HOOKLINE_TEST_SERVER_NAME", "b")]).unwrap_err().to_string();
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines.len(), 5, "{message}");
        for (start, line) in [
            ("HOOKLINE_TEST_SERVER_NAME: no key has this variable, expected HOOKLINE_TEST__SERVER__NAME", ""),
            ("server.port: expected a whole number, 10 to 1000, such as 80", "(line 2 of"),
            ("server.prot: unknown field `prot`", "(line 3 of"),
            ("kafka.security_protocol: expected one of plaintext", "(line 6 of"),
            ("people.ada.age: expected a whole number", "(line 8 of"),
        ] {
            assert!(lines.iter().any(|text| text.starts_with(start) && text.contains(line)), "{start} in {message}");
        }
        let message = load("[server]\nport = 7\nname = \"b\"", &[]).unwrap_err().to_string();
        assert!(
            message.starts_with("server.port: 7, expected a whole number, 10 to 1000, such as 80 (line 2 of"),
            "{message}"
        );
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown_in_errors() {
        for (file, environment) in [
            ("people.a = \"mhw_live_x\"", None),
            ("people = \"mhw_live_x\"", None),
            ("[people]\n\"a b\" = \"mhw_live_x\"", None),
            ("people.a.age = \"mhw_live_x\"", None),
            ("people.a.age = [\"mhw_live_x\"]", None),
            ("server = \"mhw_live_x\"", None),
            ("server.port = \"mhw_live_x\"", None),
            ("[kafka]\nsecurity_protocol = \"mhw_live_x\"", None),
            ("", Some(("HOOKLINE_TEST__SERVER__PORT", "mhw_live_x"))),
            ("", Some(("HOOKLINE_TEST__SERVER", "mhw_live_x"))),
            ("[kafka]\nsasl_password = \"mhw_live_x\"", None),
            ("[kafka]\nsasl_password = mhw_live_x", None),
            ("", Some(("HOOKLINE_TEST__PEOPLE__A", "mhw_live_x"))),
        ] {
            let message = load(file, environment.as_slice()).unwrap_err().to_string();
            assert!(!message.contains("mhw_live_x"), "{message}");
        }
    }

    #[test]
    fn a_printed_configuration_says_all_and_can_be_read_again() {
        let file = "[server]\nname = \"http://me:pw@b\"\n[people.ada]\nage = 36\n[people.bob]\n";
        let environment = [("HOOKLINE_TEST__SERVER__PORT", "82"), ("KAFKA_BOOTSTRAP_SERVERS", "e:1")];
        let secret = [("HOOKLINE_TEST__KAFKA__SASL_PASSWORD", "pw"), environment[0], environment[1]];
        let text = print(file, &secret);
        for part in [
            "# People, by name.\n[people.ada]\n# In years. (whole number)\nage = 36  # file\n",
            "[people.bob]\n# In years. (whole number)\n# age =  # not set\n",
            "# Where to listen.\n[server]\n# The name. (text)\nname = \"http://***@b\"  # file\n",
            "port = 82  # HOOKLINE_TEST__SERVER__PORT\n",
            "bootstrap_servers = \"e:1\"  # KAFKA_BOOTSTRAP_SERVERS\n",
            "topic_prefix = \"hookline\"  # default\n",
            "# sasl_password = \"***\"  # HOOKLINE_TEST__KAFKA__SASL_PASSWORD\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("pw"), "{text}");
        let text = print("", &environment);
        assert!(text.contains("# [people.PEOPLE]"), "{text}");
        assert_eq!(load(&text, &[]).unwrap(), load("", &environment).unwrap());
    }
}
