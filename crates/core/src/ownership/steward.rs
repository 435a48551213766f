//! What one balancer knows of ownership, and what it does with each answer of the store.

use std::time::Duration;

use crate::id::{Epoch, Name};
use crate::moment::Moment;

use super::{Layout, Owned, Seen, Standing, Table, reliable_until};

/// What one balancer knows of ownership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Steward {
    layout: Layout,
    lease: Duration,
    table: Option<Table>,
    /// Until when it may act on the table.
    until: Moment,
    /// The oldest change that any balancer acts on.
    oldest: Epoch,
    /// The newest change it has ever heard of.
    newest: Epoch,
}

/// A renewal, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// When, at the latest before it left.
    pub at: Moment,
    /// The change that was acted on; 0 for none.
    pub epoch: Epoch,
    /// The lease that was asked for.
    pub lease: Duration,
}

/// What is to be done after an answer of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until it is time to renew.
    Rest,
    /// Renewing at once: something is not known yet that others wait for.
    Again,
    /// This is to become the table, if the last change is still the one that is named.
    Swap(Epoch, Table),
}

impl Steward {
    /// A balancer that knows nothing yet.
    pub fn new(layout: Layout, lease: Duration) -> Self {
        let (until, oldest, newest) = (Moment(0), Epoch(0), Epoch(0));
        Self { layout, lease, table: None, until, oldest, newest }
    }

    /// Goes on under another policy.
    pub fn lay_out(&mut self, layout: Layout, lease: Duration) {
        // A longer one counts from the next renewal on; with a shorter one nobody waits for the rest
        // of the former.
        (self.layout, self.lease) = (layout, lease);
    }

    /// The renewal to send at this moment.
    pub fn ask(&self, now: Moment) -> Asked {
        Asked { at: now, epoch: self.acts_on(), lease: self.lease }
    }

    /// The change on which it acts; 0 while it acts on none.
    fn acts_on(&self) -> Epoch {
        self.table.as_ref().map(|it| it.epoch).unwrap_or_default()
    }

    /// The table that it acts on.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Until when it may act on it.
    pub fn until(&self) -> Moment {
        self.until
    }

    /// Takes in what the store answered to a renewal.
    pub fn heard(&mut self, asked: Asked, now: Moment, seen: Seen) -> Next {
        let acted_on = self.acts_on();
        if seen.epoch < self.newest {
            return self.gone_back(seen.epoch);
        }
        self.newest = seen.epoch;
        if seen.epoch == Epoch(0) {
            return Next::Swap(Epoch(0), Table::first(&self.layout, Epoch(0).next(now), now));
        }
        if seen.epoch == acted_on && asked.epoch == acted_on {
            self.until = reliable_until(asked.at, asked.lease);
            self.oldest = seen.oldest;
            return self.if_outdated(now).unwrap_or(Next::Rest);
        }
        let Some(table) = seen.table.filter(|it| it.epoch == seen.epoch) else {
            return Next::Again;
        };
        // From here on nothing is written as the former table has it. The lease is not longer for
        // that: the store does not know yet that this one is acted on.
        self.table = Some(table);
        self.oldest = self.oldest.min(acted_on);
        Next::Again
    }

    /// A store that has forgotten the last change is told again, and nothing is written meanwhile.
    fn gone_back(&mut self, to: Epoch) -> Next {
        self.until = Moment(0);
        match &self.table {
            Some(table) if table.epoch == self.newest => Next::Swap(to, table.clone()),
            Some(_) | None => Next::Rest,
        }
    }

    /// A store that divides as an older version did is told of ours.
    fn if_outdated(&self, now: Moment) -> Option<Next> {
        let table = self.table.as_ref().filter(|it| it.version < self.layout.version)?;
        Some(Next::Swap(table.epoch, table.laid_out(&self.layout, now)))
    }

    /// Whether it knows everything that others wait for, and others all that it waits for.
    pub fn is_settled(&self) -> bool {
        self.table.as_ref().is_some_and(|it| it.epoch <= self.oldest)
    }

    /// Every partition of the policy, in its order.
    pub fn owned(&self) -> Vec<Owned> {
        self.layout.homes.iter().map(|(partition, home)| self.one(partition, home)).collect()
    }

    fn one(&self, partition: &Name, home: &Name) -> Owned {
        let holding = self.table.as_ref().and_then(|it| it.holding(partition));
        let standing = match (&self.table, holding) {
            (None, _) => Standing::Unknown,
            (Some(table), _) if !self.fits(table) => Standing::Outdated,
            (Some(_), None) => Standing::Outdated,
            (Some(table), Some(_)) if table.epoch < self.newest => Standing::GoneBack,
            (Some(_), Some(holding)) if self.oldest < holding.epoch => Standing::Opening,
            (Some(_), Some(_)) => Standing::Open,
        };
        Owned {
            partition: Name::clone(partition),
            region: Name::clone(holding.map_or(home, |it| &it.region)),
            epoch: holding.map(|it| it.epoch).unwrap_or_default(),
            standing,
        }
    }

    fn fits(&self, table: &Table) -> bool {
        (table.version, table.digest) == (self.layout.version, self.layout.digest)
    }

    /// The epoch under which a partition may be written to at this moment, and the region; `None`
    /// while it may not.
    pub fn may_write(&self, partition: &str, now: Moment) -> Option<(Name, Epoch)> {
        let owned = self.owned().into_iter().find(|it| *it.partition == *partition)?;
        let may = owned.standing == Standing::Open && now < self.until;
        may.then_some((owned.region, owned.epoch))
    }
}
