//! What the log says about policies.

use std::time::Duration;

use tidegate_policy::Change;

use super::{Done, Refused, Trigger};

/// Most changes that the log tells one by one.
const CHANGES_TOLD_MAX: usize = 100;

/// Tells that another policy is in force, and line by line what that changes.
pub(super) fn applied(trigger: Trigger, done: &Done, took: Duration) {
    let (generation, digest) = (done.status.generation, done.status.short_digest());
    let (trigger, result) = (trigger.word(), done.result.word());
    let changes = done.changes.len();
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(trigger, result, generation, digest, changes, took_ms, "policy loaded");
    lines(&done.changes);
}

/// Tells that the policy before is in force again.
pub(super) fn rolled_back(trigger: Trigger, done: &Done) {
    let (generation, digest) = (done.status.generation, done.status.short_digest());
    let (trigger, changes) = (trigger.word(), done.changes.len());
    tracing::warn!(trigger, generation, digest, changes, "policy rolled back");
    lines(&done.changes);
}

/// Tells why an order changed nothing: one line, however much is wrong.
pub(super) fn refused(trigger: Trigger, refused: &Refused) {
    let (trigger, result) = (trigger.word(), refused.code());
    let report = refused.to_string().replace('\n', "; ");
    tracing::error!(trigger, result, report, "policy not loaded, the one in force stays");
}

fn lines(changes: &[Change]) {
    for change in changes.iter().take(CHANGES_TOLD_MAX) {
        tracing::info!(%change, "policy changed");
    }
    let rest = changes.len().saturating_sub(CHANGES_TOLD_MAX);
    if 0 < rest {
        tracing::info!(rest, "policy changed in more ways");
    }
}
