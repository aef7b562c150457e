//! The ledger: every attempt with what became of it, a JSON object on each line. What the oracle believes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::moment::Moment;

/// An attempt to deliver a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The last part of the URL.
    pub source: String,
    /// `type` of the event.
    pub event_type: String,
    /// The job; empty where the body names none.
    pub job_id: String,
    /// When the job was created.
    pub created_at: Moment,
    /// When the event happened.
    pub event_at: Moment,
    /// 1 for the first attempt of a delivery.
    pub attempt: u32,
    /// When it was sent.
    pub sent_at: Moment,
    /// The timestamp header.
    pub signed_at_text: String,
    /// The signature header.
    pub signature: String,
    /// Of the body, lower-case hex.
    pub body_sha256: String,
    /// The status of the answer.
    pub answer: Answer,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// An answer came, with this status.
    Status(u16),
    /// No answer came: it may have arrived or not.
    Unknown,
}

impl Answer {
    /// The provider is content with any 2xx.
    pub const fn acknowledges(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }
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

/// SHA-256 as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes attempts to a file.
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Appends to `path`, so that several runs can share a ledger.
    pub fn append(path: &Path) -> io::Result<Self> {
        File::options().create(true).append(true).open(path).map(|file| Self(BufWriter::new(file)))
    }

    /// Adds a line.
    pub fn write(&mut self, attempt: &Attempt) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, attempt)?;
        self.0.write_all(b"\n")
    }

    /// Ends the ledger.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A ledger that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not an attempt.
    #[error("{path}, line {line}: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Reads a whole ledger.
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
            created_at: Moment(1),
            event_at: Moment(2),
            attempt: 1,
            sent_at: Moment(3),
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
        assert!(read(&path).unwrap_err().to_string().contains("line 1: missing field"));
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
