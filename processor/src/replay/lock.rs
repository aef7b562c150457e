//! A lock beside the state file, so that two replays never continue from the same progress.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The lock of a state file. The kernel lets it go with the process, also where that is killed.
#[derive(Debug)]
pub struct StateLock {
    /// The state file itself is replaced at each save, so another one is locked.
    path: PathBuf,
    _file: File,
}

impl StateLock {
    /// Fails at once where another replay holds the lock.
    pub fn acquire(state: &Path) -> anyhow::Result<Self> {
        Self::acquire_for("replay", state)
    }

    /// The same for another kind of work that keeps its state in a file.
    pub fn acquire_for(work: &str, state: &Path) -> anyhow::Result<Self> {
        let mut path = state.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let context = || format!("--state {}: cannot lock {}", state.display(), path.display());
        loop {
            let mut options = File::options();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).open(&path).with_context(context)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Without the number the message is still true.
                    let _ = file.read_to_string(&mut holder);
                    bail!(
                        "--state {} is in use by another {work}, process {}: wait for its end, or name another file",
                        state.display(),
                        holder.trim()
                    );
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
            // Whoever held it before may have removed the file between its opening and its locking here.
            let is_current =
                std::fs::metadata(&path).ok().zip(file.metadata().ok()).is_some_and(|(a, b)| a.ino() == b.ino());
            if is_current {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(context)?;
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // A file that stays is locked by nobody and changes nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_is_locked_once_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one.json"), folder.path().join("other.json"));
        let lock = StateLock::acquire(&one).unwrap();
        let refused = StateLock::acquire(&one).unwrap_err().to_string();
        let own = format!("one.json is in use by another replay, process {}:", std::process::id());
        assert!(refused.contains(&own), "{refused}");
        let _other = StateLock::acquire(&other).unwrap();
        drop(lock);
        let _again = StateLock::acquire(&one).unwrap();
    }

    #[test]
    fn a_lock_file_that_a_killed_process_left_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("state.json.lock"), "12345\n").unwrap();
        assert!(StateLock::acquire(&folder.path().join("state.json")).is_ok());
    }
}
