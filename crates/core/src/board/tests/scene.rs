//! A board with its clock, and short words for what happens to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Moment;
use crate::board::{Board, Effect, Event};
use crate::contract::{Accepts, Contract, Expectation, Found, INDEX_HASH, Report, Weight};
use crate::ejection::Tally;
use crate::health::ProbeFailure;
use crate::id::{EndpointId, Generation, KeyId};
use crate::policy::{EndpointAddress, EndpointSource, Policy};
use crate::sample;
use crate::snapshot::{Endpoint, Held, Region, Snapshot, Verdict};

/// The step of the clock, as the controller has it.
const TICK: Duration = Duration::from_millis(250);

pub(super) struct Scene {
    pub(super) board: Board,
    pub(super) now: Moment,
    ids: HashMap<SocketAddr, EndpointId>,
}

impl Scene {
    pub(super) fn new(policy: Policy) -> Self {
        let now = Moment(1_000_000);
        let (board, effects) = Board::new(now, Arc::new(policy));
        let mut scene = Self { board, now, ids: HashMap::new() };
        scene.remember(&effects);
        scene
    }

    /// A world whose regions are green.
    pub(super) fn green(policy: Policy) -> Self {
        let mut scene = Self::new(policy);
        let all: Vec<SocketAddr> = scene.ids.keys().copied().collect();
        for address in all {
            scene.twice(address, &Ok(index("a1")));
        }
        scene
    }

    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.board.apply(self.now, event);
        self.remember(&effects);
        effects
    }

    pub(super) fn probe(
        &mut self,
        address: SocketAddr,
        outcome: Result<Report, ProbeFailure>,
    ) -> Vec<Effect> {
        let endpoint = self.id(address);
        self.apply(Event::Probed { endpoint, took: Duration::from_millis(20), outcome })
    }

    /// Two probes with the same outcome: as many as it takes with the plain policy.
    pub(super) fn twice(&mut self, address: SocketAddr, outcome: &Result<Report, ProbeFailure>) {
        for _ in 0..2 {
            drop(self.probe(address, outcome.clone()));
        }
    }

    /// Several endpoints answer with these indexes.
    pub(super) fn probe_all(&mut self, answers: &[(SocketAddr, &str)]) {
        for (address, hash) in answers {
            drop(self.probe(*address, Ok(index(hash))));
        }
    }

    pub(super) fn observe(&mut self, address: SocketAddr, tally: Tally) -> Vec<Effect> {
        let endpoint = self.id(address);
        self.apply(Event::Observed { endpoint, tally })
    }

    pub(super) fn install(&mut self, policy: Policy) -> Vec<Effect> {
        self.apply(Event::Installed(Arc::new(policy)))
    }

    pub(super) fn list(&mut self, region: &str, endpoints: &[SocketAddr]) -> Vec<Effect> {
        self.apply(Event::Listed { region: region.into(), endpoints: listed(endpoints) })
    }

    /// Moves the clock without telling the board.
    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    /// Ticks until so much time has passed.
    pub(super) fn wait(&mut self, duration: Duration) -> Vec<Effect> {
        let end = self.now.plus(duration);
        let mut effects = Vec::new();
        while self.now < end {
            self.now = self.now.plus(TICK).min(end);
            effects.extend(self.apply(Event::Tick));
        }
        effects
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.board.snapshot()
    }

    pub(super) fn region(&mut self, name: &str) -> Region {
        let snapshot = self.snapshot();
        snapshot.regions.into_iter().find(|it| &*it.name == name).expect("a region")
    }

    pub(super) fn endpoint(&mut self, address: SocketAddr) -> Endpoint {
        let regions = self.snapshot().regions.into_iter();
        let mut endpoints = regions.flat_map(|it| it.endpoints);
        endpoints.find(|it| it.address == address).expect("an endpoint")
    }

    pub(super) fn verdict(&mut self, region: &str) -> Verdict {
        self.region(region).verdict
    }

    pub(super) fn held(&mut self, region: &str) -> Option<Held> {
        self.region(region).held
    }

    /// The id that an address has, or had before it was removed.
    pub(super) fn id(&self, address: SocketAddr) -> EndpointId {
        *self.ids.get(&address).expect("a known address")
    }

    /// Whether the board says that something changed, and whether a snapshot agrees.
    pub(super) fn changes(&mut self, event: Event) -> bool {
        let before = timeless(self.snapshot());
        assert!(!self.board.has_changed());
        drop(self.apply(event));
        let said = self.board.has_changed();
        let is_changed = timeless(self.snapshot()) != before;
        assert_eq!(said, is_changed, "what the board says and what it shows");
        said
    }

    fn remember(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Probe(targets) = effect {
                self.ids.extend(targets.iter().map(|it| (it.address, it.endpoint)));
            }
        }
    }
}

