//! Drains on the board: what is being emptied and why, and what the ledger says of it.
//!
//! What is open at an endpoint belongs to one drain at most: that of its region if there is one,
//! or else its own. Whatever leaves the policy is watched on until it is empty.

use std::net::SocketAddr;

use crate::drain::{Cause, Drain, Flip, Reading, Turn};
use crate::id::{EndpointId, Name};
use crate::moment::Moment;
use crate::policy::DrainRules;

use super::region::{EndpointState, RegionState};
use super::{Board, Effect};

/// What the board knows of drains besides those of its regions and endpoints.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// Why the whole process is being emptied, if it is.
    leaving: Option<Cause>,
    removals: Vec<Removal>,
    is_awaiting_count: bool,
}

/// A region or an endpoint that is in the policy no more, until nothing is open there.
#[derive(Debug)]
struct Removal {
    region: Name,
    endpoint: Option<SocketAddr>,
    members: Vec<(EndpointId, Reading)>,
    drain: Drain,
}

/// What every step of a drain needs.
struct Watch<'a> {
    now: Moment,
    is_fresh: bool,
    rules: &'a DrainRules,
    effects: &'a mut Vec<Effect>,
}

/// What a drain empties.
#[derive(Clone, Copy)]
struct Scope<'a> {
    region: &'a Name,
    endpoint: Option<SocketAddr>,
}

impl Board {
    /// Every drain there is, those included that have come to their end and whose cause lasts.
    pub fn drains(&self) -> Vec<Flip> {
        let of_regions = self.regions.iter().flat_map(|region| {
            let whole = region.drain.map(|drain| region.scope().flip(drain));
            let parts = region.endpoints.iter().filter_map(|it| {
                let scope = Scope { region: &region.name, endpoint: Some(it.address) };
                Some(scope.flip(it.drain?))
            });
            whole.into_iter().chain(parts)
        });
        let of_removals = self.drains.removals.iter().map(|it| it.scope().flip(it.drain));
        of_regions.chain(of_removals).collect()
    }

    /// Whether a drain was decided that waits for a count of what is open.
    pub fn is_awaiting_count(&self) -> bool {
        self.drains.is_awaiting_count
    }

    /// The whole process is to be emptied from now on, or, with `None`, no more.
    pub(super) fn leave(&mut self, cause: Option<Cause>) {
        self.drains.leaving = cause;
    }

    /// Takes in what the ledger says of endpoints.
    pub(super) fn counted(&mut self, readings: &[(EndpointId, Reading)]) {
        for (id, reading) in readings {
            if let Some(region) = self.places.get(id).and_then(|it| self.regions.get_mut(*it)) {
                region.counted(*id, reading);
            } else {
                let removals = self.drains.removals.iter_mut();
                removals.for_each(|it| it.counted(*id, reading));
            }
        }
    }

    /// A region has left the policy.
    pub(super) fn remove_region(
        &mut self,
        now: Moment,
        region: &RegionState,
        effects: &mut Vec<Effect>,
    ) {
        supersede(region.drain, region.scope(), effects);
        for it in &region.endpoints {
            supersede(it.drain, it.scope(&region.name), effects);
        }
        self.drains.removals.push(Removal {
            region: Name::clone(&region.name),
            endpoint: None,
            members: region.endpoints.iter().map(|it| (it.id, it.reading)).collect(),
            drain: Drain::new(Cause::Removed, now),
        });
    }

    /// An endpoint has left its region.
    pub(super) fn remove_endpoint(
        &mut self,
        now: Moment,
        (place, endpoint): (usize, &EndpointState),
        effects: &mut Vec<Effect>,
    ) {
        let Some(region) = self.regions.get_mut(place) else { return };
        if let Some(whole) = &mut region.drain {
            whole.lost(endpoint.reading.open);
        }
        supersede(endpoint.drain, endpoint.scope(&region.name), effects);
        self.drains.removals.push(Removal {
            region: Name::clone(&region.name),
            endpoint: Some(endpoint.address),
            members: vec![(endpoint.id, endpoint.reading)],
            drain: Drain::new(Cause::Removed, now),
        });
    }

    /// Draws what follows for every drain; `is_fresh` when the ledger was counted just now.
    pub(super) fn settle_drains(&mut self, now: Moment, is_fresh: bool, effects: &mut Vec<Effect>) {
        let rules = &self.policy.drain;
        let mut watch = Watch { now, is_fresh, rules, effects };
        for region in &mut self.regions {
            region.settle_drains(self.drains.leaving, &mut watch);
        }
        for removal in &mut self.drains.removals {
            removal.settle(&mut watch);
        }
        self.drains.removals.retain(|it| !it.drain.is_drained());
        let of_regions = self.regions.iter().flat_map(|region| {
            region.drain.iter().chain(region.endpoints.iter().filter_map(|it| it.drain.as_ref()))
        });
        let mut all = of_regions.chain(self.drains.removals.iter().map(|it| &it.drain));
        self.drains.is_awaiting_count = all.any(Drain::is_beginning);
    }
}

