//! Records: what is remembered of one key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::Fingerprint;
use crate::id::Epoch;
use crate::moment::Moment;

/// One process, from its start to its end. Drawn at random; 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// Who made a claim: a process, and which of its claims. Never used for a second claim.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The process.
    pub incarnation: Incarnation,
    /// Counts the claims of the process.
    pub serial: u64,
}

impl Owner {
    /// The owner of records that cannot be read: no claim is ever made by it.
    pub const NOBODY: Self = Self { incarnation: Incarnation(0), serial: 0 };
    /// Bytes of an owner as it is stored.
    pub const BYTES: usize = 16;

    /// As it is stored and sent.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let whole = u128::from(self.incarnation.0) << 64 | u128::from(self.serial);
        whole.to_be_bytes()
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [incarnation, serial] = [0, 8].map(|from| {
            let half = bytes.iter().skip(from).take(8);
            half.fold(0_u64, |whole, byte| whole << 8 | u64::from(*byte))
        });
        Self { incarnation: Incarnation(incarnation), serial }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", self.incarnation, self.serial)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

/// What is remembered of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Whose claim it is.
    pub owner: Owner,
    /// Of which request; not known while a large body is flowing.
    pub fingerprint: Option<Fingerprint>,
    /// The epoch in which it was claimed.
    pub epoch: Epoch,
    /// Counts the claims under this key: above 1 only where endpoints are idempotent.
    pub attempt: u8,
    /// When it was claimed, by the store's clock.
    pub created: Moment,
    /// Until when nobody else may say that it is in doubt.
    pub lease_until: Moment,
    /// When it is forgotten.
    pub expires: Moment,
    /// It was claimed on one node only, while the shared store was away.
    pub is_degraded: bool,
    /// It was written again after the store had lost it.
    pub is_resurrected: bool,
    /// How far it has come.
    pub state: State,
}

/// How far a write has come, as it was written down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Somebody is at it, or was when its lease ran out: see [`Record::phase`].
    InFlight,
    /// It was answered. This is final, so anybody may remember it.
    Completed(Answer),
    /// It may have been executed, and nobody knows.
    InDoubt(Doubt),
}

/// How far a write has come at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Somebody is at it.
    InFlight {
        /// What is left of the lease.
        left: Duration,
    },
    /// It was answered.
    Completed,
    /// It may have been executed, and nobody knows.
    InDoubt(Doubt),
}

impl Record {
    /// How far the write has come. A claim whose lease is over is in doubt, and never absent,
    /// whether or not anybody has written that down.
    pub fn phase(&self, now: Moment) -> Phase {
        match &self.state {
            State::InFlight if now < self.lease_until => {
                Phase::InFlight { left: self.lease_until.since(now) }
            }
            State::InFlight => Phase::InDoubt(Doubt::LeaseOver),
            State::Completed(_) => Phase::Completed,
            State::InDoubt(doubt) => Phase::InDoubt(*doubt),
        }
    }

    /// Whether it is to be forgotten.
    pub fn is_over(&self, now: Moment) -> bool {
        self.expires <= now
    }

    /// Whether forgetting it makes a write possible again whose outcome nobody knows.
    pub fn is_unsafe_to_forget(&self, now: Moment) -> bool {
        self.phase(now) != Phase::Completed
    }

    /// The record in the place of one that cannot be read: in doubt, and nobody's.
    ///
    /// Whatever stood there was written because of a claim, so it is never taken for absent.
    pub fn unreadable(lease_until: Moment, expires: Moment) -> Self {
        Self {
            owner: Owner::NOBODY,
            fingerprint: None,
            epoch: Epoch(0),
            attempt: 0,
            created: Moment(0),
            lease_until,
            expires,
            is_degraded: false,
            is_resurrected: false,
            state: State::InDoubt(Doubt::Unreadable),
        }
    }
}

/// Why nobody knows the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// The owner did not say anything before its lease was over.
    LeaseOver,
    /// The process of the owner has ended.
    OwnerDied,
    /// Something was sent, and no answer came.
    NoAnswer,
    /// The answer of a gateway, or one that no server of an application gives.
    GatewayAnswered(u16),
    /// The exchange was dropped without an outcome: a panic, or a task that was cancelled.
    Dropped,
    /// The store came back with the claim of another owner in this one's place.
    StoreForgot,
    /// The record cannot be read.
    Unreadable,
}

impl Doubt {
    /// The reason as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::LeaseOver => "lease_over",
            Self::OwnerDied => "owner_died",
            Self::NoAnswer => "no_answer",
            Self::GatewayAnswered(_) => "gateway_answered",
            Self::Dropped => "dropped",
            Self::StoreForgot => "store_forgot",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The answer that was given to the first request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Its status; 0 when an operator only knows that the write was executed.
    pub status: u16,
    /// The headers that may be shown again, in their order.
    pub headers: Vec<(Box<str>, Box<[u8]>)>,
    /// What is kept of its body.
    pub body: Body,
}

impl Answer {
    /// The answer of a write of which somebody knows that it was executed, and nothing else.
    pub fn known_executed() -> Self {
        Self { status: 0, headers: Vec::new(), body: Body::NotKept }
    }
}

/// What is kept of the body of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// All of it.
    Whole(Arc<[u8]>),
    /// It was longer than the cap: its length and SHA-256.
    Digest {
        /// Its length in bytes.
        length: u64,
        /// Its digest.
        sha256: [u8; 32],
    },
    /// It was a stream, which came to its end.
    Streamed,
    /// It broke off after its head: the write was executed, and the answer is lost.
    Partial,
    /// The policy keeps the status only.
    NotKept,
}