/// A snapshot without its number.
pub(super) fn timeless(mut snapshot: Snapshot) -> Snapshot {
    snapshot.generation = Generation(0);
    snapshot
}

/// A region `us` of three endpoints and a farther one `eu` of one.
pub(super) fn two_regions() -> Policy {
    let mut policy = sample::policy(&[("us", 0), ("eu", 80)]);
    policy.regions[0].endpoints = EndpointSource::Listed(listed(&[us(0), us(1), us(2)]));
    policy
}

/// A region `us` of one endpoint.
pub(super) fn one_region() -> Policy {
    sample::policy(&[("us", 0)])
}

pub(super) fn listed(endpoints: &[SocketAddr]) -> Vec<EndpointAddress> {
    endpoints.iter().map(|it| EndpointAddress { address: *it, weight: 1 }).collect()
}

pub(super) fn us(place: u8) -> SocketAddr {
    sample::address(0, place)
}

pub(super) fn eu() -> SocketAddr {
    sample::address(1, 0)
}

/// A report of one index hash.
pub(super) fn index(hash: &str) -> Report {
    let mut found = vec![Found::Missing; 4];
    found[INDEX_HASH.index()] = Found::Value(hash.into());
    Report { found, ..Report::default() }
}

/// The policy, with a demand on a key of its contract.
pub(super) fn expecting(
    mut policy: Policy,
    key: KeyId,
    accepts: Accepts,
    weight: Weight,
) -> Policy {
    expect(&mut policy.contract, key, accepts, weight);
    policy
}

pub(super) fn expect(contract: &mut Contract, key: KeyId, accepts: Accepts, weight: Weight) {
    contract.keys[key.index()].expect = Some(Expectation { accepts, weight });
}

/// The policy, which demands the index `a1`.
pub(super) fn wanting_a1(policy: Policy) -> Policy {
    expecting(policy, INDEX_HASH, Accepts::Exactly("a1".into()), Weight::Veto)
}

/// The verdicts that endpoints got, in order.
pub(super) fn endpoint_turns(effects: &[Effect]) -> Vec<(Verdict, Verdict)> {
    let turn = |effect: &Effect| {
        let Effect::EndpointTurned { from, to, .. } = effect else { return None };
        Some((*from, *to))
    };
    effects.iter().filter_map(turn).collect()
}

/// The verdicts that regions got, in order.
pub(super) fn region_turns(effects: &[Effect]) -> Vec<(Verdict, Verdict)> {
    let turn = |effect: &Effect| {
        let Effect::RegionTurned { from, to, .. } = effect else { return None };
        Some((*from, *to))
    };
    effects.iter().filter_map(turn).collect()
}

/// Whom the effects ask to probe, if they do.
pub(super) fn probed(effects: &[Effect]) -> Option<Vec<SocketAddr>> {
    effects.iter().find_map(|effect| {
        let Effect::Probe(targets) = effect else { return None };
        Some(targets.iter().map(|it| it.address).collect())
    })
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