impl RegionState {
    fn scope(&self) -> Scope<'_> {
        Scope { region: &self.name, endpoint: None }
    }

    fn counted(&mut self, id: EndpointId, reading: &Reading) {
        let Some(endpoint) = self.endpoints.iter_mut().find(|it| it.id == id) else { return };
        let before = std::mem::replace(&mut endpoint.reading, *reading);
        if let Some(drain) = self.drain.as_mut().or(endpoint.drain.as_mut()) {
            drain.counted(&before, reading);
        }
    }

    fn settle_drains(&mut self, leaving: Option<Cause>, watch: &mut Watch<'_>) {
        let wanted = leaving.or_else(|| self.why_empty());
        for endpoint in &mut self.endpoints {
            let own = if wanted.is_some() { None } else { endpoint.why_empty() };
            let scope = Scope { region: &self.name, endpoint: Some(endpoint.address) };
            watch.follow(&mut endpoint.drain, own, (scope, wanted.is_some()));
            watch.step(endpoint.drain.as_mut(), scope, &[(endpoint.id, endpoint.reading)]);
        }
        let members: Vec<_> = match wanted {
            Some(_) => self.endpoints.iter().map(|it| (it.id, it.reading)).collect(),
            None => Vec::new(),
        };
        let scope = Scope { region: &self.name, endpoint: None };
        watch.follow(&mut self.drain, wanted, (scope, false));
        watch.step(self.drain.as_mut(), scope, &members);
    }
}

impl EndpointState {
    fn scope<'a>(&self, region: &'a Name) -> Scope<'a> {
        Scope { region, endpoint: Some(self.address) }
    }
}

impl Removal {
    fn scope(&self) -> Scope<'_> {
        Scope { region: &self.region, endpoint: self.endpoint }
    }

    fn counted(&mut self, id: EndpointId, reading: &Reading) {
        if let Some((_, known)) = self.members.iter_mut().find(|(it, _)| *it == id) {
            let before = std::mem::replace(known, *reading);
            self.drain.counted(&before, reading);
        }
    }

    fn settle(&mut self, watch: &mut Watch<'_>) {
        let scope = Scope { region: &self.region, endpoint: self.endpoint };
        watch.step(Some(&mut self.drain), scope, &self.members);
    }
}

impl Watch<'_> {
    /// Begins, goes on or ends as the cause of this moment demands it.
    fn follow(
        &mut self,
        drain: &mut Option<Drain>,
        wanted: Option<Cause>,
        (scope, is_covered): (Scope<'_>, bool),
    ) {
        match (&drain, wanted) {
            (None, None) => {}
            (None, Some(cause)) => *drain = Some(Drain::new(cause, self.now)),
            (Some(running), Some(cause)) if running.goes_on_as(cause) => {}
            (Some(running), Some(cause)) => {
                supersede(Some(*running), scope, self.effects);
                *drain = Some(Drain::new(cause, self.now));
            }
            (Some(running), None) => {
                if is_covered {
                    supersede(Some(*running), scope, self.effects);
                } else if !running.is_drained() {
                    self.effects.push(scope.turned(*running, Turn::Returned));
                }
                *drain = None;
            }
        }
    }

    /// Takes every step that is due.
    fn step(
        &mut self,
        drain: Option<&mut Drain>,
        scope: Scope<'_>,
        members: &[(EndpointId, Reading)],
    ) {
        let Some(drain) = drain else { return };
        let open = members.iter().map(|(_, it)| it.open).sum();
        while let Some(turn) = drain.step(self.now, open, self.is_fresh, self.rules) {
            self.effects.push(scope.turned(*drain, turn));
            if turn == Turn::Deadline {
                let still_open = members.iter().filter(|(_, it)| it.open > 0);
                self.effects.push(Effect::Close(still_open.map(|(id, _)| *id).collect()));
            }
        }
    }
}

impl Scope<'_> {
    fn flip(self, drain: Drain) -> Flip {
        Flip { region: Name::clone(self.region), endpoint: self.endpoint, drain }
    }

    fn turned(self, drain: Drain, turn: Turn) -> Effect {
        Effect::DrainTurned { flip: self.flip(drain), turn }
    }
}

/// Ends a drain in favour of another one, unless it has come to its end already.
fn supersede(drain: Option<Drain>, scope: Scope<'_>, effects: &mut Vec<Effect>) {
    if let Some(drain) = drain.filter(|it| !it.is_drained()) {
        effects.push(scope.turned(drain, Turn::Superseded));
    }
}
