//! The mutable world: events in, effects and snapshots out, one owner.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{Mismatch, Report};
use crate::drain::{Cause, Flip, Reading, Turn};
use crate::ejection::Tally;
use crate::health::ProbeFailure;
use crate::id::{ENDPOINTS_PER_REGION_MAX, EndpointId, Generation, Name};
use crate::moment::Moment;
use crate::ownership::{Owned, Standing};
use crate::policy::owning::PartitionPolicy;
use crate::policy::{EndpointAddress, EndpointSource, Policy};
use crate::snapshot::{Held, Owner, Snapshot, Verdict};
use crate::window::{self, Window, WindowState};

use drains::Drains;
use memory::Memory;
use region::{EndpointState, RegionState};

mod drains;
pub mod memory;

mod region;
mod windows;

#[cfg(test)]
mod tests;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A policy takes force.
    Installed(Arc<Policy>),
    /// The list of a region's endpoints was read from its file.
    Listed {
        /// The region.
        region: Name,
        /// All of its endpoints; an empty list is ignored.
        endpoints: Vec<EndpointAddress>,
    },
    /// A probe ended.
    Probed {
        /// Who was asked.
        endpoint: EndpointId,
        /// How long it took.
        took: Duration,
        /// What came of it.
        outcome: Result<Report, ProbeFailure>,
    },
    /// Traffic was counted.
    Observed {
        /// Whose traffic.
        endpoint: EndpointId,
        /// Everything since the process started.
        tally: Tally,
    },
    /// The operator takes a region or one of its endpoints out, or puts it back.
    Drained {
        /// The region.
        region: Name,
        /// One of its endpoints, or all of it.
        endpoint: Option<SocketAddr>,
        /// Out or back.
        out: bool,
    },
    /// The whole process is to be emptied, or, with `None`, no more. Routing goes on as before.
    Leaving(Option<Cause>),
    /// The ledger was counted: every endpoint where something has changed since the last time.
    Counted(Vec<(EndpointId, Reading)>),
    /// The operator lets a region that is held back take its traffic.
    Released(Name),
    /// The operator wants the failover window open, or does not want it any more.
    WindowAsked {
        /// Open, or as everything else has it.
        open: bool,
        /// Why.
        reason: Arc<str>,
    },
    /// The store told who owns what.
    Owned(Ownership),
    /// Time passed.
    Tick,
}

/// What must be done, or told, because of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The conclusion about an endpoint changed.
    EndpointTurned {
        /// Its region.
        region: Name,
        /// Its address.
        address: SocketAddr,
        /// What we thought.
        from: Verdict,
        /// What we think.
        to: Verdict,
        /// Where its last report differs from the contract.
        mismatches: Arc<[Mismatch]>,
        /// Why its last probe failed, if it did.
        failure: Option<ProbeFailure>,
    },
    /// The conclusion about a region changed.
    RegionTurned {
        /// The region.
        region: Name,
        /// What we thought.
        from: Verdict,
        /// What we think.
        to: Verdict,
    },
    /// A region is held back from now on, or, with `None`, no longer.
    RegionHeld {
        /// The region.
        region: Name,
        /// Why.
        held: Option<Held>,
    },
    /// Traffic took an endpoint out.
    Ejected {
        /// Its region.
        region: Name,
        /// Its address.
        address: SocketAddr,
    },
    /// An endpoint that traffic took out is back.
    Returned {
        /// Its region.
        region: Name,
        /// Its address.
        address: SocketAddr,
    },
    /// A drain took a step.
    DrainTurned {
        /// What is being emptied, and how far that has come.
        flip: Flip,
        /// The step.
        turn: Turn,
    },
    /// What is open at these endpoints is to be closed.
    Close(Vec<EndpointId>),
    /// The failover window was opened or closed.
    WindowTurned(window::Turn),
    /// These endpoints, and no others, are to be probed.
    Probe(Vec<Target>),
}

/// Who owns what, as one division into partitions has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Which division, and its digest.
    pub layout: (u32, u64),
    /// Its partitions.
    pub owned: Vec<Owned>,
}

