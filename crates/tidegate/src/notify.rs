//! What the service manager is told. Without one nobody listens, and nothing is said.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

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
