//! The rules by which one record changes: claim, renew, complete, release, doubt, resolve, reassert.
//!
//! Each is a function of what is remembered and of the time. Each may arrive twice, because a
//! client library may send it again: for the same owner, the second time changes nothing.

use std::time::Duration;

use super::fingerprint::Fingerprint;
use super::proof::NonDelivery;
use super::record::{Answer, Doubt, Incarnation, Owner, Phase, Record, State};
use super::retention::Retention;
use crate::id::Epoch;
use crate::moment::Moment;

#[cfg(test)]
mod tests;

/// What is to become of the stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// This takes its place.
    Put(Record),
    /// It is removed; the key is absent again.
    Remove,
}

/// What a claim asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// By whom; never used before.
    pub owner: Owner,
    /// For which request; `None` while its body is flowing.
    pub fingerprint: Option<Fingerprint>,
    /// In which epoch.
    pub epoch: Epoch,
    /// How long others must take the owner to be at it: the deadline of the whole exchange and
    /// 15 s. It never gives the key to anybody else.
    pub lease: Duration,
    /// How long the record is kept.
    pub retention: Retention,
    /// A write in doubt is delivered again, because the endpoint knows the key itself.
    pub is_repeatable: bool,
    /// The shared store is away, and this one knows this node only.
    pub is_degraded: bool,
}

/// What a claim is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The write is yours. The number counts the claims under this key.
    Won {
        /// Above 1 only if the write is repeatable and was in doubt.
        attempt: u8,
    },
    /// Somebody else is at it.
    Busy {
        /// What is left of the lease.
        left: Duration,
    },
    /// It was answered. If either fingerprint was not known yet, whoever asks compares it.
    Done(Record),
    /// The key was used for another request.
    Clash,
    /// It may have been executed.
    InDoubt(Record),
}

/// Somebody wants to deliver the write.
pub fn claim(held: Option<&Record>, terms: &Terms, now: Moment) -> (Claimed, Change) {
    let Some(record) = held else {
        return (Claimed::Won { attempt: 1 }, Change::Put(terms.record(1, now)));
    };
    if record.owner == terms.owner && record.state == State::InFlight {
        return (Claimed::Won { attempt: record.attempt }, Change::Keep);
    }
    if Fingerprint::differ(record.fingerprint, terms.fingerprint) {
        return (Claimed::Clash, Change::Keep);
    }
    match record.phase(now) {
        Phase::InFlight { left } => (Claimed::Busy { left }, Change::Keep),
        Phase::Completed => (Claimed::Done(record.clone()), Change::Keep),
        Phase::InDoubt(_) if terms.is_repeatable && record.owner != Owner::NOBODY => {
            let attempt = record.attempt.saturating_add(1);
            (Claimed::Won { attempt }, Change::Put(terms.record(attempt, now)))
        }
        Phase::InDoubt(_) => (Claimed::InDoubt(record.clone()), Change::Keep),
    }
}

impl Terms {
    /// The record of a claim that was won now.
    pub fn record(&self, attempt: u8, now: Moment) -> Record {
        let lease_until = now.plus(self.lease);
        Record {
            owner: self.owner,
            fingerprint: self.fingerprint,
            epoch: self.epoch,
            attempt,
            created: now,
            lease_until,
            expires: self.retention.end(&State::InFlight, now, lease_until),
            is_degraded: self.is_degraded,
            is_resurrected: false,
            state: State::InFlight,
        }
    }
}

/// The owner is still at it: its lease begins anew. `false` when it has lost it: the lease is over,
/// or the record is not the owner's any more. It goes on being the owner, but others may be told
/// that the write is in doubt.
pub fn renew(held: Option<&Record>, terms: &Terms, now: Moment) -> (bool, Change) {
    let Some(record) = held.filter(|it| it.owner == terms.owner) else {
        return (false, Change::Keep);
    };
    if !matches!(record.phase(now), Phase::InFlight { .. }) {
        return (false, Change::Keep);
    }
    let lease_until = now.plus(terms.lease);
    let expires = terms.retention.end(&State::InFlight, now, lease_until);
    (true, Change::Put(Record { lease_until, expires, ..record.clone() }))
}

