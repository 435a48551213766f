//! The world as data: what the board believed at one moment, immutable.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::contract::{Mismatch, Report};
use crate::health::ProbeFailure;
use crate::id::{EndpointId, Epoch, Generation, KeySet, Name, RegionId, RegionSet};
use crate::moment::Moment;
use crate::ownership::Standing;
use crate::policy::Policy;
use crate::policy::owning::PartitionPolicy;
use crate::window::Window;

use kinds::Kinds;

mod kinds;

/// What we concluded about an endpoint or a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is proven yet, or the proof is too old. Not routable.
    #[default]
    Unknown,
    /// It answers, and what it reports matches.
    Green,
    /// It answers, and differs on keys that only degrade: used after all others.
    Degraded,
    /// A region whose green endpoints disagree with each other on a vetoing key.
    Mixed,
    /// It answers, and differs on a vetoing key.
    Mismatched,
    /// It does not answer, or not with anything that could be judged.
    Dark,
}

impl Verdict {
    /// Every verdict there is.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Green, Self::Degraded, Self::Mixed, Self::Mismatched, Self::Dark];

    /// Whether requests without demands of their own may go there.
    pub fn is_routable(self) -> bool {
        matches!(self, Self::Green | Self::Degraded)
    }

    /// Whether it stands before those that differ on something, however near these are.
    pub(crate) fn is_preferred(self) -> bool {
        matches!(self, Self::Green | Self::Mixed)
    }

    /// Whether there is somebody who answers.
    pub fn is_answering(self) -> bool {
        matches!(self, Self::Green | Self::Degraded | Self::Mixed | Self::Mismatched)
    }

    /// The verdict as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Green => "green",
            Self::Degraded => "degraded",
            Self::Mixed => "mixed",
            Self::Mismatched => "mismatched",
            Self::Dark => "dark",
        }
    }

    /// The verdict that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a region that could serve is only the last resort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// It was lost and has not been green for long enough.
    Recovering,
    /// It was lost, and the operator decides when it comes back.
    Manual,
    /// It was lost too often in too short a time.
    Frozen,
    /// Traffic itself took all of its endpoints out.
    Ejected,
}

impl Held {
    /// The reason as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Manual => "waiting_for_operator",
            Self::Frozen => "frozen",
            Self::Ejected => "ejected",
        }
    }
}

/// One endpoint as the board sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Which endpoint.
    pub id: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    /// Its share now, in hundredths of its weight: slow start makes it smaller.
    pub share: u32,
    /// What we concluded.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// Whether traffic itself took it out for a while.
    pub ejected: bool,
    /// Whether the operator takes it out.
    pub drained: bool,
    /// What it said last; kept when it falls silent.
    pub report: Option<Arc<Report>>,
    /// Where that differs from the active contract.
    pub mismatches: Arc<[Mismatch]>,
    /// The vetoing keys among the differences.
    pub vetoes: KeySet,
    /// Why the last probe failed, if it did.
    pub failure: Option<ProbeFailure>,
}

impl Endpoint {
    /// The release that it reports.
    pub fn release(&self) -> Option<&Name> {
        self.report.as_ref().and_then(|it| it.release_id.as_ref())
    }
}

/// One region as the board sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: Name,
    /// What we concluded.
    pub verdict: Verdict,
    /// Since when.
    pub since: Moment,
    /// Whether the operator takes it out.
    pub drained: bool,
    /// Why it is only the last resort, if it is.
    pub held: Option<Held>,
    /// The measured distance in microseconds, if there is a fresh one.
    pub measured_us: Option<u64>,
    /// The vetoing keys on which its green endpoints disagree.
    pub disputed: KeySet,
    /// Its endpoints, in the order of the list.
    pub endpoints: Vec<Endpoint>,
}

impl Region {
    /// Whether the operator takes it out: all of it, or every endpoint whose verdict would do.
    pub fn is_drained(&self, would_do: impl Fn(Verdict) -> bool) -> bool {
        self.drained || !self.has_left(would_do)
    }

    /// Whether the operator has left it an endpoint whose verdict would do, if it has taken any.
    pub(crate) fn has_left(&self, would_do: impl Fn(Verdict) -> bool) -> bool {
        let endpoints = || self.endpoints.iter();
        let is_left = |it: &Endpoint| !it.drained && would_do(it.verdict);
        endpoints().all(|it| !it.drained) || endpoints().any(is_left)
    }
}

