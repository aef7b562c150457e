//! Names of things: what a webhook is about and who sent it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The kind of media a job makes; each has a Kafka topic of its own. It prints as the provider's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the provider's words need no others")]
pub enum Resource {
    Video,
    Image,
    Audio,
}

impl Resource {
    /// All resources, in the order of their topics.
    pub const ALL: [Self; 3] = [Self::Video, Self::Image, Self::Audio];

    /// The provider's word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What happened to the job. It prints and parses as the provider's word for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// The job went from queued to rendering.
    Started,
    /// The job finished and its downloads are there.
    Completed,
    /// The job failed and says why.
    Errored,
}

impl Action {
    /// All actions, in the order in which they happen.
    pub const ALL: [Self; 3] = [Self::Started, Self::Completed, Self::Errored];

    /// The provider's word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// `{resource}.{action}`, the `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the two types say it")]
pub struct EventType {
    pub resource: Resource,
    pub action: Action,
}

impl EventType {
    /// All nine events, by resource and then by action.
    pub fn all() -> impl Iterator<Item = Self> {
        Resource::ALL.into_iter().flat_map(|resource| Action::ALL.map(|action| Self { resource, action }))
    }

    /// The provider's name of the event, such as `video.completed`.
    pub const fn as_str(self) -> &'static str {
        match (self.resource, self.action) {
            (Resource::Video, Action::Started) => "video.started",
            (Resource::Video, Action::Completed) => "video.completed",
            (Resource::Video, Action::Errored) => "video.errored",
            (Resource::Image, Action::Started) => "image.started",
            (Resource::Image, Action::Completed) => "image.completed",
            (Resource::Image, Action::Errored) => "image.errored",
            (Resource::Audio, Action::Started) => "audio.started",
            (Resource::Audio, Action::Completed) => "audio.completed",
            (Resource::Audio, Action::Errored) => "audio.errored",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let expected = InvalidName("an event type: {video,image,audio}.{started,completed,errored}");
        Self::all().find(|event| event.as_str() == text).ok_or(expected)
    }
}

/// Text that is not the name it should be; the message says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidName(pub(crate) &'static str);

/// The provider's id of a job: 1–128 bytes, each 0x21–0x7E. Unique within a source and resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId<'a>(Cow<'a, str>);

impl<'a> JobId<'a> {
    /// Checks that the text has the length and the characters of an id.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidName> {
        let text = text.into();
        let printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if text.is_empty() || text.len() > 128 || !printable {
            return Err(InvalidName("a job id: 1 to 128 printable ASCII characters, no spaces"));
        }
        Ok(Self(text))
    }

    /// The id, exactly as the provider wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same id with a text of its own, which outlives the body it was read from.
    pub fn into_owned(self) -> JobId<'static> {
        JobId(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for JobId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

macro_rules! label {
    ($($(#[$doc:meta])* $type:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks length and characters: 1–64 of `a-z`, `0-9`, `-`, `_`, the first not a sign.
            pub fn check(text: &str) -> Result<&str, InvalidName> {
                let sign = |byte| matches!(byte, b'-' | b'_');
                let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || sign(byte);
                if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) || text.bytes().next().is_some_and(sign) {
                    return Err(InvalidName($what));
                }
                Ok(text)
            }

            /// Keeps the name if [`Self::check`] finds nothing wrong with it.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                Self::check(text).map(|text| Self(text.into()))
            }

            /// The name, exactly as it was configured.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

label! {
    /// The account or environment that a webhook belongs to; the last part of the webhook's path.
    Source, "a source: 1 to 64 of a-z, 0-9, '-', '_', the first a letter or digit";
    /// The name of a secret, never the secret.
    KeyName, "a key name: 1 to 64 of a-z, 0-9, '-', '_', the first a letter or digit";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_round_trip() {
        assert_eq!(EventType::all().count(), 9);
        for event in EventType::all() {
            assert_eq!(event.as_str(), format!("{}.{}", event.resource, event.action));
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert!("video.canceled".parse::<EventType>().is_err());
    }

    #[test]
    fn job_ids_are_bounded() {
        assert!(JobId::new("cm2fphlo3000dmfhu8m0dh63z").is_ok());
        assert!(JobId::new("~".repeat(128)).is_ok());
        for bad in ["", " ", "a b", "ü", "a\u{7f}", &"x".repeat(129)] {
            assert!(JobId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sources_are_path_safe() {
        assert!(Source::new("magichour").is_ok());
        for bad in ["", "-a", "A", "a/b", "a.b", &"x".repeat(65)] {
            assert!(Source::new(bad).is_err(), "{bad:?}");
        }
    }
}