/// What an owner is told of the outcome that it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It is written down.
    Stored,
    /// It was written down before.
    Already,
    /// The store had lost the claim, and it is written down now.
    Resurrected,
    /// The record is somebody else's: two owners may have delivered one write. Count it, and wake
    /// somebody up. [`Owner::NOBODY`] when the record cannot be read.
    Escaped(Owner),
}

/// The owner has an answer. It is taken as late as it may come.
pub fn complete(
    held: Option<&Record>,
    terms: &Terms,
    answer: &Answer,
    now: Moment,
) -> (Settled, Change) {
    let state = State::Completed(answer.clone());
    let Some(record) = held else {
        return (Settled::Resurrected, Change::Put(terms.resurrected(state, now)));
    };
    if record.owner != terms.owner {
        return (Settled::Escaped(record.owner), Change::Keep);
    }
    match &record.state {
        State::Completed(_) => (Settled::Already, Change::Keep),
        State::InFlight | State::InDoubt(_) => {
            (Settled::Stored, Change::Put(terms.settled(record, state, now)))
        }
    }
}

/// The owner cannot know the outcome.
///
/// If the store has lost the claim, the doubt is written all the same: the write may have been
/// executed, and an absent key would let it be executed again.
pub fn doubt(held: Option<&Record>, terms: &Terms, doubt: Doubt, now: Moment) -> (Settled, Change) {
    let state = State::InDoubt(doubt);
    let Some(record) = held else {
        return (Settled::Resurrected, Change::Put(terms.resurrected(state, now)));
    };
    if record.owner != terms.owner {
        return (Settled::Escaped(record.owner), Change::Keep);
    }
    match &record.state {
        State::Completed(_) | State::InDoubt(_) => (Settled::Already, Change::Keep),
        State::InFlight => (Settled::Stored, Change::Put(terms.settled(record, state, now))),
    }
}

impl Terms {
    fn settled(&self, record: &Record, state: State, now: Moment) -> Record {
        Record {
            // The body may have been whole only by now.
            fingerprint: record.fingerprint.or(self.fingerprint),
            expires: self.retention.end(&state, now, record.lease_until),
            state,
            ..record.clone()
        }
    }

    /// The record of a write that ended now, for whoever cannot see the one in the store.
    pub fn ended(&self, state: State, now: Moment) -> Record {
        let claimed = self.record(1, now);
        let expires = self.retention.end(&state, now, claimed.lease_until);
        Record { expires, state, ..claimed }
    }

    fn resurrected(&self, state: State, now: Moment) -> Record {
        Record { is_resurrected: true, ..self.ended(state, now) }
    }
}

/// The owner can prove that nothing was executed. Tells whether the claim was given back; it is
/// not when the record is not the owner's, or is more than a claim.
pub fn release(held: Option<&Record>, owner: Owner, _proof: NonDelivery) -> (bool, Change) {
    match held {
        Some(record) if record.owner == owner && record.state == State::InFlight => {
            (true, Change::Remove)
        }
        Some(_) | None => (false, Change::Keep),
    }
}

/// The process of some owners has ended: nobody has to wait for their leases.
pub fn owner_died(
    record: &Record,
    died: Incarnation,
    retention: &Retention,
    now: Moment,
) -> Change {
    if record.owner.incarnation != died || record.state != State::InFlight {
        return Change::Keep;
    }
    let state = State::InDoubt(Doubt::OwnerDied);
    let expires = retention.end(&state, now, record.lease_until).max(record.expires);
    Change::Put(Record { expires, state, ..record.clone() })
}

/// What an operator, or the endpoint on being asked, knows of a write in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Knows {
    /// It was executed.
    Executed,
    /// It was not executed, and the key is free again.
    NotExecuted,
}

