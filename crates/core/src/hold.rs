//! Holding a region back after it was lost: failback, hysteresis, and the freeze of a flapping one.
//!
//! A region that is held back is the last resort of reads by distance. A pin or a demand of the
//! request still reaches it: those ask for the region itself, and it is green.

use std::collections::VecDeque;

use crate::moment::Moment;
use crate::policy::{Failback, FailbackRules};
use crate::snapshot::Held;

#[cfg(test)]
mod tests;

/// Most losses that are remembered.
pub const LOSSES_MAX: usize = 64;

/// Whether and why one region is held back.
///
/// Plain data, so that a board's memory can hold it; the board itself keeps it to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Since when it is routable, if it is.
    pub routable_since: Option<Moment>,
    /// When it was lost, oldest first; at most [`LOSSES_MAX`].
    pub losses: VecDeque<Moment>,
    /// Whether it was lost and has not taken its traffic back since.
    pub waiting: bool,
    /// Until when it is frozen, if it is.
    pub frozen_until: Option<Moment>,
}

impl Hold {
    /// Takes in whether the region is routable at this moment.
    pub fn observe(&mut self, now: Moment, routable: bool, rules: &FailbackRules) {
        match (self.routable_since, routable) {
            (None, true) => self.routable_since = Some(now),
            (Some(_), false) => self.lose(now, rules),
            (None, false) | (Some(_), true) => {}
        }
        if self.frozen_until.is_some_and(|until| until <= now) {
            self.frozen_until = None;
            self.losses.clear();
        }
        if let Some(since) = self.routable_since
            && let Failback::After(after) = rules.mode
            && after.max(rules.hysteresis) <= now.since(since)
        {
            self.waiting = false;
        }
    }

    /// The operator lets the region take its traffic back at once.
    pub fn release(&mut self) {
        self.waiting = false;
        self.frozen_until = None;
        self.losses.clear();
    }

    /// Why the region is held back, if it is.
    pub fn held(&self, rules: &FailbackRules) -> Option<Held> {
        match (self.frozen_until, self.waiting, rules.mode) {
            (Some(_), ..) => Some(Held::Frozen),
            (None, true, Failback::Manual) => Some(Held::Manual),
            (None, true, Failback::After(_)) => Some(Held::Recovering),
            (None, false, _) => None,
        }
    }

    fn lose(&mut self, now: Moment, rules: &FailbackRules) {
        self.routable_since = None;
        self.waiting = true;
        self.losses.push_back(now);
        while self.losses.len() > LOSSES_MAX
            || self.losses.front().is_some_and(|at| now.since(*at) > rules.within)
        {
            self.losses.pop_front();
        }
        let flips = usize::try_from(rules.flips).unwrap_or(usize::MAX);
        if flips <= self.losses.len() {
            self.frozen_until = Some(now.plus(rules.freeze));
        }
    }
}
