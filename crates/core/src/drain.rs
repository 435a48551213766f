//! Emptying a region or an endpoint without cutting what is open there: Active, Draining, Drained.
//!
//! A drain only watches. It counts how what is open ends, tells once when that takes too long, and
//! asks for anything to be closed only when the policy sets a hard deadline.

use std::net::SocketAddr;
use std::time::Duration;

use crate::id::Name;
use crate::moment::Moment;
use crate::policy::DrainRules;
use crate::snapshot::Verdict;

#[cfg(test)]
mod tests;

/// Why something is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The operator takes it out.
    Operator,
    /// It does not match the contract any more.
    Mismatch,
    /// It does not answer any more, or nothing is known of it any more.
    Dark,
    /// It is not in the policy any more, or not in the list of its region.
    Removed,
    /// The process stops.
    Stop,
    /// Another process takes over.
    Upgrade,
}

impl Cause {
    /// Every cause there is.
    pub const ALL: [Self; 6] =
        [Self::Operator, Self::Mismatch, Self::Dark, Self::Removed, Self::Stop, Self::Upgrade];

    /// The cause as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Mismatch => "mismatch",
            Self::Dark => "dark",
            Self::Removed => "removed",
            Self::Stop => "stop",
            Self::Upgrade => "upgrade",
        }
    }

    /// Why something with this verdict, which had served, serves no more.
    pub(crate) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Mismatched | Verdict::Mixed | Verdict::Green | Verdict::Degraded => {
                Self::Mismatch
            }
            Verdict::Dark | Verdict::Unknown => Self::Dark,
        }
    }

    /// Whether a drain with this cause goes on when `other` is the cause from now on.
    ///
    /// A region that first differs and then falls silent empties once, not twice.
    fn goes_on_as(self, other: Self) -> bool {
        self == other || (self.is_verdict() && other.is_verdict())
    }

    /// Whether a verdict was lost, by somebody who therefore had it and has served.
    pub(crate) fn is_verdict(self) -> bool {
        matches!(self, Self::Mismatch | Self::Dark)
    }
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It was decided; what is open has not been counted since.
    Beginning,
    /// Something is open.
    Draining,
    /// Nothing was open any more after this time.
    Drained {
        /// From its beginning to its end.
        took: Duration,
    },
}

/// One drain of one region or endpoint, from its cause to its end.
///
/// Once it has begun, `open_at_start + joined` is `outcomes.total() + open + moved`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Drain {
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Moment,
    /// How far it has come.
    pub stage: Stage,
    /// What was open when it began.
    pub open_at_start: u64,
    /// What began later all the same: in an older world, or because a rule lets it.
    pub joined: u64,
    /// What is open now.
    pub open: u64,
    /// What is still open and belongs to another drain now, as of an endpoint that was removed.
    pub moved: u64,
    /// How what has ended since its beginning ended.
    pub outcomes: Outcomes,
    /// Whether it takes longer than it should.
    pub is_overdue: bool,
    /// Whether what is open was told to close.
    pub is_forced: bool,
}

/// What became of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// It has begun, and what is open was counted.
    Began,
    /// It takes longer than it should. Said once.
    Overdue,
    /// Its hard deadline has passed: what is open must be closed. Said once.
    Deadline,
    /// Nothing is open any more.
    Drained,
    /// Its cause is gone before its end: it has its traffic back.
    Returned,
    /// Another cause has taken over, or the drain of the whole region.
    Superseded,
}

impl Turn {
    /// The turn as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Overdue => "overdue",
            Self::Deadline => "deadline",
            Self::Drained => "drained",
            Self::Returned => "returned",
            Self::Superseded => "superseded",
        }
    }

    /// Whether this is how a drain ends.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Drained | Self::Returned | Self::Superseded)
    }
}

/// A drain, and what it empties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flip {
    /// The region.
    pub region: Name,
    /// One of its endpoints, or all of it.
    pub endpoint: Option<SocketAddr>,
    /// The drain.
    pub drain: Drain,
}

impl Drain {
    /// A drain that was decided at this moment.
    pub fn new(cause: Cause, now: Moment) -> Self {
        Self {
            cause,
            since: now,
            stage: Stage::Beginning,
            open_at_start: 0,
            joined: 0,
            open: 0,
            moved: 0,
            outcomes: Outcomes::default(),
            is_overdue: false,
            is_forced: false,
        }
    }

    /// Whether it waits for a count of what is open.
    pub fn is_beginning(&self) -> bool {
        self.stage == Stage::Beginning
    }

