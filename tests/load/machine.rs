//! What this machine offers: cores to pin to, tools to start, and words to describe it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where everything runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The core of the proxy under test.
    pub(crate) proxy: u32,
    /// The core that the origin and the load generator share.
    pub(crate) load: u32,
}

impl Cores {
    /// Takes the first core that this process may use for everything, or the first two.
    ///
    /// On one core the CPU of a request is the proxy's own work. On two, the proxy pays for waking
    /// the other core whenever it has gone to sleep, which on virtual machines costs as much as
    /// the request, and falls on the slower proxy more often.
    pub(crate) fn take(apart: bool) -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .map(allowed_cores)
            .unwrap_or_default();
        match allowed.as_slice() {
            [core, ..] if !apart => Ok(Self { proxy: *core, load: *core }),
            [proxy, load, ..] => Ok(Self { proxy: *proxy, load: *load }),
            _ => Err(io::Error::other("two cores are needed: one for the proxy, one for load")),
        }
    }
}

/// Reads a list such as `0-3,8` as far as its first numbers matter.
fn allowed_cores(list: &str) -> Vec<u32> {
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
            cores.extend(from..=to);
        }
    }
    cores
}

/// Finds a program in the usual places; Debian keeps servers in `sbin`, outside a user's `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|place| Path::new(place).join(program))
        .find(|path| path.is_file())
}

/// How many clock ticks of `/proc/PID/stat` make one second.
pub(crate) fn ticks_per_second() -> io::Result<u32> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

/// The processor's name, for the reader of a report.
pub(crate) fn processor() -> String {
    let named = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(": ").map(|(_, name)| name.to_owned())
    });
    named.unwrap_or_else(|| "unknown processor".to_owned())
}

/// The first line a program prints about its version, on either stream.
pub(crate) fn version(program: &Path) -> String {
    let Ok(output) = Command::new(program).arg("-v").output() else {
        return "unknown version".to_owned();
    };
    let mut said = output.stdout;
    said.extend(output.stderr);
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
