//! From probes to verdicts: rise and fall, staleness, shadow.

use std::fmt;
use std::sync::Arc;

use crate::contract::{Contract, Mismatch, Report, Weight};
use crate::id::KeySet;
use crate::moment::Moment;
use crate::policy::Probing;
use crate::snapshot::Verdict;

/// Why a probe gave no report that could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeFailure {
    /// No connection could be made.
    Connect,
    /// The whole probe took longer than its timeout.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// The answer had a status other than 200.
    Status(u16),
    /// The answer was larger than the policy allows.
    TooLarge,
    /// A key is read from the body, and the body is not a JSON object.
    NotJson,
    /// The endpoint itself says that it is not ready.
    NotReady,
}

impl ProbeFailure {
    /// Every word there is.
    pub const WORDS: [&str; 7] =
        ["connect", "timeout", "broken", "status", "too_large", "not_json", "not_ready"];

    /// The failure as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Timeout => f.write_str("no whole answer in time"),
            Self::Broken => f.write_str("the connection broke"),
            Self::Status(status) => write!(f, "status {status} instead of 200"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::NotJson => f.write_str("the body is not a JSON object"),
            Self::NotReady => f.write_str("it says that it is not ready"),
        }
    }
}

/// What is known about one endpoint.
///
/// Plain data, so that a board's memory can hold it; the board itself keeps it to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What we concluded.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// What it said last; kept when it falls silent.
    pub report: Option<Arc<Report>>,
    /// Where that differs from the contract.
    pub mismatches: Arc<[Mismatch]>,
    /// The vetoing keys among the differences.
    pub vetoes: KeySet,
    /// Why the last probe failed, if it did.
    pub failure: Option<ProbeFailure>,
    /// When the last probe ended.
    pub probed: Option<Moment>,
    /// What the last probe alone said.
    pub last: Verdict,
    /// How many probes in a row found it routable.
    pub good: u32,
    /// How many in a row did not.
    pub bad: u32,
    /// How many in a row said the same.
    pub same: u32,
}

impl Health {
    /// An endpoint that nothing is known about.
    pub fn unknown(now: Moment) -> Self {
        Self {
            verdict: Verdict::Unknown,
            since: now,
            report: None,
            mismatches: Arc::new([]),
            vetoes: KeySet::EMPTY,
            failure: None,
            probed: None,
            last: Verdict::Unknown,
            good: 0,
            bad: 0,
            same: 0,
        }
    }

    /// Takes in the result of one probe; answers the verdict that it ended, if it did.
    pub fn observe(
        &mut self,
        now: Moment,
        outcome: Result<Report, ProbeFailure>,
        contract: &Contract,
        probing: &Probing,
    ) -> Option<Verdict> {
        self.probed = Some(now);
        self.failure = match outcome {
            Ok(report) => {
                let ready = report.ready != Some(false);
                self.keep(Arc::new(report), contract, now);
                (!ready).then_some(ProbeFailure::NotReady)
            }
            Err(failure) => Some(failure),
        };
        let seen = self.judged(probing.shadow);
        self.count(seen);
        self.conclude(now, seen, probing)
    }

    /// Compares the last report with the contract again: after a reload, or when a rotation ends.
    ///
    /// Only the differences change here; a verdict changes by probes alone.
    pub fn compare(&mut self, contract: &Contract, now: Moment) {
        if let Some(report) = self.report.take() {
            self.keep(report, contract, now);
        }
    }

    /// Takes over what a report says when a new policy reads other keys, or reads them elsewhere.
    pub(crate) fn reread(&mut self, old: &Contract, new: &Contract) {
        if let Some(report) = &mut self.report {
            Arc::make_mut(report).found = old.moved(&report.found, new);
        }
    }

    /// Whether the endpoint is routable and its last probe says so too.
    pub(crate) fn is_vouched_for(&self) -> bool {
        self.verdict.is_routable() && self.last.is_routable()
    }

    /// Forgets what was counted and concluded when the last probe is too old; answers the verdict
    /// that ended, if one did.
    pub fn expire(&mut self, now: Moment, probing: &Probing) -> Option<Verdict> {
        if self.probed.is_some_and(|at| now.since(at) < probing.stale_after) {
            return None;
        }
        (self.good, self.bad, self.same) = (0, 0, 0);
        self.turn(now, Verdict::Unknown)
    }

    fn keep(&mut self, report: Arc<Report>, contract: &Contract, now: Moment) {
        let mismatches = contract.differences(&report, now);
        let vetoes = mismatches.iter().filter(|it| it.expected.weight == Weight::Veto);
        self.vetoes = vetoes.map(|it| it.key).collect();
        self.mismatches = mismatches.into();
        self.report = Some(report);
    }

    /// What the last probe alone says.
    fn judged(&self, shadow: bool) -> Verdict {
        let degrades = |it: &Mismatch| it.expected.weight == Weight::Degrade;
        if self.failure.is_some() {
            Verdict::Dark
        } else if shadow {
            Verdict::Green
        } else if !self.vetoes.is_empty() {
            Verdict::Mismatched
        } else if self.mismatches.iter().any(degrades) {
            Verdict::Degraded
        } else {
            Verdict::Green
        }
    }

    fn count(&mut self, seen: Verdict) {
        self.same = if seen == self.last { self.same.saturating_add(1) } else { 1 };
        self.last = seen;
        (self.good, self.bad) = if seen.is_routable() {
            (self.good.saturating_add(1), 0)
        } else {
            (0, self.bad.saturating_add(1))
        };
    }

    fn conclude(&mut self, now: Moment, seen: Verdict, probing: &Probing) -> Option<Verdict> {
        let proven = match (self.verdict.is_routable(), seen.is_routable()) {
            (false, true) => self.good >= probing.rise,
            (true, false) => self.bad >= probing.fall,
            // Nobody is routed there, so the reason may change at once.
            (false, false) => true,
            (true, true) if seen == Verdict::Green => self.same >= probing.rise,
            (true, true) => self.same >= probing.fall,
        };
        if proven { self.turn(now, seen) } else { None }
    }

    fn turn(&mut self, now: Moment, to: Verdict) -> Option<Verdict> {
        if self.verdict == to {
            return None;
        }
        let from = std::mem::replace(&mut self.verdict, to);
        self.since = now;
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_words_for_machines_and_for_people() {
        let told = |failure: ProbeFailure| (failure.word(), failure.to_string());
        let expected = |word, text: &str| (word, text.to_owned());
        assert_eq!(told(ProbeFailure::Connect), expected("connect", "no connection"));
        assert_eq!(told(ProbeFailure::Timeout), expected("timeout", "no whole answer in time"));
        assert_eq!(told(ProbeFailure::Broken), expected("broken", "the connection broke"));
        let status = expected("status", "status 503 instead of 200");
        assert_eq!(told(ProbeFailure::Status(503)), status);
        assert_eq!(told(ProbeFailure::TooLarge), expected("too_large", "the answer is too large"));
        let not_json = expected("not_json", "the body is not a JSON object");
        assert_eq!(told(ProbeFailure::NotJson), not_json);
        let not_ready = expected("not_ready", "it says that it is not ready");
        assert_eq!(told(ProbeFailure::NotReady), not_ready);
    }
}
