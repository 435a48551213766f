//! What a board remembers, as plain data that the board of another process can go on from.
//!
//! Everything in here goes by names: numbers of endpoints and places of regions mean nothing in
//! another process, which may have another policy.

use std::net::SocketAddr;

use crate::contract::Contract;
use crate::distance::Distance;
use crate::drain::Drain;
use crate::ejection::{Ejection, Tally};
use crate::health::Health;
use crate::hold::Hold;
use crate::id::{EndpointId, Name};
use crate::moment::Moment;
use crate::snapshot::{Held, Verdict};
use crate::window::WindowState;

use super::region::{EndpointState, RegionState};

/// Everything that a board knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The contract whose keys the reports are listed by; what it demands does not matter.
    pub contract: Contract,
    /// The regions.
    pub regions: Vec<RegionMemory>,
    /// The failover window.
    pub window: WindowState,
}

/// What is known of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionMemory {
    /// Its name.
    pub name: Name,
    /// Whether the operator takes it out.
    pub drained: bool,
    /// What we concluded.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// How far it is emptied, if it is. What is open is not handed over, and is open no more here.
    pub drain: Option<Drain>,
    /// Why it was last told to be held back, if it was.
    pub held: Option<Held>,
    /// Whether and why its failback waits.
    pub hold: Hold,
    /// How far away it is measured to be.
    pub distance: Distance,
    /// Its endpoints.
    pub endpoints: Vec<EndpointMemory>,
}

/// What is known of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointMemory {
    /// Its address.
    pub address: SocketAddr,
    /// Its share among its neighbours.
    pub weight: u16,
    /// Whether the operator takes it out.
    pub drained: bool,
    /// How far it is emptied apart from its region, if it is.
    pub drain: Option<Drain>,
    /// What probes said. Its differences from the contract are worked out again.
    pub health: Health,
    /// What traffic said.
    pub ejection: Ejection,
    /// Its last probe, if that found it routable.
    pub proven: Option<Moment>,
    /// Since when it is routable.
    pub serving: Option<Moment>,
}

impl RegionState {
    pub(super) fn memory(&self) -> RegionMemory {
        RegionMemory {
            name: Name::clone(&self.name),
            drained: self.drained,
            drain: self.drain.map(Drain::handed_over),
            verdict: self.verdict,
            since: self.since,
            held: self.held,
            hold: self.hold.clone(),
            distance: self.distance.clone(),
            endpoints: self.endpoints.iter().map(EndpointState::memory).collect(),
        }
    }

    pub(super) fn remembered(memory: RegionMemory, id: &mut impl FnMut() -> EndpointId) -> Self {
        let endpoints = memory.endpoints.into_iter();
        let endpoints = endpoints.map(|it| EndpointState::remembered(it, id())).collect();
        Self {
            endpoints,
            drained: memory.drained,
            has_served: memory.drain.is_some_and(|it| it.cause.is_verdict()),
            drain: memory.drain,
            hold: memory.hold,
            distance: memory.distance,
            verdict: memory.verdict,
            held: memory.held,
            ..Self::unknown(memory.since, &memory.name)
        }
    }
}

impl EndpointState {
    fn memory(&self) -> EndpointMemory {
        EndpointMemory {
            address: self.address,
            weight: self.weight,
            drained: self.drained,
            drain: self.drain.map(Drain::handed_over),
            health: self.health.clone(),
            // Counters begin at nothing in another process.
            ejection: Ejection { last: Tally::default(), ..self.ejection.clone() },
            proven: self.proven,
            serving: self.serving,
        }
    }

    fn remembered(memory: EndpointMemory, id: EndpointId) -> Self {
        Self {
            weight: memory.weight,
            drained: memory.drained,
            has_served: memory.drain.is_some_and(|it| it.cause.is_verdict()),
            drain: memory.drain,
            health: memory.health,
            ejection: memory.ejection,
            proven: memory.proven,
            serving: memory.serving,
            ..Self::unknown(Moment::default(), id, memory.address)
        }
    }
}
