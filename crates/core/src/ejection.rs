//! Taking an endpoint out because of what happens to traffic, made for few targets.
//!
//! With three regions of two endpoints there is no population to compare with, so each endpoint
//! has a budget of its own. Connections that could not be made and answers that failed are judged
//! apart: the first are our word against the network's, the second are the endpoint's own.

use std::collections::VecDeque;

use crate::moment::Moment;
use crate::policy::EjectionRules;

#[cfg(test)]
mod tests;

/// Most samples that a window keeps; older ones are merged into the oldest that stays.
pub const SAMPLES_MAX: usize = 128;

/// What happened to the requests of one endpoint since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers whose head arrived, and exchanges that broke after something was sent.
    pub answered: u64,
    /// Those among them that failed: a status of 500 or above, or a broken exchange.
    pub failed: u64,
    /// Connections that were made.
    pub connected: u64,
    /// Connections that could not be made.
    pub unconnected: u64,
    /// First-byte times of the answers, added up, in microseconds.
    pub first_byte_us: u64,
}

/// Whether and how long one endpoint is ejected.
///
/// Plain data, so that a board's memory can hold it; the board itself keeps it to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ejection {
    /// The tally that was seen last; counters begin anew with a process, and so does this.
    pub last: Tally,
    /// Connections that could not be made since one was made.
    pub unconnected_in_a_row: u64,
    /// When answers were counted, how many, and how many failed; at most [`SAMPLES_MAX`].
    pub samples: VecDeque<(Moment, u64, u64)>,
    /// From when to when it is out, if it is.
    pub out: Option<Out>,
    /// How often it went out in a row.
    pub times: u32,
    /// When it came back last.
    pub returned: Option<Moment>,
}

/// The time in which an endpoint is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    /// When it went out.
    pub from: Moment,
    /// When it may come back.
    pub until: Moment,
}

impl Ejection {
    /// Whether the endpoint is out.
    pub fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// Takes in the tally of this moment; answers whether the endpoint went out because of it.
    pub fn observe(&mut self, now: Moment, tally: Tally, rules: &EjectionRules) -> bool {
        let grown = |new: u64, old: u64| new.saturating_sub(old);
        let answered = grown(tally.answered, self.last.answered);
        let failed = grown(tally.failed, self.last.failed);
        let unconnected = grown(tally.unconnected, self.last.unconnected);
        let alive = grown(tally.connected, self.last.connected) + answered > failed;
        self.last = tally;
        self.unconnected_in_a_row =
            if alive { 0 } else { self.unconnected_in_a_row.saturating_add(unconnected) };
        if answered > 0 {
            self.sample(now, answered, failed);
        }
        self.trim(now, rules);
        if !rules.enabled || self.is_out() || !self.is_over_budget(rules) {
            return false;
        }
        self.eject(now, rules);
        true
    }

    /// Lets the endpoint back in once its time is over and a probe has vouched for it.
    ///
    /// `proven` is the moment of its last probe, if that found it routable; an endpoint whose
    /// contract does not match stays out however long its time has been over. Answers whether it
    /// came back.
    pub fn settle(&mut self, now: Moment, proven: Option<Moment>) -> bool {
        let Some(out) = self.out else { return false };
        if now < out.until || proven.is_none_or(|at| at <= out.from) {
            return false;
        }
        self.out = None;
        self.returned = Some(now);
        self.unconnected_in_a_row = 0;
        self.samples.clear();
        true
    }

    fn sample(&mut self, now: Moment, answered: u64, failed: u64) {
        if self.samples.len() >= SAMPLES_MAX
            && let Some((_, oldest_answered, oldest_failed)) = self.samples.pop_front()
            && let Some(next) = self.samples.front_mut()
        {
            next.1 = next.1.saturating_add(oldest_answered);
            next.2 = next.2.saturating_add(oldest_failed);
        }
        self.samples.push_back((now, answered, failed));
    }

    fn trim(&mut self, now: Moment, rules: &EjectionRules) {
        while self.samples.front().is_some_and(|(at, ..)| now.since(*at) > rules.window) {
            self.samples.pop_front();
        }
        // A long time without trouble wipes the slate: the next ejection is a first one again.
        if self.returned.is_some_and(|at| now.since(at) > rules.max) {
            self.times = 0;
            self.returned = None;
        }
    }

    fn is_over_budget(&self, rules: &EjectionRules) -> bool {
        let answered: u64 = self.samples.iter().map(|(_, answered, _)| answered).sum();
        let failed: u64 = self.samples.iter().map(|(.., failed)| failed).sum();
        let over =
            failed.saturating_mul(100) > answered.saturating_mul(rules.budget_percent.into());
        self.unconnected_in_a_row >= u64::from(rules.connect_failures)
            || (answered >= u64::from(rules.volume_min) && over)
    }

    fn eject(&mut self, now: Moment, rules: &EjectionRules) {
        let doubled = rules.base.saturating_mul(1_u32.checked_shl(self.times).unwrap_or(u32::MAX));
        self.out = Some(Out { from: now, until: now.plus(doubled.min(rules.max)) });
        self.times = self.times.saturating_add(1);
        self.returned = None;
    }
}
