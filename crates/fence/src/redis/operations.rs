//! What every store can do with one record, on a Redis.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::fence::family::{FamilyKey, Kin};
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt, Owner, Record, State};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{
    Claimed, Knows, Reasserted, Resolution, Resolved, Settled, Terms,
};

use super::calls::{Told, Way};
use super::layout::{self, span};
use super::{Redis, Shared, scripts};
use crate::store::{Audit, Failure};

/// An answered record, as scripts tell of it.
const DONE: u64 = 2;
/// Most lines of what was resolved that a bucket keeps.
const AUDIT_MAX: u64 = 64;

impl Redis {
    pub(crate) async fn claim(&self, key: FenceKey, terms: &Terms) -> Result<Claimed, Failure> {
        let (shared, bucket) = (&*self.shared, key.bucket());
        let generation = shared.generation().await?;
        let is_full = || {
            let map = shared.map.borrow();
            map.node(bucket).is_some_and(|node| node.is_full.load(Ordering::Relaxed))
        };
        let known = (generation, shared.seen(bucket));
        let record = shared.names.record(key);
        let command = shared
            .begin_with(&scripts::CLAIM, record, bucket, known)
            .bytes(&key.0)
            .bytes(&layout::template(terms, State::InFlight, false))
            .number(span(terms.lease))
            .number(span(terms.retention.in_doubt()))
            .flag(terms.is_repeatable)
            .flag(is_full());
        let told = shared.call(bucket, Way::Claims, command.end()).await?;
        match &*told.word {
            b"WON" => shared.won(key, terms, &told),
            b"BUSY" => {
                shared.is_copied(&told)?;
                Ok(Claimed::Busy { left: Duration::from_millis(told.number(0)) })
            }
            b"CLASH" => {
                if told.number(0) != DONE {
                    shared.is_copied(&told)?;
                }
                Ok(Claimed::Clash)
            }
            b"HELD" => {
                let record = layout::decode(told.bytes(0));
                let is_done = matches!(record.state, State::Completed(_));
                if is_done {
                    return Ok(Claimed::Done(record));
                }
                shared.is_copied(&told)?;
                Ok(Claimed::InDoubt(record))
            }
            _ => Err(Failure::Unreachable),
        }
    }

