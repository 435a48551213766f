//! When the failover window must be open, worked out from what everybody can see.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::board::Event;
use tidegate_core::drain::{Cause, Flip};
use tidegate_core::id::Name;
use tidegate_core::snapshot::{Snapshot, Verdict};
use tidegate_core::window::Window;

/// What was the matter, and when.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// Who has ever taken traffic: whether it takes any, by right or as a last resort, and whether
    /// others are preferred.
    known: BTreeMap<Name, (bool, bool, bool)>,
    is_asked: bool,
    /// Whether something was the matter that had not ended.
    lasts: bool,
    /// When something was the matter last, as long as that keeps the window open.
    last: Option<Moment>,
}

impl Windows {
    /// Sees the world after an event.
    pub(crate) fn see(&mut self, now: Moment, event: &Event, snapshot: &Snapshot, drains: &[Flip]) {
        let has_flipped = self.has_flipped(snapshot);
        let length = length(snapshot);
        if let Event::WindowAsked { open, .. } = event {
            self.is_asked = *open;
        }
        self.is_asked &= length.is_some();
        let is_emptied = |it: &Flip| it.drain.cause == Cause::Operator && !it.drain.is_drained();
        let lasts = self.is_asked || drains.iter().any(is_emptied);
        let did_last = std::mem::replace(&mut self.lasts, lasts && length.is_some());
        self.last = match length {
            None => None,
            Some(_) if lasts || has_flipped || did_last => Some(now),
            Some(length) => self.last.filter(|at| now < at.plus(length)),
        };
    }

    fn has_flipped(&mut self, snapshot: &Snapshot) -> bool {
        let mut has_flipped = false;
        let mut present = BTreeMap::new();
        for (id, region) in snapshot.iter() {
            let takes = snapshot.routable.contains(id);
            let last = takes && region.held.is_some();
            let behind = takes && !last && region.verdict == Verdict::Degraded;
            let before = self.known.get(&region.name);
            has_flipped |= before.is_some_and(|it| *it != (takes, last, behind));
            if takes || before.is_some() {
                present.insert(Name::clone(&region.name), (takes, last, behind));
            }
        }
        let mut gone = self.known.iter().filter(|(name, _)| !present.contains_key(*name));
        has_flipped |= gone.any(|(_, (takes, ..))| *takes);
        self.known = present;
        has_flipped
    }

    /// Whether something was the matter so short a time ago that writes may come again.
    pub(crate) fn may_come_again(&self) -> bool {
        self.last.is_some()
    }

    /// When the window shuts, if it is open and nothing else happens.
    pub(crate) fn until(&self, snapshot: &Snapshot) -> Option<Moment> {
        if self.lasts { None } else { Some(self.last?.plus(length(snapshot)?)) }
    }
}

/// For how long a flip is remembered.
pub(crate) fn length(snapshot: &Snapshot) -> Option<Duration> {
    snapshot.policy.fence.as_ref().map(|it| it.failover_window)
}

/// When a window shuts, if it says so.
pub(crate) fn until(window: &Window) -> Option<Moment> {
    match window {
        Window::Open(opening) => opening.until,
        Window::Shut => None,
    }
}
