//! What the board should believe, worked out from what it was told in the plainest way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use tidegate_core::Moment;
use tidegate_core::board::{Effect, Event};
use tidegate_core::contract::{Found, Key, Report, Source, Weight};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::{EndpointId, Name};
use tidegate_core::policy::{Failback, FailbackRules, Policy};
use tidegate_core::snapshot::{Endpoint, Held, Region, Snapshot, Verdict};

use crate::contract::differences;

/// What was told of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Whether each probe in a row was good, since the last silence.
    history: Vec<bool>,
    last: Option<Moment>,
    pub(crate) last_good: Option<Moment>,
    pub(crate) is_routable: bool,
    says: HashMap<(Name, Source), Found>,
    pub(crate) release: Option<Name>,
}

/// What happened to one region.
#[derive(Debug, Default)]
struct Past {
    since: Option<Moment>,
    is_waiting: bool,
    losses: Vec<Moment>,
    frozen_until: Option<Moment>,
    /// When it lost traffic that it had as one of the preferred; since somebody last meddled.
    flips: Vec<Moment>,
    was_preferred: bool,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    told: BTreeMap<EndpointId, Told>,
    pasts: BTreeMap<Name, Past>,
    pub(crate) drained: BTreeSet<Name>,
    /// Endpoints that the operator took out, as long as their region lists them.
    pub(crate) drained_endpoints: BTreeSet<(Name, SocketAddr)>,
    out: BTreeMap<EndpointId, Moment>,
}

impl Told {
    /// What it said last at a key.
    fn found(&self, key: &Key) -> Found {
        self.says.get(&(key.name.clone(), key.source.clone())).cloned().unwrap_or_default()
    }

    pub(crate) fn differences(&self, policy: &Policy, now: Moment) -> Vec<(usize, Weight)> {
        let differences = differences(&policy.contract, |key| self.found(key), now);
        differences.into_iter().map(|(key, weight)| (key.index(), weight)).collect()
    }

    pub(crate) fn vetoes(&self, policy: &Policy, now: Moment) -> Vec<usize> {
        let differences = self.differences(policy, now).into_iter();
        differences.filter(|(_, weight)| *weight == Weight::Veto).map(|(key, _)| key).collect()
    }

    /// Whether it said this at a standard key.
    pub(crate) fn says(&self, policy: &Policy, key: usize, text: &str) -> bool {
        let key = policy.contract.keys.get(key);
        key.is_some_and(|key| self.found(key) == Found::Value(text.into()))
    }

    fn hear(&mut self, now: Moment, outcome: &Result<Report, ProbeFailure>, policy: &Policy) {
        self.last = Some(now);
        if let Ok(report) = outcome {
            let keys = policy.contract.keys.iter().zip(&report.found);
            let said = keys.map(|(key, it)| ((key.name.clone(), key.source.clone()), it.clone()));
            self.says = said.collect();
            self.release.clone_from(&report.release_id);
        }
        let answers = outcome.as_ref().is_ok_and(|it| it.ready != Some(false));
        let is_good = answers && (policy.probing.shadow || self.vetoes(policy, now).is_empty());
        self.history.push(is_good);
        if is_good {
            self.last_good = Some(now);
        }
        let are_last = |count: u32, good: bool| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let last = self.history.iter().rev().take(count);
            last.filter(|it| **it == good).count() == count
        };
        if are_last(policy.probing.rise, true) {
            self.is_routable = true;
        } else if are_last(policy.probing.fall, false) {
            self.is_routable = false;
        }
    }

    fn forget(&mut self, now: Moment, policy: &Policy) {
        if self.last.is_none_or(|at| policy.probing.stale_after <= now.since(at)) {
            self.history.clear();
            self.is_routable = false;
        }
    }
}

impl Past {
    fn pass(&mut self, now: Moment, serves: bool, rules: &FailbackRules) {
        if serves {
            self.since.get_or_insert(now);
        } else if self.since.take().is_some() {
            self.is_waiting = true;
            self.losses.push(now);
            self.losses.retain(|at| now.since(*at) <= rules.within);
            if self.losses.len() >= usize::try_from(rules.flips).unwrap_or(usize::MAX) {
                self.frozen_until = Some(now.plus(rules.freeze));
            }
        }
        if self.frozen_until.is_some_and(|until| until <= now) {
            self.frozen_until = None;
            self.losses.clear();
        }
        if let (Some(since), Failback::After(after)) = (self.since, rules.mode)
            && now.since(since) >= after
            && now.since(since) >= rules.hysteresis
        {
            self.is_waiting = false;
        }
    }