/// Somebody knows the outcome of a write in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Of whose claim; so that nobody resolves a later one than was looked at.
    pub owner: Owner,
    /// What is known.
    pub knows: Knows,
    /// How long after the lease an owner may still be paused between claim and first byte, or its
    /// bytes lie in a queue of the endpoint.
    pub quarantine: Duration,
    /// The process of the owner is known to have ended, so nothing of it can still be sent.
    pub owner_is_dead: bool,
}

/// What whoever resolves is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolved {
    /// It is written down.
    Stored,
    /// There is no doubt under this key, or not that owner's.
    NotInDoubt,
    /// "Not executed" cannot be known before this moment: the write may still be on its way.
    TooEarly {
        /// The moment.
        until: Moment,
    },
}

/// Ends a doubt. "Executed" is always allowed; "not executed" only when nothing of the write can
/// be on its way any more, or this exit itself would be a source of duplicates.
pub fn resolve(
    held: Option<&Record>,
    resolution: &Resolution,
    retention: &Retention,
    now: Moment,
) -> (Resolved, Change) {
    let Some(record) = held.filter(|it| it.owner == resolution.owner) else {
        return (Resolved::NotInDoubt, Change::Keep);
    };
    if !matches!(record.phase(now), Phase::InDoubt(_)) {
        return (Resolved::NotInDoubt, Change::Keep);
    }
    let quarantine = if resolution.owner_is_dead { Duration::ZERO } else { resolution.quarantine };
    let until = record.lease_until.plus(quarantine);
    match resolution.knows {
        Knows::Executed => {
            let state = State::Completed(Answer::known_executed());
            let expires = retention.end(&state, now, record.lease_until);
            (Resolved::Stored, Change::Put(Record { expires, state, ..record.clone() }))
        }
        Knows::NotExecuted if now < until => (Resolved::TooEarly { until }, Change::Keep),
        Knows::NotExecuted => (Resolved::Stored, Change::Remove),
    }
}

/// What a process is told that writes again what it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reasserted {
    /// The store had lost it, and has it again.
    Written,
    /// The store had as much, or more.
    Known,
    /// Both this process and another owner have the answer: one write was executed twice. Count
    /// it, and wake somebody up.
    Escaped(Owner),
}

/// A process writes again what it remembers, because the store may have lost its last moments.
///
/// Nothing goes back: completed stays completed, and a doubt is not a claim again. The claim of
/// another owner can only be there because the store remembers an older time, in which it was not
/// given back yet, or because the loss let it in. Either way the key must not be freed by a release
/// of that owner, nor by one of ours: it is in doubt until there is an answer.
///
/// What is remembered must not have been given back by its owner, and must be younger than a
/// quarantine: otherwise somebody may have resolved it since.
pub fn reassert(held: Option<&Record>, remembered: &Record) -> (Reasserted, Change) {
    let rank = |record: &Record| match record.state {
        State::InFlight => 0,
        State::InDoubt(_) => 1,
        State::Completed(_) => 2,
    };
    let again = Record { is_resurrected: true, ..remembered.clone() };
    let Some(held) = held else {
        return (Reasserted::Written, Change::Put(again));
    };
    let is_ours = held.owner == remembered.owner;
    match (rank(held), rank(remembered)) {
        (2, 2) if !is_ours => (Reasserted::Escaped(held.owner), Change::Keep),
        (0, 0) if !is_ours => {
            let state = State::InDoubt(Doubt::StoreForgot);
            let expires = again.expires.max(held.expires);
            (Reasserted::Written, Change::Put(Record { expires, state, ..again }))
        }
        (theirs, ours) if theirs < ours => (Reasserted::Written, Change::Put(again)),
        _ => (Reasserted::Known, Change::Keep),
    }
}

/// How soon after its claim was *sent* an exchange must begin. Beyond, the owner may have been
/// paused for so long that somebody has declared the write not executed.
pub const START_WINDOW: Duration = Duration::from_secs(5);
/// How long after the end of a lease "not executed" is refused, unless the policy says more.
pub const QUARANTINE: Duration = Duration::from_mins(5);
/// What is added to the deadline of an exchange to get its lease.
pub const LEASE_MARGIN: Duration = Duration::from_secs(15);
