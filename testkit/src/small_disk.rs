//! A disk of a test's own, which the test fills and empties: a tmpfs in a mount namespace of the process that uses it, so that
//! it goes with the process.

use std::ffi::OsStr;
use std::fs::{File, create_dir_all, metadata, read_dir, remove_file};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk that a test may fill holds.
#[derive(Clone, Copy, Debug)]
pub struct SmallDisk {
    pub megabytes: u32,
    /// How many files and folders it takes.
    pub files: u32,
}

/// What takes up a disk.
#[derive(Clone, Copy, Debug)]
pub enum Filler {
    Bytes,
    /// Empty ones: there is room for bytes, and for no new file.
    Files,
}

impl SmallDisk {
    /// Makes `command` see an empty disk at `path`. Panics where this user may not mount one.
    pub(crate) fn mounted_at(self, path: &Path, command: &Command) -> Command {
        create_dir_all(path).unwrap();
        let check = self.around(path, &Command::new("true")).output().expect("to run unshare, of util-linux");
        assert!(
            check.status.success(),
            "a tmpfs cannot be mounted in a mount namespace: {}: run this test as root with CAP_SYS_ADMIN, or where users may \
             make user namespaces",
            String::from_utf8_lossy(&check.stderr).trim()
        );
        self.around(path, command)
    }

    fn around(self, path: &Path, command: &Command) -> Command {
        let Self { megabytes, files } = self;
        let mut unshare = Command::new("unshare");
        unshare.arg("--mount");
        let is_root = metadata("/proc/self").unwrap().uid() == 0;
        if !is_root {
            unshare.arg("--map-root-user");
        }
        // The last program keeps the id of the first.
        let mount = format!("mount -t tmpfs -o size={megabytes}m,nr_inodes={files} tmpfs \"$0\" && exec \"$@\"");
        unshare.args([OsStr::new("sh"), OsStr::new("-c"), mount.as_ref(), path.as_os_str()]);
        unshare.arg(command.get_program()).args(command.get_args());
        unshare
    }
}

/// Fills the disk that holds `folder` until it takes no more.
pub(crate) fn fill(folder: &Path, with: Filler) {
    let block = [0; 4_096];
    let result = match with {
        Filler::Bytes => {
            let mut file = File::create(filler(folder, 0)).unwrap();
            std::iter::repeat_with(|| file.write_all(&block)).find_map(Result::err)
        }
        Filler::Files => (0..).map(|number| File::create(filler(folder, number))).find_map(Result::err),
    };
    assert_eq!(result.map(|error| error.kind()), Some(ErrorKind::StorageFull));
}

/// Removes what filled the disk.
pub(crate) fn empty(folder: &Path) {
    for entry in read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() == Some(OsStr::new("filler")) {
            remove_file(path).unwrap();
        }
    }
}

fn filler(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}.filler"))
}
