//! What every store can do: one record changes by one rule, and nobody sees half of it.

use tidegate_core::fence::family::{FamilyKey, Kin};
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt, Incarnation, Owner, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{Claimed, Reasserted, Resolution, Resolved, Settled, Terms};
use tidegate_core::ownership::{Asked, Seen, Swapped, Table};
use tidegate_core::{Moment, id::Epoch};

use crate::embedded::Embedded;
use crate::redis::Redis;

/// Where the records are.
///
/// A closed set, and so no trait: every store is known here, and the conformance suite runs on each.
#[derive(Debug)]
pub enum Store {
    /// In a file on this machine.
    Embedded(Embedded),
    /// In servers that several balancers share.
    Redis(Redis),
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It does not answer in time. It may have done it, or do it yet.
    #[error("the store does not answer")]
    Unreachable,
    /// It has it, and too few replicas do in time: a failover may lose it.
    #[error("too few replicas have the claim")]
    Uncopied,
    /// It cannot be reached, so it has not been asked at all.
    #[error("the store cannot be reached")]
    Down,
    /// It would not keep what it is told. It has done nothing.
    #[error("the store is not fit to keep claims: {}", .0.word())]
    Unfit(Check),
    /// Too many wait for it already. It has done nothing.
    #[error("too many operations wait for the store")]
    Crowded,
    /// It has no room for new keys, and forgets none that is alive. It has done nothing.
    #[error("the store has no room for new keys")]
    Full,
    /// It is not the store that it was: its marker is missing, or another one. It has done nothing.
    #[error(
        "the store has no marker: it is new, or has lost its data; `tidegate fence init` begins anew"
    )]
    Cold,
    /// There is a newer epoch than the claim's. It has done nothing.
    #[error("the epoch is over, {0} is the one now")]
    Stale(Epoch),
}

impl Failure {
    /// Whether it may have been done all the same.
    pub fn is_unsure(self) -> bool {
        match self {
            Self::Unreachable | Self::Uncopied => true,
            Self::Down
            | Self::Unfit(_)
            | Self::Crowded
            | Self::Full
            | Self::Cold
            | Self::Stale(_) => false,
        }
    }
}

/// What is looked at in a store, all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// It can be reached, lets us in, and takes writes.
    Reachable,
    /// It lets us do what we have to.
    Access,
    /// Its version knows what we use.
    Version,
    /// It does not remove keys to make room.
    Eviction,
    /// It has not removed any.
    Evicted,
    /// A restart does not forget.
    Persistence,
    /// There are as many replicas as are waited for.
    Replicas,
    /// There is room for new keys.
    Memory,
    /// Its clock and ours agree.
    Skew,
    /// Every bucket has its marker, of one generation.
    Marker,
    /// It has not gone back to an older time.
    Sequence,
}

impl Check {
    /// The check as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Access => "access",
            Self::Version => "version",
            Self::Eviction => "eviction_policy",
            Self::Evicted => "evicted_keys",
            Self::Persistence => "persistence",
            Self::Replicas => "replicas",
            Self::Memory => "memory",
            Self::Skew => "clock_skew",
            Self::Marker => "marker",
            Self::Sequence => "sequence",
        }
    }

    /// Whether claims are refused when it fails: what they promise could not be kept. New keys are
    /// refused one by one where there is no room, and a clock that differs only makes doubts early
    /// or late.
    pub fn endangers(self) -> bool {
        !matches!(self, Self::Memory | Self::Skew)
    }
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// Whether all is well.
    pub is_ok: bool,
    /// On which server, where there are several.
    pub node: Option<Box<str>>,
    /// What was seen.
    pub seen: String,
}

/// Who resolves a doubt, and why. It is written down together with the resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Who says so.
    pub who: String,
    /// On what grounds.
    pub reason: String,
}

/// A line of what was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// When.
    pub at: Moment,
    /// Of which key.
    pub key: FenceKey,
    /// Of whose claim.
    pub owner: Owner,
    /// Whether it was said to be executed.
    pub executed: bool,
    /// Who and why.
    pub audit: Audit,
}

/// Which records are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those in doubt, by the end of their lease, the oldest first.
    InDoubt,
    /// Those in flight, by the end of their lease.
    InFlight,
}

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Records in flight.
    pub in_flight: u64,
    /// Records in doubt.
    pub in_doubt: u64,
    /// When the claim was made that is open for the longest time.
    pub oldest_open: Option<Moment>,
    /// Bytes that are used.
    pub bytes: u64,
    /// Bytes that may be used; 0 without a limit.
    pub bytes_max: u64,
    /// When the store began to remember.
    pub born: Moment,
}

