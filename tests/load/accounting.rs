//! What a process tree has used so far, in the kernel's own books.

use std::fs;
use std::io;
use std::time::Duration;

/// One line of `/proc/PID/stat`, as far as it matters here.
#[derive(Clone, Copy, Debug)]
struct Entry {
    process: u32,
    parent: u32,
    ticks: u64,
}

/// The processor time of a process and all its living descendants, user and system together.
///
/// Work that the kernel does for loopback traffic in the name of the sender is part of it, for
/// every proxy alike.
pub(crate) fn cpu(root: u32, ticks_per_second: u32) -> io::Result<Duration> {
    let ticks: u64 = family(root)?.iter().map(|entry| entry.ticks).sum();
    Ok(Duration::from_millis(ticks * 1000 / u64::from(ticks_per_second)))
}

/// The highest resident memory of the tree in KiB: the sum of each process's own peak.
pub(crate) fn peak_kib(root: u32) -> io::Result<u64> {
    sum_kib(root, "VmHWM:")
}

/// The resident memory of the tree now, in KiB.
pub(crate) fn resident_kib(root: u32) -> io::Result<u64> {
    sum_kib(root, "VmRSS:")
}

fn sum_kib(root: u32, field: &str) -> io::Result<u64> {
    let mut sum = 0;
    for process in tree(root)? {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        sum += value.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The process and all its living descendants.
pub(crate) fn tree(root: u32) -> io::Result<Vec<u32>> {
    Ok(family(root)?.iter().map(|entry| entry.process).collect())
}

fn family(root: u32) -> io::Result<Vec<Entry>> {
    let everybody = everybody()?;
    let Some(first) = everybody.iter().find(|entry| entry.process == root) else {
        return Err(io::Error::other(format!("process {root} is gone")));
    };
    let mut family = vec![*first];
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in everybody.iter().filter(|entry| entry.parent == parent) {
            family.push(*child);
            parents.push(child.process);
        }
    }
    Ok(family)
}

fn everybody() -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for directory in fs::read_dir("/proc")? {
        let name = directory?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends between the two reads is no longer anybody's descendant.
        let Ok(text) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        entries.extend(entry(process, &text));
    }
    Ok(entries)
}

/// Reads one line. The program's name stands in brackets and may itself hold brackets and blanks.
fn entry(process: u32, text: &str) -> Option<Entry> {
    let (_, rest) = text.rsplit_once(')')?;
    // proc(5): after the name come state, ppid, nine others, utime and stime.
    let mut fields = rest.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Entry { process, parent, ticks: user + system })
}
