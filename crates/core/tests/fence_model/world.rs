//! The state of the model: requests, stores, effects, and what may still go wrong.

use tidegate_core::Moment;
use tidegate_core::fence::record::{Incarnation, Owner, Record};
use tidegate_core::fence::rules::Terms;

use crate::store::Side;

/// How many requests carry the key.
pub(crate) const REQUESTS: usize = 3;

/// One request with the key, and the process that serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) stage: Stage,
    /// When its process sent the claim.
    pub(crate) claimed: Moment,
    /// What its process remembers to have written.
    pub(crate) remembered: Option<Record>,
    /// The client library may still send its release again.
    pub(crate) may_release_again: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// It has not come yet.
    Idle,
    /// It has claimed the key in the first of two stores.
    HalfClaimed,
    /// It has claimed the key. A process may be paused here for ever.
    Claimed,
    /// It has looked at its clock, and goes on.
    Begun,
    /// Its bytes are on the way.
    Sent,
    /// Its bytes are on the way, and its process is dead.
    SentByTheDead,
    /// It was executed, and the answer is on its way.
    Executed,
    /// Its bytes were lost, and its process does not know.
    Lost,
    /// Its process is dead, and so are its bytes.
    Dead,
    /// It was answered.
    Ended(End),
}

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The answer of the endpoint.
    Answered,
    /// That the first request is under way.
    Busy,
    /// The answer to the first request.
    Replayed,
    /// That nobody knows.
    InDoubt,
    /// That something failed.
    Failed,
}

/// How often something may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// A process dies.
    pub(crate) crashes: u8,
    /// The copy of the first store takes over.
    pub(crate) failovers: u8,
    /// The first store and its copy lose everything.
    pub(crate) wipes: u8,
    /// A store cannot be reached, and somebody goes on without it.
    pub(crate) bypasses: u8,
    /// The operator resolves a doubt.
    pub(crate) resolutions: u8,
    /// Time passes by the length of a lease.
    pub(crate) ticks: u8,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) requests: [Request; REQUESTS],
    /// The store, and the other region's where claims are made in both.
    pub(crate) first: Side,
    pub(crate) second: Side,
    /// How often the write was executed.
    pub(crate) effects: u8,
    pub(crate) left: Faults,
    /// The operator has said "not executed" before.
    pub(crate) was_freed: bool,
}

impl World {
    pub(crate) fn new(left: Faults) -> Self {
        let request = Request {
            stage: Stage::Idle,
            claimed: Moment(0),
            remembered: None,
            may_release_again: false,
        };
        Self {
            now: Moment(0),
            requests: std::array::from_fn(|_| request.clone()),
            first: Side::default(),
            second: Side::default(),
            effects: 0,
            left,
            was_freed: false,
        }
    }

    pub(crate) fn stage(&self, of: usize) -> Stage {
        self.requests[of].stage
    }

    pub(crate) fn move_to(&mut self, of: usize, stage: Stage) {
        self.requests[of].stage = stage;
    }

    pub(crate) fn execute(&mut self) {
        // Two are as bad as three.
        self.effects = 2.min(self.effects + 1);
    }
}

/// Whose claim it is: each request is served by a process of its own.
pub(crate) fn owner(of: usize) -> Owner {
    let serial = [1, 2, 3][of];
    Owner { incarnation: Incarnation(serial), serial }
}

/// What a request claims.
pub(crate) fn terms(of: usize) -> Terms {
    Terms {
        owner: owner(of),
        fingerprint: None,
        epoch: tidegate_core::id::Epoch(1),
        lease: crate::model::LEASE,
        retention: crate::model::RETENTION,
        is_repeatable: false,
        is_degraded: false,
    }
}
