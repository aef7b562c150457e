//! The ledger: every attempt to deliver a webhook with its answer, a JSON object on each line. The oracle takes it as the truth.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::provider_time::ProviderTime;

/// An attempt to deliver a webhook: a line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The last part of the URL, which names the source.
    pub source: String,
    /// The field `type` of the body.
    pub event_type: String,
    /// Empty where the body names no job.
    pub job_id: String,
    /// When the job was created, to the millisecond, even where the body has whole seconds.
    pub created_at: ProviderTime,
    pub event_at: ProviderTime,
    /// Counted from 1 for each delivery.
    pub attempt: u32,
    pub sent_at: ProviderTime,
    /// The value of the timestamp header.
    pub signed_at_text: String,
    /// The value of the signature header.
    pub signature: String,
    /// The hash of the body as lower-case hex.
    pub body_sha256: String,
    pub answer: Answer,
}

/// The answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The status code of HTTP.
    Status(u16),
    /// No answer came, so the attempt may have arrived or not.
    Unknown,
}

impl Answer {
    /// The provider takes any 2xx for an acknowledgement.
    pub const fn acknowledges(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }
}

/// The state of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    Acknowledged,
    /// It was not acknowledged, and is tried again.
    Retried,
    /// It was not acknowledged within the time for retries, or sending was cancelled.
    GivenUp,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Status(status) => serializer.serialize_u16(*status),
            Self::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Status(u16),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Unknown,
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Status(status) => Self::Status(status),
            Either::Word(Word::Unknown) => Self::Unknown,
        })
    }
}

/// Hashes as [`Attempt::body_sha256`] is given: lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes attempts to a file, buffered: the last ones are in it only after [`Writer::finish`].
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Appends to `path`, so that several runs can share a ledger.
    pub fn append(path: &Path) -> io::Result<Self> {
        File::options().create(true).append(true).open(path).map(|file| Self(BufWriter::new(file)))
    }

    pub fn write(&mut self, attempt: &Attempt) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, attempt)?;
        self.0.write_all(b"\n")
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A ledger that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the ledger {path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("line {line} of the ledger {path} is not an attempt: {source}")]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
}

/// Reads every attempt of a ledger, in the order in which they were written.
pub fn read(path: &Path) -> Result<Vec<Attempt>, ReadError> {
    let unreadable = |source| ReadError::Io { path: path.to_owned(), source };
    BufReader::new(File::open(path).map_err(unreadable)?)
        .lines()
        .zip(1..)
        .map(|(text, line)| {
            serde_json::from_str(&text.map_err(unreadable)?).map_err(|source| ReadError::Line {
                path: path.to_owned(),
                line,
                source,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        let attempt = |answer| Attempt {
            source: "magichour".into(),
            event_type: "video.started".into(),
            job_id: "j1".into(),
            created_at: ProviderTime(1),
            event_at: ProviderTime(2),
            attempt: 1,
            sent_at: ProviderTime(3),
            signed_at_text: "7".into(),
            signature: "ab".into(),
            body_sha256: sha256_hex(b""),
            answer,
        };
        let attempts = [attempt(Answer::Status(200)), attempt(Answer::Unknown)];
        for attempt in &attempts {
            let mut writer = Writer::append(&path).unwrap();
            writer.write(attempt).unwrap();
            writer.finish().unwrap();
        }
        assert_eq!(read(&path).unwrap(), attempts);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1 of the ledger"));
    }

    #[test]
    fn only_2xx_acknowledges() {
        for (answer, acknowledges) in [
            (Answer::Status(200), true),
            (Answer::Status(202), true),
            (Answer::Status(301), false),
            (Answer::Status(401), false),
            (Answer::Status(503), false),
            (Answer::Unknown, false),
        ] {
            assert_eq!(answer.acknowledges(), acknowledges, "{answer:?}");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert!(sha256_hex(b"").starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
    }
}