/// Somebody to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    /// Its region, for the pin that every probe carries.
    pub region: Name,
}

/// The mutable world. Equal boards and equal events give equal boards and equal effects.
#[derive(Debug)]
pub struct Board {
    policy: Arc<Policy>,
    regions: Vec<RegionState>,
    places: HashMap<EndpointId, usize>,
    drains: Drains,
    window: WindowState,
    ownership: Ownership,
    /// The window as the next snapshot shows it.
    shown_window: Window,
    last_event: Moment,
    generation: Generation,
    next_endpoint: u32,
    changed: bool,
}

impl Board {
    /// A board on which a policy has just taken force, with what must be probed.
    pub fn new(now: Moment, policy: Arc<Policy>) -> (Self, Vec<Effect>) {
        Self::remembering(now, policy, Memory::default())
    }

    /// The same board, which goes on from what another one remembers.
    ///
    /// The policy takes force as it would in that other board: regions are found again by name,
    /// endpoints by address. Whoever is not remembered is unknown, and what is remembered grows
    /// stale by the age that it has.
    pub fn remembering(now: Moment, policy: Arc<Policy>, memory: Memory) -> (Self, Vec<Effect>) {
        let former = Policy { contract: memory.contract, ..Policy::clone(&policy) };
        let mut board = Self {
            policy: Arc::new(former),
            regions: Vec::new(),
            places: HashMap::new(),
            drains: Drains::default(),
            window: memory.window,
            ownership: Ownership::default(),
            shown_window: Window::default(),
            last_event: now,
            generation: Generation(0),
            next_endpoint: 0,
            changed: true,
        };
        for region in memory.regions {
            let mut id = || next_id(&mut board.next_endpoint);
            board.regions.push(RegionState::remembered(region, &mut id));
        }
        let mut effects = board.apply(now, Event::Installed(policy));
        effects.extend(board.apply(now, Event::Tick));
        (board, effects)
    }

    /// Everything that another board needs to go on from here.
    pub fn memory(&self) -> Memory {
        let regions = self.regions.iter().map(RegionState::memory).collect();
        let (contract, window) = (self.policy.contract.clone(), self.window.clone());
        Memory { contract, regions, window }
    }

    /// Takes in one event.
    ///
    /// # Panics
    /// When time goes backwards: a board that cannot trust its clock must not go on.
    pub fn apply(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        assert!(self.last_event <= now, "time went backwards");
        let before = std::mem::replace(&mut self.last_event, now);
        let mut effects = Vec::new();
        let is_counted = matches!(event, Event::Counted(_));
        match event {
            Event::Installed(policy) => self.install(now, &policy, &mut effects),
            Event::Listed { region, endpoints } => {
                self.list(now, &region, &endpoints, &mut effects);
            }
            Event::Probed { endpoint, took, outcome } => {
                self.probed(now, endpoint, (took, outcome), &mut effects);
            }
            Event::Observed { endpoint, tally } => {
                self.observed(now, endpoint, tally, &mut effects);
            }
            Event::Drained { region, endpoint, out } => self.drain(&region, endpoint, out),
            Event::Leaving(cause) => self.leave(cause),
            Event::Counted(readings) => self.counted(&readings),
            Event::Released(region) => self.release(&region),
            Event::WindowAsked { open, reason } => self.window.ask(open.then_some(reason)),
            Event::Owned(ownership) => {
                self.changed |= self.ownership != ownership;
                self.ownership = ownership;
            }
            Event::Tick => self.tick(now, &mut effects),
        }
        if self.policy.contract.rotation_ends(before, now) {
            self.compare(now);
        }
        self.settle(now, &mut effects);
        self.settle_drains(now, is_counted, &mut effects);
        self.settle_window(now, &mut effects);
        effects
    }