    pub(crate) async fn renew(&self, key: FenceKey, terms: &Terms) -> Result<bool, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let command = shared
            .begin(&scripts::RENEW, key, generation)
            .bytes(&terms.owner.to_bytes())
            .number(span(terms.lease))
            .number(span(terms.retention.in_doubt()));
        let told = shared.call(key.bucket(), Way::Rest, command.end()).await?;
        shared.has_happened(key, &told)
    }

    pub(crate) async fn complete(
        &self,
        key: FenceKey,
        terms: &Terms,
        answer: &Answer,
    ) -> Result<Settled, Failure> {
        self.settle(key, terms, State::Completed(answer.clone())).await
    }

    pub(crate) async fn doubt(
        &self,
        key: FenceKey,
        terms: &Terms,
        doubt: Doubt,
    ) -> Result<Settled, Failure> {
        self.settle(key, terms, State::InDoubt(doubt)).await
    }

    async fn settle(&self, key: FenceKey, terms: &Terms, state: State) -> Result<Settled, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let kept = match &state {
            State::Completed(_) => terms.retention.completed(),
            State::InDoubt(_) | State::InFlight => terms.retention.in_doubt(),
        };
        let command = shared
            .begin(&scripts::SETTLE, key, generation)
            .bytes(&layout::template(terms, state.clone(), true))
            .number(span(terms.lease))
            .number(span(kept))
            .bytes(&layout::tail(&state));
        let told = shared.call(key.bucket(), Way::Rest, command.end()).await?;
        let settled = match &*told.word {
            b"STORED" => Settled::Stored,
            b"RESURRECTED" => Settled::Resurrected,
            b"ALREADY" => return Ok(Settled::Already),
            b"ESCAPED" => return Ok(Settled::Escaped(owner(told.bytes(0)))),
            _ => return Err(Failure::Unreachable),
        };
        shared.note(key.bucket(), told.number(0));
        shared.memory.settled(key, terms, state, layout::moment(told.number(1)));
        Ok(settled)
    }

    pub(crate) async fn release(
        &self,
        key: FenceKey,
        owner: Owner,
        _proof: NonDelivery,
    ) -> Result<bool, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        // Nobody may write again what is being given back, whatever becomes of this call.
        shared.memory.forget_of(key, owner);
        let command = shared.begin(&scripts::RELEASE, key, generation).bytes(&owner.to_bytes());
        let told = shared.call(key.bucket(), Way::Rest, command.end()).await?;
        shared.has_happened(key, &told)
    }

    pub(crate) async fn reassert(
        &self,
        key: FenceKey,
        record: &Record,
    ) -> Result<Reasserted, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let command = shared
            .begin(&scripts::REASSERT, key, generation)
            .bytes(&layout::encode(record))
            .bytes(&layout::doubt(Doubt::StoreForgot));
        let told = shared.call(key.bucket(), Way::Rest, command.end()).await?;
        match &*told.word {
            b"WRITTEN" => {
                shared.note(key.bucket(), told.number(0));
                Ok(Reasserted::Written)
            }
            b"KNOWN" => Ok(Reasserted::Known),
            b"ESCAPED" => Ok(Reasserted::Escaped(owner(told.bytes(0)))),
            _ => Err(Failure::Unreachable),
        }
    }

    pub(crate) async fn look(&self, key: FenceKey) -> Result<Option<Record>, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let command = shared.begin(&scripts::LOOK, key, generation).end();
        let told = shared.call(key.bucket(), Way::Rest, command).await?;
        Ok((&*told.word == b"HELD").then(|| layout::decode(told.bytes(0))))
    }

    pub(crate) async fn resolve(
        &self,
        key: FenceKey,
        resolution: Resolution,
        retention: Retention,
        audit: Audit,
    ) -> Result<Resolved, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let (bucket, executed) = (key.bucket(), resolution.knows == Knows::Executed);
        let is_dead = resolution.owner_is_dead;
        let quarantine = if is_dead { Duration::ZERO } else { resolution.quarantine };
        if !executed {
            shared.memory.forget_of(key, resolution.owner);
        }
        let known = (generation, shared.seen(bucket));
        let record = shared.names.record(key);
        let command = shared
            .begin_with(&scripts::RESOLVE, record, bucket, known)
            .bytes(&key.0)
            .bytes(&resolution.owner.to_bytes())
            .flag(executed)
            .number(span(quarantine))
            .number(span(retention.completed()))
            .bytes(&layout::answer(&Answer::known_executed()))
            .bytes(&super::keeping::line(key, &resolution, &audit))
            .number(AUDIT_MAX);
        let told = shared.call(bucket, Way::Rest, command.end()).await?;
        match &*told.word {
            b"YES" => {
                shared.note(bucket, told.number(0));
                Ok(Resolved::Stored)
            }
            b"NO" => Ok(Resolved::NotInDoubt),
            b"EARLY" => Ok(Resolved::TooEarly { until: layout::moment(told.number(0)) }),
            _ => Err(Failure::Unreachable),
        }
    }

    pub(crate) async fn family(
        &self,
        family: FamilyKey,
        key: FenceKey,
        retention: Retention,
    ) -> Result<Kin, Failure> {
        let (shared, generation) = (&*self.shared, self.shared.generation().await?);
        let bucket = family.0.bucket();
        let name = shared.names.family(family.0);
        // As long as the longest record of its first event may be kept.
        let command = shared
            .begin_with(&scripts::FAMILY, name, bucket, (generation, 0))
            .bytes(&key.0)
            .number(span(retention.in_doubt()));
        let told = shared.call(bucket, Way::Rest, command.end()).await?;
        match &*told.word {
            b"FIRST" => Ok(Kin::First),
            b"KIN" if told.bytes(0) == key.0 => Ok(Kin::Same),
            b"KIN" => {
                let first = told.bytes(0).try_into().map_err(|_odd| Failure::Unreachable)?;
                Ok(Kin::Other(FenceKey(first)))
            }
            _ => Err(Failure::Unreachable),
        }
    }
}

impl Shared {
    /// A claim was won, if enough replicas have it.
    fn won(&self, key: FenceKey, terms: &Terms, told: &Told) -> Result<Claimed, Failure> {
        self.note(key.bucket(), told.number(0));
        self.is_copied(told)?;
        let attempt = u8::try_from(told.number(2)).unwrap_or(u8::MAX);
        self.memory.won(key, terms, attempt, layout::moment(told.number(1)));
        Ok(Claimed::Won { attempt })
    }

    /// Whether enough replicas have what a script has told of.
    fn is_copied(&self, told: &Told) -> Result<(), Failure> {
        let wanted = self.rules.wait.map_or(0, |wait| u64::from(wait.replicas));
        if told.copies.unwrap_or_default() < wanted {
            self.tally.uncopied.add_one();
            return Err(Failure::Uncopied);
        }
        Ok(())
    }

    fn has_happened(&self, key: FenceKey, told: &Told) -> Result<bool, Failure> {
        match &*told.word {
            b"YES" => {
                self.note(key.bucket(), told.number(0));
                Ok(true)
            }
            b"NO" => Ok(false),
            _ => Err(Failure::Unreachable),
        }
    }
}

pub(super) fn owner(bytes: &[u8]) -> Owner {
    bytes.try_into().map_or(Owner::NOBODY, Owner::from_bytes)
}
