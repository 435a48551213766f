//! The book of evidence: everything that was brought, by whom and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::drift::{self, Drift, Reference};
use super::evidence::Seen;
use super::facts::Spoken;
use super::lambda::LambdaTally;
use super::manifest::{BadManifest, Inventory};
use super::millionths::Millionths;
use super::probes::{Measurement, Unusable};
use super::queue::Tail;
use super::rules::GateRules;
use crate::board::memory::Memory;
use crate::contract::{Contract, Queue};
use crate::health::ProbeFailure;
use crate::id::Name;
use crate::moment::Moment;
use crate::policy::Policy;

/// Why nobody knows what a region stores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoManifest {
    /// It could not be asked.
    #[error("{0}")]
    Failed(ProbeFailure),
    /// What it answers is no list.
    #[error("{0}")]
    Bad(#[from] BadManifest),
}

/// What a memory of writes says of itself: each check, whether it holds, and its figures.
pub type FenceChecks = Vec<(&'static str, bool, String)>;

/// Everything that was brought.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub(super) rules: Arc<GateRules>,
    pub(super) contract: Contract,
    /// The regions, in the order of the policy.
    pub(super) regions: Vec<(Name, Known)>,
    /// What the reference region answered first when all was well, under this contract.
    pub(super) baseline: Option<Measurement>,
    pub(super) fences: BTreeMap<Name, Fence>,
}

/// What is known of one region.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) spoken: Option<Seen<Spoken>>,
    pub(super) manifest: Option<Seen<Result<Inventory, NoManifest>>>,
    pub(super) tail: Option<Seen<Tail>>,
    /// Why the queue could not be read, since it was read last.
    pub(super) unread: Option<Seen<String>>,
    pub(super) probes: Option<Seen<Result<Measurement, Unusable>>>,
}

/// What is known of one memory of writes.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) seen: Seen<FenceChecks>,
    /// Since when every check holds.
    pub(super) warm_since: Option<Moment>,
}

/// The figures of what a region answered to the probe set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The middle ΔS.
    pub median: Millionths,
    /// The largest.
    pub max: Millionths,
    /// How far they are from the reference; `None` without one.
    pub drift: Option<Drift>,
    /// The states of λ with each seed.
    pub lambdas: Vec<(u64, LambdaTally)>,
    /// How many runs ignored their seed.
    pub seeds_ignored: usize,
    /// Which share of the runs found gold.
    pub gold: Millionths,
}

impl Book {
    /// Goes by other rules from now on. What was brought under the old ones is kept where it still
    /// means the same.
    pub fn install(&mut self, rules: Arc<GateRules>, policy: &Policy) {
        let mut known = std::mem::take(&mut self.regions);
        for region in &policy.regions {
            let place = known.iter().position(|(name, _)| *name == region.name);
            let kept = place.map(|place| known.swap_remove(place).1).unwrap_or_default();
            self.regions.push((Name::clone(&region.name), kept));
        }
        if self.rules.probes != rules.probes {
            self.regions.iter_mut().for_each(|(_, it)| it.probes = None);
        }
        if self.rules.blobs != rules.blobs {
            self.regions.iter_mut().for_each(|(_, it)| it.manifest = None);
        }
        if self.rules.queue != rules.queue {
            self.regions.iter_mut().for_each(|(_, it)| (it.tail, it.unread) = (None, None));
        }
        if self.rules.probes != rules.probes || self.contract != policy.contract {
            self.baseline = None;
        }
        if rules.fence_age_max.is_none() {
            self.fences.clear();
        }
        self.contract = policy.contract.clone();
        self.rules = rules;
    }

    /// The rules in force.
    pub fn rules(&self) -> &Arc<GateRules> {
        &self.rules
    }

    /// The regions, in the order of the policy.
    pub fn regions(&self) -> impl Iterator<Item = &Name> {
        self.regions.iter().map(|(name, _)| name)
    }

    /// Takes note of what the board remembers of every region.
    pub fn heard(&mut self, memory: &Memory) {
        let rules = Arc::clone(&self.rules);
        let is_stream = |it: &str| rules.queue.as_ref().is_some_and(|q| q.stream(it).is_some());
        for region in &memory.regions {
            let Some(spoken) = Spoken::of(region) else { continue };
            let Some(known) = self.known_mut(&region.name) else { continue };
            if let Some(queue) = &spoken.what.queue
                && !is_stream(&region.name)
                && known.spoken.as_ref().is_none_or(|it| it.at < spoken.at)
            {
                let tail = known.tail.get_or_insert_with(|| Seen {
                    at: spoken.at,
                    source: Name::clone(&spoken.source),
                    what: Tail::default(),
                });
                tail.at = spoken.at;
                tail.what.read(spoken.at, queue.clone());
            }
            known.spoken = Some(spoken);
        }
    }

