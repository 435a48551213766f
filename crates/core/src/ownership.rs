//! Which region owns which partition, and what a balancer may do with what it knows of that.
//!
//! Ownership is one [`Table`] in the shared store. It changes only by compare-and-swap, and each
//! change has an [`Epoch`] that is greater than all before it; a partition carries the epoch of its
//! last change, and each of its writes is stamped with that. A balancer acts on a table for as long
//! as its lease runs, and tells the store which table that is. A partition that has changed is
//! written to by nobody until every balancer that acted on the table before has said that it does
//! not any more, or cannot:
//!
//! ```text
//! renew(epoch) ──► store: "acts on epoch until now + lease + margin"
//!    epoch is the last one  ──► the lease is begun anew, counted from before the renewal was sent
//!    there is a newer one   ──► what has changed is not written to from here on; renew with that
//! ```
//!
//! The lease is counted on the clock of the balancer and shortened by a tenth, the store's count is
//! longer than both, so clocks may run differently and need not agree on what time it is.

use std::time::Duration;

use crate::id::{Epoch, Name};
use crate::moment::Moment;
use crate::partition;
use crate::policy::Policy;

mod steward;

#[cfg(test)]
mod tests;

pub use steward::{Asked, Next, Steward};

/// How much longer than its lease a balancer is taken to act on what it has read.
pub const HELD_LONGER: Duration = Duration::from_secs(1);
/// Longest reason of a change, and name of who made it, in bytes.
pub const WORDS_BYTES_MAX: usize = 256;

/// Bits of an epoch below its seconds.
const COUNTED_BITS: u32 = 20;

impl Epoch {
    /// The next epoch: greater than one that is known, and by its seconds greater than any that
    /// was given out before and forgotten since.
    #[must_use]
    pub fn next(self, now: Moment) -> Self {
        let by_time = (now.0 / 1000) << COUNTED_BITS;
        Self(self.0.saturating_add(1).max(by_time))
    }
}

/// Who owns what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The last change.
    pub epoch: Epoch,
    /// Of which division into partitions it is.
    pub version: u32,
    /// The same as a digest.
    pub digest: u64,
    /// The partitions, in the order of the policy.
    pub holdings: Vec<Holding>,
}

/// Who owns one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    /// The partition.
    pub partition: Name,
    /// Where it is at home.
    pub home: Name,
    /// Who owns it.
    pub region: Name,
    /// Since which change.
    pub epoch: Epoch,
    /// When that was.
    pub since: Moment,
    /// Who made it so.
    pub by: Name,
    /// On what grounds.
    pub reason: Name,
}

/// A division into partitions, as a policy has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Which one.
    pub version: u32,
    /// The same as a digest.
    pub digest: u64,
    /// The partitions and their homes.
    pub homes: Vec<(Name, Name)>,
}

impl Layout {
    /// The layout of a policy; `None` if it has no partitions.
    pub fn of(policy: &Policy) -> Option<Self> {
        let rules = policy.ownership.as_ref()?;
        let homes = partition::homes(policy);
        Some(Self { version: rules.version, digest: rules.digest(), homes })
    }
}

/// A wish to change an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The partitions; all that `from` owns when it is empty.
    pub partitions: Vec<Name>,
    /// Who owns them now; whoever does if `None`.
    pub from: Option<Name>,
    /// Who shall own them.
    pub to: Name,
    /// Who wants it.
    pub by: Name,
    /// On what grounds.
    pub reason: Name,
}

/// Why an owner is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// It is not known who owns what.
    #[error("it is not known who owns what")]
    Unknown,
    /// There is no such partition.
    #[error("no partition is called `{0}`")]
    NoPartition(Name),
    /// Somebody else owns it.
    #[error("`{0}` is owned by `{1}`")]
    OtherOwner(Name, Name),
    /// Nothing would change.
    #[error("`{0}` owns all of that already")]
    Already(Name),
}

impl Table {
    /// The first table: every partition is at home.
    pub fn first(layout: &Layout, epoch: Epoch, now: Moment) -> Self {
        let holding = |(partition, home): &(Name, Name)| {
            Holding::at_home(partition, home, (epoch, now), "the first table")
        };
        let holdings = layout.homes.iter().map(holding).collect();
        Self { epoch, version: layout.version, digest: layout.digest, holdings }
    }

