//! A store of one key: what it has, what its copy has, and whether it lets anybody in.

use tidegate_core::Moment;
use tidegate_core::fence::record::{Phase, Record};
use tidegate_core::fence::rules::{self, Change, Claimed};

use crate::model::{Fence, Flaw, Guard};
use crate::world::terms;

/// One store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    pub(crate) record: Option<Record>,
    /// What the machine has that takes over.
    pub(crate) copy: Option<Record>,
    /// Its generation marker is gone, or its sequence went back: it takes no claims.
    pub(crate) is_closed: bool,
}

impl Side {
    pub(crate) fn change(&mut self, change: Change) {
        match change {
            Change::Keep => {}
            Change::Put(record) => self.record = Some(record),
            Change::Remove => self.record = None,
        }
    }

    /// A request claims the key. `None` when the store takes no claims.
    pub(crate) fn claim(&mut self, fence: &Fence, of: usize, now: Moment) -> Option<Claimed> {
        if self.is_closed {
            return None;
        }
        let is_over = |record: &Record| {
            fence.has(Flaw::RerunsAfterLease) && matches!(record.phase(now), Phase::InDoubt(_))
        };
        let held = self.record.as_ref().filter(|record| !is_over(record));
        let (claimed, change) = rules::claim(held, &terms(of), now);
        self.change(change);
        if fence.waits_for_copies() {
            self.copy.clone_from(&self.record);
        }
        Some(claimed)
    }

    /// A request gives its claim back.
    pub(crate) fn release(&mut self, fence: &Fence, of: usize) {
        if fence.has(Flaw::ForgetsOwners) {
            self.record = None;
            return;
        }
        let proof = tidegate_core::fence::proof::NonDelivery::ConnectFailed;
        let change = rules::release(self.record.as_ref(), terms(of).owner, proof).1;
        self.change(change);
    }

    /// The copy takes over.
    pub(crate) fn fail_over(&mut self, fence: &Fence) {
        self.is_closed |= fence.guard == Guard::Reasserts && self.record != self.copy;
        self.record.clone_from(&self.copy);
    }

    /// Everything is lost, the marker too.
    pub(crate) fn wipe(&mut self, fence: &Fence) {
        *self = Self { is_closed: fence.has_marker(), ..Self::default() };
    }
}
