//! The successor as a process: started so that it belongs to nobody, found and killed all the same.
//!
//! The process that is started starts the successor and ends, so that the successor becomes a child
//! of the service manager. systemd takes a main process that is not its own child for a stranger: it
//! does not notice its end, and when the service stops it does not wait for it but kills everything.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tidegate_control::clock;

use super::{Called, LINE, STARTS, SUCCEEDS};

/// How long somebody who closed the line, or was killed, gets to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// How often we look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Variables that a service manager means for one process alone.
const NOT_INHERITED: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The successor of an upgrade that is under way, once it is started. All copies are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Successor(Arc<Mutex<Option<Started>>>);

#[derive(Debug)]
struct Started {
    /// Who was started; it starts the successor and ends.
    starter: Child,
    /// What the standard input of the successor looks like, and of nobody else.
    input: String,
}

impl Successor {
    /// Starts a program that is to become the successor, with its end of the line.
    pub(super) fn start(&self, binary: &Path, called: &Called, line: OwnedFd) -> io::Result<()> {
        let line = File::from(line);
        let input = format!("socket:[{}]", line.metadata()?.ino());
        let mut command = Command::new(binary);
        command.args(&called.arguments).env(LINE, STARTS).stdin(Stdio::from(line));
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let starter = command.spawn()?;
        *self.started() = Some(Started { starter, input });
        Ok(())
    }

    /// Whether this process is the successor: its standard input is the line.
    pub(super) fn is(&self, pid: u32) -> bool {
        self.started().as_ref().is_some_and(|it| it.holds_line(pid))
    }

    /// How the program that was started ended, if it does so by itself soon.
    pub(super) fn last_words(&self) -> Option<String> {
        let until = clock::instant() + GONE_WITHIN;
        while clock::instant() < until {
            if let Some(Started { starter, .. }) = &mut *self.started()
                && let Ok(Some(status)) = starter.try_wait()
            {
                return Some(status.to_string());
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }

    /// Kills everybody who holds the other end of the line, and waits until they are gone.
    pub(super) fn end(&self) {
        let mut started = self.started();
        let Some(started) = &mut *started else { return };
        // It has mostly ended by itself.
        drop(started.starter.kill());
        drop(started.starter.wait());
        let until = clock::instant() + GONE_WITHIN;
        while clock::instant() < until {
            let holders = started.holders();
            if holders.is_empty() {
                return;
            }
            for pid in holders {
                started.kill(pid);
            }
            thread::sleep(LOOK_EVERY);
        }
        tracing::warn!("a successor that failed cannot be killed");
    }

    /// Lets the successor live without us.
    pub(super) fn let_go(&self) {
        if let Some(Started { mut starter, .. }) = self.started().take() {
            // A successor that did not let itself go is our child, and ends some day.
            let reaps = thread::Builder::new().name("reaper".to_owned());
            drop(reaps.spawn(move || drop(starter.wait())));
        }
    }

    fn started(&self) -> MutexGuard<'_, Option<Started>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Started {
    fn holds_line(&self, pid: u32) -> bool {
        let input = fs::read_link(format!("/proc/{pid}/fd/0"));
        input.is_ok_and(|it| it.as_os_str() == self.input.as_str())
    }

    fn holders(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let names = entries.flatten().filter_map(|it| it.file_name().into_string().ok());
        names.filter_map(|it| it.parse().ok()).filter(|pid| self.holds_line(*pid)).collect()
    }

    fn kill(&self, pid: u32) {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return };
        // The number may have gone to somebody else before it was opened, and cannot any more.
        if self.holds_line(pid) {
            let killed = pidfd_send_signal(&process, Signal::KILL);
            tracing::debug!(pid, ?killed, "a successor that failed is killed");
        }
    }
}

/// Starts the successor and lets it go: it has the same arguments and the same line.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start_and_let_go(called: &Called) -> io::Result<()> {
    let mut command = Command::new(&called.binary);
    // Nobody waits for it: we end.
    drop(command.args(&called.arguments).env(LINE, SUCCEEDS).spawn()?);
    Ok(())
}
