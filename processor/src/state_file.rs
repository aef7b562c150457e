//! What a command that takes long has planned and done, in a file of JSON: one that was killed goes on.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file that `--state` names, and that is how it prints.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl fmt::Display for StateFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "--state {}", self.0.display())
    }
}

impl StateFile {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The path of another file of the same command.
    pub fn beside(&self, extension: &str) -> PathBuf {
        self.0.with_extension(extension)
    }

    /// Reads what was saved, `holds` for errors; nothing where there is no file.
    pub fn read<T: DeserializeOwned>(&self, holds: &str) -> anyhow::Result<Option<T>> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| self.to_string()),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("{self} does not hold {holds}"))
    }

    pub fn save(&self, content: &impl Serialize) -> anyhow::Result<()> {
        write_anew(&self.0, content).with_context(|| self.to_string())
    }

    pub fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.0).with_context(|| self.to_string())
    }
}

/// Writes a new file and renames it, so that a crash leaves the old one or the new one.
pub fn write_anew(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(content)?)?;
    Ok(std::fs::rename(&temporary, path)?)
}