    /// Takes note of what a region stores.
    pub fn listed(&mut self, region: &str, seen: Seen<Result<Inventory, NoManifest>>) {
        if let Some(known) = self.known_mut(region) {
            known.manifest = Some(seen);
        }
    }

    /// Takes note of a reading of a region's queue that did not come with its contract.
    pub fn counted(&mut self, region: &str, Seen { at, source, what }: Seen<Queue>) {
        let Some(known) = self.known_mut(region) else { return };
        known.unread = None;
        let fresh = || Seen { at, source: Name::clone(&source), what: Tail::default() };
        let tail = known.tail.get_or_insert_with(fresh);
        (tail.at, tail.source) = (at, source);
        tail.what.read(at, what);
    }

    /// Takes note that a region's queue could not be read, and why.
    pub fn uncounted(&mut self, region: &str, seen: Seen<String>) {
        if let Some(known) = self.known_mut(region) {
            known.unread = Some(seen);
        }
    }

    /// Takes note of what a region answered to the probe set.
    ///
    /// What the reference region answers first, if nothing about it is red and the region is green,
    /// is what all others are compared with until set, index or contract change: otherwise a
    /// region that moves away slowly would take the reference along.
    pub fn answered(&mut self, region: &str, seen: Seen<Result<Measurement, Unusable>>) {
        let rules = Arc::clone(&self.rules);
        let Some(probes) = &rules.probes else { return };
        let is_reference = probes.reference.as_deref() == Some(region);
        let Some(known) = self.known_mut(region) else { return };
        let is_on = known.spoken.as_ref().is_some_and(|it| it.what.is_on());
        known.probes = Some(seen.clone());
        let Ok(measurement) = seen.what else { return };
        let own = Some(Reference::Region(&measurement));
        let is_well = drift::judge(&probes.set, &probes.limits, &measurement, own).is_empty();
        let is_new = self
            .baseline
            .as_ref()
            .is_none_or(|it| it.set != measurement.set || it.index_hash != measurement.index_hash);
        if is_reference && is_on && is_well && is_new {
            self.baseline = Some(measurement);
        }
    }

    /// Takes note of what a memory of writes says of itself.
    pub fn warmed(&mut self, fence: &Name, seen: Seen<FenceChecks>) {
        let Some(age_max) = self.rules.fence_age_max else { return };
        let is_warm = seen.what.iter().all(|(_, holds, _)| *holds);
        // A gap in what is known is no proof that it was warm throughout.
        let before = self.fences.get(fence).filter(|it| seen.at.since(it.seen.at) <= age_max);
        let since = before.and_then(|it| it.warm_since).unwrap_or(seen.at);
        let warm_since = is_warm.then_some(since);
        self.fences.insert(Name::clone(fence), Fence { seen, warm_since });
    }

    /// The figures of what a region answered last, if they can be judged.
    pub fn figures(&self, region: &str) -> Option<Figures> {
        let probes = self.rules.probes.as_ref()?;
        let measurement = self.known(region)?.probes.as_ref()?.what.as_ref().ok()?;
        let drift = self.reference().and_then(|it| drift::drift(&probes.set, measurement, it));
        Some(Figures {
            median: measurement.median(),
            max: measurement.worst().map(|it| it.stress)?,
            drift,
            lambdas: probes.set.seeds.iter().copied().zip(measurement.lambdas()).collect(),
            seeds_ignored: measurement.seeds_ignored,
            gold: measurement.gold_share(),
        })
    }

    /// What the answers of regions are compared with.
    pub(super) fn reference(&self) -> Option<Reference<'_>> {
        let probes = self.rules.probes.as_ref()?;
        match &probes.reference {
            None => Some(Reference::Set),
            Some(_) => self.baseline.as_ref().map(Reference::Region),
        }
    }

    pub(super) fn known(&self, region: &str) -> Option<&Known> {
        self.regions.iter().find(|(name, _)| **name == *region).map(|(_, known)| known)
    }

    fn known_mut(&mut self, region: &str) -> Option<&mut Known> {
        self.regions.iter_mut().find(|(name, _)| **name == *region).map(|(_, known)| known)
    }
}