    fn held(&self, rules: &FailbackRules) -> Option<Held> {
        match rules.mode {
            _ if self.frozen_until.is_some() => Some(Held::Frozen),
            Failback::Manual if self.is_waiting => Some(Held::Manual),
            Failback::After(_) if self.is_waiting => Some(Held::Recovering),
            Failback::Manual | Failback::After(_) => None,
        }
    }

    /// Flaps are what the freeze is for: so many in so short a time, and no more.
    fn flap(&mut self, now: Moment, is_preferred: bool, rules: &FailbackRules) -> bool {
        if self.was_preferred && !is_preferred && self.since.is_none() {
            self.flips.push(now);
        }
        self.was_preferred = is_preferred;
        let window = rules.within.min(rules.freeze);
        let recent = self.flips.iter().filter(|at| now.since(**at) < window).count();
        recent <= usize::try_from(rules.flips).unwrap_or(usize::MAX)
    }
}

impl Oracle {
    /// Hears what the board hears.
    pub(crate) fn hear(&mut self, now: Moment, event: &Event, policy: &Policy) {
        match event {
            Event::Probed { endpoint, outcome, .. } => {
                if let Some(told) = self.told.get_mut(endpoint) {
                    told.hear(now, outcome, policy);
                }
            }
            Event::Tick => self.told.values_mut().for_each(|it| it.forget(now, policy)),
            Event::Drained { region, endpoint: None, out: true } => {
                self.drained.insert(region.clone());
            }
            Event::Drained { region, endpoint: None, out: false } => {
                self.drained.remove(region);
            }
            Event::Released(region) => {
                if let Some(past) = self.pasts.get_mut(region) {
                    past.is_waiting = false;
                    past.frozen_until = None;
                    past.losses.clear();
                    past.flips.clear();
                }
            }
            Event::Installed(policy) => {
                let reads = |key: &(Name, Source)| {
                    policy.contract.keys.iter().any(|it| it.name == key.0 && it.source == key.1)
                };
                self.told.values_mut().for_each(|it| it.says.retain(|key, _| reads(key)));
                self.pasts.values_mut().for_each(|it| it.flips.clear());
                self.drained.retain(|name| policy.region(name).is_some());
            }
            Event::Drained { region, endpoint: Some(address), out } => {
                let place = (region.clone(), *address);
                if *out {
                    self.drained_endpoints.insert(place);
                } else {
                    self.drained_endpoints.remove(&place);
                }
            }
            Event::Listed { .. }
            | Event::Observed { .. }
            | Event::Leaving(_)
            | Event::Counted(_)
            | Event::WindowAsked { .. }
            | Event::Owned(_) => {}
        }
    }

    pub(crate) fn told(&self, endpoint: &Endpoint) -> Result<&Told, String> {
        self.told
            .get(&endpoint.id)
            .ok_or_else(|| format!("{} is probed by nobody", endpoint.address))
    }

    /// Learns who is there, and compares what the board shows with what it should believe.
    pub(crate) fn compare(&mut self, now: Moment, snapshot: &Snapshot) -> Result<(), String> {
        let present: BTreeSet<EndpointId> =
            snapshot.regions.iter().flat_map(|it| &it.endpoints).map(|it| it.id).collect();
        self.told.retain(|id, _| present.contains(id));
        for id in present {
            self.told.entry(id).or_default();
        }
        let is_listed = |(name, address): &(Name, SocketAddr)| {
            let region = snapshot.regions.iter().find(|it| it.name == *name);
            region.is_some_and(|it| it.endpoints.iter().any(|it| it.address == *address))
        };
        self.drained_endpoints.retain(is_listed);
        self.pasts.retain(|name, _| snapshot.policy.region(name).is_some());
        for region in &snapshot.regions {
            self.compare_region(now, snapshot, region)
                .map_err(|why| format!("{} {why}: {region:#?}", region.name))?;
        }
        Ok(())
    }

