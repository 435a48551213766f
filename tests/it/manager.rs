//! A service manager, as far as a service hears and tells it: the socket that systemd has for that.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tidegate_harness::{Balancer, FakeRegion, TempDir, free_address, wait_until};

use crate::setting::{PolicyText, SOON, Setting, TIDEGATE};

/// The socket of a service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    fn next(&self, within: Duration) -> std::io::Result<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Waits for a message with this line, and answers its first line after those that may come.
    #[track_caller]
    pub(crate) fn hears(&self, wanted: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let next = self.next(SOON);
            assert!(next.is_ok(), "{wanted}: {next:?} after {heard:?}");
            let text = next.unwrap();
            if let Some(line) = text.lines().find(|it| it.starts_with(wanted)) {
                return line.to_owned();
            }
            heard.push(text);
        }
    }

    /// Waits until nothing was said for so long.
    #[track_caller]
    pub(crate) fn hears_nothing_for(&self, silence: Duration) {
        wait_until(SOON, "nothing is said", || self.next(silence).is_err());
    }

    /// Forgets what was said so far.
    pub(crate) fn forgets(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 1]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// A balancer that this manager has started.
    pub(crate) fn setting(&self, policy: &PolicyText) -> Setting {
        self.starts(policy, "exec \"$TIDEGATE\" \"$@\"")
    }

    /// The same, by a script; `$TIDEGATE` is the program, and the arguments are its own.
    pub(crate) fn starts(&self, policy: &PolicyText, script: &str) -> Setting {
        let regions = vec![FakeRegion::start("near")];
        let door = free_address();
        let socket = self.directory.path().join("notify").display().to_string();
        let env = [("NOTIFY_SOCKET", &*socket), ("TIDEGATE", TIDEGATE)];
        let program = self.directory.write("start", &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let program = program.display().to_string();
        let balancer = Balancer::start_with(&program, &policy.text(door, &regions), &env);
        Setting { regions, balancer, door }
    }
}