/// What maintenance has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Records that were forgotten.
    pub forgotten: u64,
    /// Those of them that were open: their writes can be executed again, and nobody knows whether
    /// they were.
    pub unsafely: u64,
    /// Claims of processes that have ended, which are in doubt now.
    pub doubted: u64,
    /// There is more to do at once.
    pub has_more: bool,
}

/// Hands each operation to the store that there is.
macro_rules! each {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::Embedded($inner) => $call,
            Store::Redis($inner) => $call,
        }
    };
}

impl Store {
    /// Claims a key.
    ///
    /// # Errors
    /// Why nobody may deliver the write.
    ///
    /// # Cancel safety
    /// The claim may be made after the future is dropped; whoever drops it has to release it.
    pub async fn claim(&self, key: FenceKey, terms: &Terms) -> Result<Claimed, Failure> {
        each!(self, it => it.claim(key, terms).await)
    }

    /// Begins a lease anew. Tells whether the owner still had it.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn renew(&self, key: FenceKey, terms: &Terms) -> Result<bool, Failure> {
        each!(self, it => it.renew(key, terms).await)
    }

    /// Writes an answer down.
    ///
    /// # Errors
    /// Why it is not written, or not known to be.
    pub async fn complete(
        &self,
        key: FenceKey,
        terms: &Terms,
        answer: &Answer,
    ) -> Result<Settled, Failure> {
        each!(self, it => it.complete(key, terms, answer).await)
    }

    /// Writes a doubt down.
    ///
    /// # Errors
    /// Why it is not written, or not known to be.
    pub async fn doubt(
        &self,
        key: FenceKey,
        terms: &Terms,
        doubt: Doubt,
    ) -> Result<Settled, Failure> {
        each!(self, it => it.doubt(key, terms, doubt).await)
    }

    /// Gives a claim back. Tells whether there was one to give back.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn release(
        &self,
        key: FenceKey,
        owner: Owner,
        proof: NonDelivery,
    ) -> Result<bool, Failure> {
        each!(self, it => it.release(key, owner, proof).await)
    }

    /// Writes down what was remembered elsewhere, unless the store knows as much or more.
    ///
    /// # Errors
    /// Why it is not written, or not known to be.
    pub async fn reassert(&self, key: FenceKey, record: &Record) -> Result<Reasserted, Failure> {
        each!(self, it => it.reassert(key, record).await)
    }

    /// What is remembered of a key.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn look(&self, key: FenceKey) -> Result<Option<Record>, Failure> {
        each!(self, it => it.look(key).await)
    }

    /// Ends a doubt, and writes down who did so.
    ///
    /// # Errors
    /// Why it is not ended, or not known to be.
    pub async fn resolve(
        &self,
        key: FenceKey,
        resolution: Resolution,
        retention: Retention,
        audit: Audit,
    ) -> Result<Resolved, Failure> {
        each!(self, it => it.resolve(key, resolution, retention, audit).await)
    }

    /// What was resolved, the newest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditLine>, Failure> {
        each!(self, it => it.audit(limit).await)
    }

    /// Meets the family of an event; it is remembered for as long as `retention` keeps answers.
    ///
    /// # Errors
    /// Why the family is not known.
    pub async fn family(
        &self,
        family: FamilyKey,
        key: FenceKey,
        retention: Retention,
    ) -> Result<Kin, Failure> {
        each!(self, it => it.family(family, key, retention).await)
    }

    /// Tells on which change of ownership a balancer acts, and what the last one is. Only who acts on
    /// the last one is taken to do so for longer.
    ///
    /// # Errors
    /// Why that is not known. The balancer may not act for longer than it could before.
    pub async fn hold(&self, who: Incarnation, asked: Asked) -> Result<Seen, Failure> {
        each!(self, it => it.hold(who, asked).await)
    }

    /// Changes ownership, if the last change is still the one that is expected.
    ///
    /// # Errors
    /// Why it is not changed, or not known to be.
    pub async fn swap(&self, expected: Epoch, table: &Table) -> Result<Swapped, Failure> {
        each!(self, it => it.swap(expected, table).await)
    }

    /// Open records.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(
        &self,
        filter: Filter,
        limit: u32,
    ) -> Result<Vec<(FenceKey, Record)>, Failure> {
        each!(self, it => it.list(filter, limit).await)
    }

    /// How the store is.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn gauges(&self) -> Result<Gauges, Failure> {
        each!(self, it => it.gauges().await)
    }

    /// Forgets what is over and doubts what nobody is at any more. While a failover window is
    /// open, nothing is forgotten.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn maintain(&self, is_window_open: bool) -> Result<Maintained, Failure> {
        each!(self, it => it.maintain(is_window_open).await)
    }

    /// What was found when it was last looked at, and whether all is well. A store that is a file
    /// has said all there is to say when it was opened.
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Embedded(_) => Vec::new(),
            Self::Redis(redis) => redis.findings(),
        }
    }
}
