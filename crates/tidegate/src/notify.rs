//! What the service manager is told. Without one nobody listens, and nothing is said.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// The environment variable that says where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Whether the manager knows that the process serves.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// The process serves.
pub(crate) fn ready(status: &str) {
    IS_READY.store(true, Ordering::Relaxed);
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process begins to read its policy again; [`reloaded`] says that this is over.
///
/// The manager tells by the time which of several reloads is over.
pub(crate) fn reloading() {
    // Before it has served for the first time, nobody waits for the end of a reload.
    if !IS_READY.load(Ordering::Relaxed) {
        return;
    }
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the policy again")]);
}

/// The process has read its policy, and serves by it or by the one before.
pub(crate) fn reloaded(status: &str) {
    if IS_READY.load(Ordering::Relaxed) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }
}

/// How long the manager waits for a sign of life before it ends the process; `None` if for ever.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|it| !it.is_zero())
}

/// A way to the manager that is open from the start: who has no file left must still be able to say
/// that it lives.
#[derive(Debug)]
pub(crate) struct Pulses(Option<UnixDatagram>);

impl Pulses {
    /// Opens the way.
    pub(crate) fn open() -> Self {
        let connected = std::env::var_os(SOCKET).and_then(|path| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect(path).ok()?;
            Some(socket)
        });
        Self(connected)
    }

    /// The process lives.
    pub(crate) fn alive(&self) {
        let word = NotifyState::Watchdog.to_string();
        let sent = self.0.as_ref().is_some_and(|it| it.send(word.as_bytes()).is_ok());
        if !sent {
            // A manager that was replaced has another socket at the same path.
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// The process begins to stop.
pub(crate) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Which process is the service from now on.
pub(crate) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The process still ends: the manager waits for it this much longer, whatever its limit is.
pub(crate) fn still_stopping(longer: Duration, status: &str) {
    let micros = u32::try_from(longer.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
