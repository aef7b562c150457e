//! What a process has used, by the kernel's account.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A tick of `/proc/PID/stat`: a hundredth of a second on every Linux, whatever the kernel was built with.
const TICK: Duration = Duration::from_millis(10);

/// A running process.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// The one that listens on a port of this machine.
    pub fn listening_on(port: u16) -> anyhow::Result<Self> {
        let socket = format!("socket:[{}]", listening_inode(port)?);
        for process in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Processes of others, and those that just ended, cannot be looked into.
            let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
            if files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new(&socket))) {
                return Ok(Self(pid));
            }
        }
        bail!("no process that we may look into listens on port {port}: the server must run here, under the same user");
    }

    /// User and system time since it started, of all its threads.
    pub fn cpu(self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(TICK * ticks)
    }

    /// The most memory it has had resident, in bytes.
    pub fn peak_memory(self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        Ok(peak.context("/proc/PID/status has no VmHWM")?.trim().parse::<u64>()? * 1024)
    }
}

/// The inode of the socket that listens on a port.
fn listening_inode(port: u16) -> anyhow::Result<u64> {
    const LISTEN: &str = "0A";
    let local = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, address, _, state, _, _, _, _, _, inode, ..] = fields.as_slice()
                && address.ends_with(&local)
                && *state == LISTEN
            {
                return Ok(inode.parse()?);
            }
        }
    }
    bail!("nothing listens on port {port} of this machine")
}