/// Who owns a partition, as this balancer knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The region; `None` if it is none of the policy's.
    pub region: Option<RegionId>,
    /// Since which change.
    pub epoch: Epoch,
    /// Whether writes may go there.
    pub standing: Standing,
}

/// The world as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which snapshot.
    pub generation: Generation,
    /// The policy in force; its regions stand at the same places.
    pub policy: Arc<Policy>,
    /// The regions, by [`RegionId`].
    pub regions: Vec<Region>,
    /// Regions that serve requests without demands of their own.
    pub routable: RegionSet,
    /// Regions that serve routes that only require an answer.
    pub answering: RegionSet,
    /// All regions, nearest first by configured distance, last resorts last.
    pub nearest: Vec<RegionId>,
    /// All regions, nearest first by measured distance, last resorts last.
    pub measured: Vec<RegionId>,
    /// The failover window.
    pub window: Window,
    /// Who owns each partition, by [`crate::id::PartitionId`].
    pub owners: Arc<[Owner]>,
    /// What kinds of endpoints each region has.
    kinds: Vec<Kinds>,
}

impl Snapshot {
    /// Derives what routing looks up from what the regions are. The window is shut, and nobody is
    /// known to own anything: each partition is at home.
    pub fn new(generation: Generation, policy: Arc<Policy>, regions: Vec<Region>) -> Self {
        let set = |test: &dyn Fn(&Region) -> bool| -> RegionSet {
            ids(&regions).filter(|(_, it)| test(it)).map(|(id, _)| id).collect()
        };
        let routes_to_mixed = policy.probing.routes_to_mixed();
        let routable = set(&|region| {
            !region.is_drained(Verdict::is_routable)
                && (region.verdict.is_routable()
                    || (region.verdict == Verdict::Mixed && routes_to_mixed))
        });
        let answering = set(&|region| {
            !region.is_drained(Verdict::is_answering) && region.verdict.is_answering()
        });
        let configured = |id: RegionId| {
            u64::from(policy.regions.get(id.index()).map_or(u32::MAX, |it| it.distance))
        };
        let nearest = ordered(&regions, configured);
        let measured = ordered(&regions, |id| {
            let measured_us = regions.get(id.index()).and_then(|it| it.measured_us);
            // A configured distance reads as milliseconds where nothing has been measured.
            measured_us.unwrap_or_else(|| configured(id).saturating_mul(1000))
        });
        let kinds = regions.iter().map(|it| Kinds::of(&it.endpoints)).collect();
        let at_home = |it: &PartitionPolicy| Owner { region: Some(it.home), ..Owner::default() };
        let owners = policy.ownership.iter().flat_map(|it| &it.partitions).map(at_home).collect();
        let window = Window::Shut;
        Self {
            generation,
            policy,
            regions,
            routable,
            answering,
            nearest,
            measured,
            window,
            owners,
            kinds,
        }
    }

    /// The region at a place.
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(id.index())
    }

    /// One endpoint of each kind that a region has: where none of them may serve a request, no
    /// endpoint of the region may.
    pub(crate) fn kinds(&self, id: RegionId) -> impl Iterator<Item = &Endpoint> {
        let places = self.kinds.get(id.index()).map(Kinds::places).unwrap_or_default();
        let endpoints = self.region(id).map(|it| &*it.endpoints).unwrap_or_default();
        places.iter().filter_map(|it| endpoints.get(*it))
    }

    /// Whether the endpoints of a region are all of one kind: where one of them may serve a
    /// request, any may.
    pub fn is_of_one_kind(&self, id: RegionId) -> bool {
        self.kinds.get(id.index()).is_some_and(|it| it.places().len() == 1)
    }

    /// The regions with their places.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        ids(&self.regions)
    }

    /// The name of a region; a dash for a place that is not there.
    pub fn name(&self, id: RegionId) -> &str {
        self.region(id).map_or("-", |it| &it.name)
    }
}

fn ids(regions: &[Region]) -> impl Iterator<Item = (RegionId, &Region)> {
    (0..=u8::MAX).map(RegionId).zip(regions)
}

/// Standing first, then distance, then name: an order without ties.
fn ordered(regions: &[Region], distance: impl Fn(RegionId) -> u64) -> Vec<RegionId> {
    let standing = |region: &Region| (region.held.is_some(), !region.verdict.is_preferred());
    let mut order: Vec<_> = ids(regions).collect();
    order.sort_by_key(|(id, region)| (standing(region), distance(*id), Arc::clone(&region.name)));
    order.into_iter().map(|(id, _)| id).collect()
}