    /// Whether it has come to its end.
    pub fn is_drained(&self) -> bool {
        matches!(self.stage, Stage::Drained { .. })
    }

    /// Whether it stays the same drain when this is the cause from now on.
    pub fn goes_on_as(&self, cause: Cause) -> bool {
        self.cause.goes_on_as(cause)
    }

    /// An endpoint that it covers was counted again.
    pub fn counted(&mut self, before: &Reading, after: &Reading) {
        if self.stage == Stage::Draining {
            self.outcomes = self.outcomes.and(&after.ended.since(&before.ended));
            self.joined = self.joined.saturating_add(after.begun().saturating_sub(before.begun()));
        }
    }

    /// So much of what is open belongs to another drain from now on.
    pub fn lost(&mut self, open: u64) {
        if self.stage == Stage::Draining {
            self.moved = self.moved.saturating_add(open);
            self.open = self.open.saturating_sub(open);
        }
    }

    /// The same drain in the process that takes over from this one, where nothing is open yet.
    ///
    /// What is open stays behind, in the drain of the process that is replaced.
    #[must_use]
    pub fn handed_over(mut self) -> Self {
        self.lost(self.open);
        self
    }

    /// The next step that it takes at this moment, if any: to be asked again until there is none.
    ///
    /// `open` is what is open at everybody that it covers, and `is_fresh` says that this was
    /// counted after the drain was decided.
    pub fn step(
        &mut self,
        now: Moment,
        open: u64,
        is_fresh: bool,
        rules: &DrainRules,
    ) -> Option<Turn> {
        self.open = open;
        let took = now.since(self.since);
        match self.stage {
            Stage::Beginning if is_fresh => {
                (self.stage, self.open_at_start) = (Stage::Draining, open);
                Some(Turn::Began)
            }
            Stage::Draining if open == 0 => {
                self.stage = Stage::Drained { took };
                Some(Turn::Drained)
            }
            Stage::Draining if !self.is_overdue && rules.overdue_after <= took => {
                self.is_overdue = true;
                Some(Turn::Overdue)
            }
            Stage::Draining
                if !self.is_forced && rules.hard_deadline.is_some_and(|it| it <= took) =>
            {
                self.is_forced = true;
                Some(Turn::Deadline)
            }
            Stage::Beginning | Stage::Draining | Stage::Drained { .. } => None,
        }
    }
}

/// How an exchange with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was passed on.
    Completed,
    /// The client went away.
    ClientClosed,
    /// The endpoint broke off, or did not go on in time.
    UpstreamDied,
    /// We closed it.
    Forced,
}

impl Outcome {
    /// Every outcome there is.
    pub const ALL: [Self; 4] =
        [Self::Completed, Self::ClientClosed, Self::UpstreamDied, Self::Forced];

    /// The outcome as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientClosed => "client_closed",
            Self::UpstreamDied => "upstream_died",
            Self::Forced => "forced",
        }
    }
}

/// How many exchanges ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outcomes {
    /// The whole answer was passed on.
    pub completed: u64,
    /// The client went away.
    pub client_closed: u64,
    /// The endpoint broke off, or did not go on in time.
    pub upstream_died: u64,
    /// We closed it.
    pub forced: u64,
}

impl Outcomes {
    /// How many ended in this way.
    pub fn of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Completed => self.completed,
            Outcome::ClientClosed => self.client_closed,
            Outcome::UpstreamDied => self.upstream_died,
            Outcome::Forced => self.forced,
        }
    }

    /// How many ended.
    pub fn total(&self) -> u64 {
        Outcome::ALL.into_iter().map(|it| self.of(it)).sum()
    }

    /// Whether everybody got what they came for, or went away themselves.
    pub fn is_clean(&self) -> bool {
        self.upstream_died == 0 && self.forced == 0
    }

    /// What has ended since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both counts together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, combined: fn(u64, u64) -> u64) -> Self {
        Self {
            completed: combined(self.completed, other.completed),
            client_closed: combined(self.client_closed, other.client_closed),
            upstream_died: combined(self.upstream_died, other.upstream_died),
            forced: combined(self.forced, other.forced),
        }
    }
}

/// What the ledger says at one moment of an endpoint, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Exchanges that are open.
    pub open: u64,
    /// Exchanges that have ended since the process started.
    pub ended: Outcomes,
}

impl Reading {
    /// Both readings together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { open: self.open.saturating_add(other.open), ended: self.ended.and(&other.ended) }
    }

    /// How many exchanges have ever begun.
    pub fn begun(&self) -> u64 {
        self.open.saturating_add(self.ended.total())
    }
}