    /// Whether anything that a snapshot shows may have changed since the last one.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// The world as data, under a new generation.
    pub fn snapshot(&mut self) -> Snapshot {
        self.changed = false;
        self.generation = Generation(self.generation.0 + 1);
        let regions = self.regions.iter().map(RegionState::picture).collect();
        let mut snapshot = Snapshot::new(self.generation, Arc::clone(&self.policy), regions);
        snapshot.window = self.shown_window.clone();
        if let Some(owners) = self.owners() {
            snapshot.owners = owners;
        }
        snapshot
    }

    /// Who owns each partition of the policy; `None` before anything is known of that.
    fn owners(&self) -> Option<Arc<[Owner]>> {
        let rules = self.policy.ownership.as_ref()?;
        let Ownership { layout, owned } = &self.ownership;
        if owned.is_empty() {
            return None;
        }
        let is_ours = *layout == (rules.version, rules.digest());
        let known: HashMap<&str, &Owned> = owned.iter().map(|it| (&*it.partition, it)).collect();
        let owner = |of_policy: &PartitionPolicy| match known.get(&*of_policy.name) {
            // In another division the partition of this name may be other values.
            Some(owned) if is_ours => Owner {
                region: self.policy.region(&owned.region),
                epoch: owned.epoch,
                standing: owned.standing,
            },
            Some(_) | None => Owner {
                region: Some(of_policy.home),
                standing: Standing::Outdated,
                ..Owner::default()
            },
        };
        Some(rules.partitions.iter().map(owner).collect())
    }

    /// Puts a policy in force. Regions and endpoints that are still there keep what is known.
    fn install(&mut self, now: Moment, policy: &Arc<Policy>, effects: &mut Vec<Effect>) {
        let mut known = std::mem::take(&mut self.regions);
        for of_policy in &policy.regions {
            let place = known.iter().position(|it| it.name == of_policy.name);
            let state = match place {
                Some(place) => known.swap_remove(place),
                None => RegionState::unknown(now, &of_policy.name),
            };
            self.regions.push(state);
        }
        for gone in &known {
            self.remove_region(now, gone, effects);
        }
        let former = std::mem::replace(&mut self.policy, Arc::clone(policy));
        for (place, of_policy) in policy.regions.iter().enumerate() {
            if let EndpointSource::Listed(endpoints) = &of_policy.endpoints {
                self.replace_endpoints(now, place, endpoints, effects);
            }
        }
        let endpoints = self.regions.iter_mut().flat_map(|it| &mut it.endpoints);
        endpoints.for_each(|it| it.health.reread(&former.contract, &policy.contract));
        self.compare(now);
        self.endpoints_changed(effects);
    }

    /// Compares what everybody said last with the contract of this moment.
    fn compare(&mut self, now: Moment) {
        let endpoints = self.regions.iter_mut().flat_map(|it| &mut it.endpoints);
        endpoints.for_each(|it| it.health.compare(&self.policy.contract, now));
        self.changed = true;
    }

    fn list(
        &mut self,
        now: Moment,
        region: &str,
        endpoints: &[EndpointAddress],
        effects: &mut Vec<Effect>,
    ) {
        let Some(place) = self.regions.iter().position(|it| &*it.name == region) else { return };
        if endpoints.is_empty() || self.regions.get(place).is_some_and(|it| it.lists(endpoints)) {
            return;
        }
        self.replace_endpoints(now, place, endpoints, effects);
        self.endpoints_changed(effects);
    }

    fn replace_endpoints(
        &mut self,
        now: Moment,
        place: usize,
        listed: &[EndpointAddress],
        effects: &mut Vec<Effect>,
    ) {
        let Some(region) = self.regions.get_mut(place) else { return };
        let mut known = std::mem::take(&mut region.endpoints);
        for endpoint in listed.iter().take(ENDPOINTS_PER_REGION_MAX) {
            let place = known.iter().position(|it| it.address == endpoint.address);
            let mut state = if let Some(place) = place {
                known.swap_remove(place)
            } else {
                EndpointState::unknown(now, next_id(&mut self.next_endpoint), endpoint.address)
            };
            state.weight = endpoint.weight;
            region.endpoints.push(state);
        }
        for gone in &known {
            self.remove_endpoint(now, (place, gone), effects);
        }
    }

