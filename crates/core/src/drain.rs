//! Emptying a region or an endpoint without cutting what is open there: how exchanges end, counted.

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