    /// The table of another division into partitions. Whoever owns a partition keeps it, unless
    /// its home is another one now. All of it is of a new epoch, because a value may belong to
    /// another partition than before.
    #[must_use]
    pub fn laid_out(&self, layout: &Layout, now: Moment) -> Self {
        let mut next = Self::first(layout, self.epoch.next(now), now);
        for holding in &mut next.holdings {
            let before = self.holdings.iter().find(|it| it.partition == holding.partition);
            if let Some(before) = before.filter(|it| it.home == holding.home) {
                holding.region = Name::clone(&before.region);
            }
            holding.reason = format!("version {} of the partitions", layout.version).into();
        }
        next
    }

    /// The table after a change of owners.
    ///
    /// # Errors
    /// Why nothing is changed.
    pub fn moved(&self, wish: &Move, now: Moment) -> Result<Self, MoveError> {
        let mut next = Self { epoch: self.epoch.next(now), ..self.clone() };
        for name in &wish.partitions {
            let held = self.holding(name);
            let held = held.ok_or_else(|| MoveError::NoPartition(Name::clone(name)))?;
            if wish.from.as_ref().is_some_and(|it| *it != held.region) {
                let (name, owner) = (Name::clone(name), Name::clone(&held.region));
                return Err(MoveError::OtherOwner(name, owner));
            }
        }
        let is_meant = |it: &Holding| {
            it.region != wish.to
                && match &wish.from {
                    Some(from) if wish.partitions.is_empty() => it.region == *from,
                    Some(_) | None => wish.partitions.contains(&it.partition),
                }
        };
        let mut is_changed = false;
        for holding in next.holdings.iter_mut().filter(|it| is_meant(it)) {
            is_changed = true;
            *holding = Holding {
                region: Name::clone(&wish.to),
                epoch: next.epoch,
                since: now,
                by: Name::clone(&wish.by),
                reason: Name::clone(&wish.reason),
                ..holding.clone()
            };
        }
        if is_changed { Ok(next) } else { Err(MoveError::Already(Name::clone(&wish.to))) }
    }

    /// Who owns a partition.
    pub fn holding(&self, partition: &str) -> Option<&Holding> {
        self.holdings.iter().find(|it| *it.partition == *partition)
    }
}

impl Holding {
    fn at_home(partition: &Name, home: &Name, (epoch, since): (Epoch, Moment), why: &str) -> Self {
        Self {
            partition: Name::clone(partition),
            home: Name::clone(home),
            region: Name::clone(home),
            epoch,
            since,
            by: "tidegate".into(),
            reason: why.into(),
        }
    }
}

/// What the store tells a balancer that renews.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The last change; 0 if there is no table.
    pub epoch: Epoch,
    /// The table, if it is another one than the balancer acts on.
    pub table: Option<Table>,
    /// The oldest change that any balancer acts on, as far as the store knows; the last one if
    /// nobody acts on any.
    pub oldest: Epoch,
    /// How many balancers act on any.
    pub balancers: u32,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It was made.
    Stored,
    /// Somebody else made one before; this is the last one.
    Other(Epoch),
}

/// Whether writes of a partition may go to its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// They may, while the lease runs.
    Open,
    /// Some balancer may still write to the owner before.
    Opening,
    /// The store has not told who owns it.
    #[default]
    Unknown,
    /// The store divides into other partitions than the policy.
    Outdated,
    /// The store tells of an older change than it has told before.
    GoneBack,
}

impl Standing {
    /// The standing as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Opening => "opening",
            Self::Unknown => "unknown",
            Self::Outdated => "outdated",
            Self::GoneBack => "gone_back",
        }
    }
}

/// One partition as a balancer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The partition.
    pub partition: Name,
    /// Who owns it, or, as long as that is not known, where it is at home.
    pub region: Name,
    /// Since which change.
    pub epoch: Epoch,
    /// Whether writes may go there.
    pub standing: Standing,
}

/// How long a balancer may rely on what the store told it when it renewed at this moment.
///
/// That is counted from before the renewal was sent, because the store counts from after, and a
/// tenth shorter than the lease, because clocks need not run equally fast.
pub fn reliable_until(sent: Moment, lease: Duration) -> Moment {
    sent.plus(lease * 9 / 10)
}

/// How long the store takes a balancer to act on what it has read.
pub fn held_for(lease: Duration) -> Duration {
    lease.saturating_add(HELD_LONGER)
}