    /// Tells the prober whom to ask, and finds endpoints by their place again.
    fn endpoints_changed(&mut self, effects: &mut Vec<Effect>) {
        self.changed = true;
        let places = self.regions.iter().enumerate();
        self.places = places
            .flat_map(|(place, it)| it.endpoints.iter().map(move |it| (it.id, place)))
            .collect();
        let targets = self.regions.iter().flat_map(RegionState::targets).collect();
        effects.push(Effect::Probe(targets));
    }

    fn probed(
        &mut self,
        now: Moment,
        id: EndpointId,
        (took, outcome): (Duration, Result<Report, ProbeFailure>),
        effects: &mut Vec<Effect>,
    ) {
        let policy = Arc::clone(&self.policy);
        // A late probe of an endpoint that is gone finds no place, and changes nothing.
        let Some(region) = self.places.get(&id).and_then(|it| self.regions.get_mut(*it)) else {
            return;
        };
        if outcome.is_ok() {
            region.distance.probed(now, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        let name = Arc::clone(&region.name);
        let Some(endpoint) = region.endpoints.iter_mut().find(|it| it.id == id) else { return };
        let health = &mut endpoint.health;
        let before = (health.report.clone(), health.failure);
        if let Some(from) = health.observe(now, outcome, &policy.contract, &policy.probing) {
            effects.push(endpoint.turned(&name, from));
        }
        let health = &endpoint.health;
        self.changed |= before != (health.report.clone(), health.failure);
        endpoint.proven = health.is_vouched_for().then_some(now);
    }

    fn observed(&mut self, now: Moment, id: EndpointId, tally: Tally, effects: &mut Vec<Effect>) {
        let rules = &self.policy.ejection;
        let Some(region) = self.places.get(&id).and_then(|it| self.regions.get_mut(*it)) else {
            return;
        };
        let name = Arc::clone(&region.name);
        let Some(endpoint) = region.endpoints.iter_mut().find(|it| it.id == id) else { return };
        let answers = tally.answered.saturating_sub(endpoint.tally.answered);
        let first_bytes = tally.first_byte_us.saturating_sub(endpoint.tally.first_byte_us);
        if let Some(mean_us) = first_bytes.checked_div(answers) {
            region.distance.answered(mean_us);
        }
        endpoint.tally = tally;
        if endpoint.ejection.observe(now, tally, rules) {
            self.changed = true;
            effects.push(Effect::Ejected { region: name, address: endpoint.address });
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let policy = Arc::clone(&self.policy);
        for region in &mut self.regions {
            let name = Arc::clone(&region.name);
            for endpoint in &mut region.endpoints {
                if let Some(from) = endpoint.health.expire(now, &policy.probing) {
                    effects.push(endpoint.turned(&name, from));
                }
            }
        }
    }

    /// Draws what follows for every region: its verdict, returns, its hold, its distance.
    fn settle(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let policy = Arc::clone(&self.policy);
        for (region, of_policy) in self.regions.iter_mut().zip(&policy.regions) {
            self.changed |= region.settle(now, (&policy, of_policy), effects);
        }
        self.changed |= !effects.is_empty();
    }

    fn drain(&mut self, name: &str, endpoint: Option<SocketAddr>, out: bool) {
        let Some(region) = self.regions.iter_mut().find(|it| &*it.name == name) else { return };
        let drained = match endpoint {
            None => &mut region.drained,
            Some(address) => {
                let mut endpoints = region.endpoints.iter_mut();
                let Some(endpoint) = endpoints.find(|it| it.address == address) else { return };
                &mut endpoint.drained
            }
        };
        self.changed |= std::mem::replace(drained, out) != out;
    }

    fn release(&mut self, name: &str) {
        if let Some(region) = self.regions.iter_mut().find(|it| &*it.name == name) {
            region.hold.release();
        }
    }
}

/// A number that no endpoint of this process has had.
fn next_id(last: &mut u32) -> EndpointId {
    *last = last.saturating_add(1);
    EndpointId(*last)
}
