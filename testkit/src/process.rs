//! What a process has used, by the kernel's account in `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// A tick of `/proc/PID/stat`: a hundredth of a second on every Linux, whatever the kernel was built with.
const TICK: Duration = Duration::from_millis(10);

/// A running process of this machine, by its id.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// The process that listens on a TCP port. It must belong to the same user.
    pub fn listening_on(port: u16) -> Self {
        let socket = format!("socket:[{}]", listening_inode(port));
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Processes of other users, and those that just ended, cannot be looked into.
            let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
            if files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(&socket))) {
                return Self(pid);
            }
        }
        panic!("no process of this user listens on port {port}: the server must run here, under the same user");
    }

    /// User and system time of all its threads since it started, in steps of 10 ms.
    pub fn cpu(self) -> Duration {
        self.ticks(11)
    }

    /// User and system time of its children that have ended.
    pub fn cpu_of_children(self) -> Duration {
        self.ticks(13)
    }

    /// The sum of two fields of `stat`, of which the first is that many behind the name.
    fn ticks(self, field: usize) -> Duration {
        let stat = self.read("stat");
        // The name, in parentheses, may hold anything; utime, stime, cutime and cstime are the 12th to 15th field after it.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        TICK * fields.split(' ').skip(field).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum()
    }

    /// A line of `/proc/PID/status` that is given in kB, in bytes: `VmRSS` is what is resident now, `VmHWM` the most that
    /// ever was.
    pub fn memory(self, line: &str) -> u64 {
        let status = self.read("status");
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.strip_suffix(" kB"));
        value.unwrap_or_else(|| panic!("/proc/{}/status has no {line} in kB", self.0)).trim().parse::<u64>().unwrap()
            << 10
    }

    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}: the process has ended"))
    }
}

/// The inode of the socket that listens on a TCP port.
fn listening_inode(port: u16) -> u64 {
    const LISTEN: &str = "0A";
    let local = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, address, _, state, _, _, _, _, _, inode, ..] = fields.as_slice()
                && address.ends_with(&local)
                && *state == LISTEN
            {
                return inode.parse().unwrap();
            }
        }
    }
    panic!("nothing listens on port {port} of this machine")
}