    fn compare_region(
        &mut self,
        now: Moment,
        snapshot: &Snapshot,
        region: &Region,
    ) -> Result<(), String> {
        for endpoint in &region.endpoints {
            let is_drained = self.is_drained(region, endpoint);
            if endpoint.drained != is_drained {
                return Err(format!("has {} drained: {is_drained}", endpoint.address));
            }
            let told = self.told(endpoint)?;
            if told.is_routable != endpoint.verdict.is_routable() {
                return Err(format!("has {} at {}: {told:?}", endpoint.address, endpoint.verdict));
            }
            if endpoint.report.is_some() {
                let vetoes = told.vetoes(&snapshot.policy, now);
                let shown =
                    (0..32).filter(|it| endpoint.vetoes.contains(tidegate_core::id::KeyId(*it)));
                if !shown.map(usize::from).eq(vetoes.iter().copied()) {
                    return Err(format!("shows the wrong vetoes, not {vetoes:?}"));
                }
            }
        }
        if region.drained != self.drained.contains(&region.name) {
            return Err("is drained, or is not, against the operator's word".to_owned());
        }
        let serves = self.serves(now, snapshot, region)?;
        let shown = region.verdict.is_routable()
            || (region.verdict == Verdict::Mixed && snapshot.policy.probing.routes_to_mixed());
        if serves != shown {
            return Err(format!("should serve: {serves}"));
        }
        let rules = &snapshot.policy.failback;
        let past = self.pasts.entry(region.name.clone()).or_default();
        past.pass(now, serves, rules);
        let held = past.held(rules).or_else(|| all_ejected(region));
        if held != region.held {
            return Err(format!("should be held: {held:?}, {past:?}"));
        }
        let is_preferred = serves && past.held(rules).is_none();
        if past.flap(now, is_preferred, rules) {
            return Ok(());
        }
        Err(format!("flaps: {past:?}"))
    }

    pub(crate) fn is_drained(&self, region: &Region, endpoint: &Endpoint) -> bool {
        self.drained_endpoints.contains(&(region.name.clone(), endpoint.address))
    }

    /// Whether a region is fit for requests without demands of their own.
    pub(crate) fn serves(
        &self,
        now: Moment,
        snapshot: &Snapshot,
        region: &Region,
    ) -> Result<bool, String> {
        let place = snapshot.policy.region(&region.name);
        let own = place.and_then(|it| snapshot.policy.regions.get(it.index()));
        let own = own.ok_or("is in no policy")?;
        let mut routable = Vec::new();
        let mut left = Vec::new();
        for endpoint in &region.endpoints {
            let told = Some(self.told(endpoint)?).filter(|it| it.is_routable);
            routable.extend(told);
            left.extend(told.filter(|_| !self.is_drained(region, endpoint)));
        }
        let share = routable.len() * 100;
        let is_enough = share >= region.endpoints.len() * usize::from(own.green_share_percent);
        let agree = |key: usize| {
            let key = snapshot.policy.contract.keys.get(key);
            let matching = left.iter().filter(|it| it.vetoes(&snapshot.policy, now).is_empty());
            let found = key.map(|key| matching.map(|it| it.found(key)).collect::<Vec<_>>());
            let found = found.unwrap_or_default();
            let mut values = found.iter().filter(|it| matches!(it, Found::Value(_)));
            let first = values.next();
            values.all(|it| Some(it) == first)
        };
        let is_mixed = snapshot.policy.contract.agreed().any(|key| !agree(key.index()));
        let mixed_is_fine = snapshot.policy.probing.mixed_allowed || snapshot.policy.probing.shadow;
        Ok(!routable.is_empty() && is_enough && (!is_mixed || mixed_is_fine))
    }

    /// Hears who goes out and who comes back; nobody comes back without a good probe since.
    pub(crate) fn hear_effects(
        &mut self,
        now: Moment,
        effects: &[Effect],
        snapshot: &Snapshot,
    ) -> Result<(), String> {
        for effect in effects {
            let (Effect::Ejected { address, .. } | Effect::Returned { address, .. }) = effect
            else {
                continue;
            };
            let endpoints = snapshot.regions.iter().flat_map(|it| &it.endpoints);
            let Some(endpoint) = endpoints.into_iter().find(|it| it.address == *address) else {
                continue;
            };
            if matches!(effect, Effect::Ejected { .. }) {
                self.out.insert(endpoint.id, now);
                continue;
            }
            let out = self.out.remove(&endpoint.id);
            if self.told(endpoint)?.last_good <= out {
                return Err(format!("{address} returns without a probe that vouches"));
            }
        }
        Ok(())
    }
}

fn all_ejected(region: &Region) -> Option<Held> {
    let mut routable = region.endpoints.iter().filter(|it| it.verdict.is_routable()).peekable();
    routable.peek()?;
    routable.all(|it| it.ejected).then_some(Held::Ejected)
}
