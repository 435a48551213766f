//! Policies and asks from dice.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Moment;
use tidegate_core::ask::{Ask, Demand, Intent, Pin, Session};
use tidegate_core::contract::{
    Accepts, Contract, Expectation, INDEX_HASH, Key, SCHEMA_REV, Source, Weight,
};
use tidegate_core::fence::retention::Retention;
use tidegate_core::id::{Name, RegionId, RegionSet};
use tidegate_core::policy::fencing::{FenceRules, FenceStore};
use tidegate_core::policy::{
    EndpointAddress, EndpointSource, Failback, OnDrain, PinRule, Policy, Probing, RegionPolicy,
    Require, Route, Strategy,
};

use crate::{sample, streams};

pub(crate) const NAMES: [&str; 5] = ["us", "eu", "ap", "sa", "af"];
/// A key of the policy's own; it stands at one place or at another.
pub(crate) const METRIC: &str = "metric";
const ANALYZER: &str = "analyzer";

/// One of these.
pub(crate) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from.get(rng.usize(..from.len())).cloned().expect("a place inside")
}

/// Whether something that happens once in so many times happens now.
pub(crate) fn once_in(rng: &mut Rng, times: u32) -> bool {
    rng.u32(..times) == 0
}

pub(crate) fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..=to))
}

/// A policy for a world that begins at `now`.
pub(crate) fn policy(rng: &mut Rng, now: Moment) -> Policy {
    let count = rng.usize(2..=NAMES.len());
    let named = NAMES.iter().take(count);
    let regions: Vec<_> = named.map(|name| (*name, pick(rng, &[0, 10, 10, 20, 30]))).collect();
    let mut policy = sample::policy(&regions);
    for (place, region) in (0..).zip(&mut policy.regions) {
        change_region(rng, place, region);
    }
    numbers(rng, &mut policy);
    policy.contract = contract(rng, now);
    policy.sticky.on_drain = pick(rng, &[OnDrain::Move, OnDrain::Stay]);
    if once_in(rng, 4) {
        policy.releases.split = ["r1", "r2"].map(|it| (Name::from(it), rng.u32(1..4))).to_vec();
    }
    let plain = policy.routes.first().cloned().expect("the sample has a route");
    let routes = [
        Route { strategy: Strategy::Measured, ..plain.clone() },
        Route { require: Require::Answer, ..plain.clone() },
        Route { residency: some_regions(rng), pin: PinRule::Require, ..plain },
    ];
    policy.routes.extend(routes);
    policy
}

/// The numbers by which a policy judges: small, so that much happens in little time.
pub(crate) fn numbers(rng: &mut Rng, policy: &mut Policy) {
    let interval = millis(rng, 200, 600);
    policy.probing = Probing {
        interval,
        rise: rng.u32(1..=3),
        fall: rng.u32(1..=3),
        stale_after: interval * rng.u32(2..=4) + millis(rng, 0, 500),
        shadow: once_in(rng, 10),
        mixed_allowed: once_in(rng, 6),
        ..policy.probing.clone()
    };
    let failback = &mut policy.failback;
    let after = Failback::After(millis(rng, 0, 1500));
    failback.mode = if once_in(rng, 4) { Failback::Manual } else { after };
    failback.hysteresis = millis(rng, 0, 1500);
    failback.flips = rng.u32(2..=4);
    failback.within = millis(rng, 2000, 8000);
    failback.freeze = millis(rng, 500, 3000);
    let ejection = &mut policy.ejection;
    ejection.enabled = !once_in(rng, 5);
    ejection.connect_failures = rng.u32(2..=5);
    ejection.window = millis(rng, 500, 3000);
    ejection.volume_min = rng.u32(3..=20);
    ejection.budget_percent = rng.u8(20..=70);
    ejection.base = millis(rng, 250, 1000);
    ejection.max = ejection.base + millis(rng, 0, 1500);
    policy.drain = streams::rules(rng);
    policy.fence = (!once_in(rng, 6)).then(|| FenceRules {
        store: FenceStore::Embedded { path: "fence.db".into() },
        failover_window: millis(rng, 0, 3000),
        retention: Retention::LONGEST,
        quarantine: Duration::ZERO,
        quota: None,
        local: None,
    });
    policy.measuring.hold = millis(rng, 0, 1000);
    policy.measuring.stale_after = millis(rng, 1000, 4000);
}

fn change_region(rng: &mut Rng, place: u8, region: &mut RegionPolicy) {
    region.endpoints = if once_in(rng, 5) {
        EndpointSource::File { path: "endpoints".into(), every: Duration::from_secs(1) }
    } else {
        EndpointSource::Listed(endpoints(rng, place))
    };
    region.slow_start = if rng.bool() { Duration::ZERO } else { millis(rng, 100, 1000) };
    region.green_share_percent = pick(rng, &[0, 34, 50, 50, 67, 100]);
}

/// Some endpoints of a region: one to four, and not always the same ones.
pub(crate) fn endpoints(rng: &mut Rng, region: u8) -> Vec<EndpointAddress> {
    let count = rng.usize(1..=4);
    let mut places = [0, 1, 2, 3, 4];
    rng.shuffle(&mut places);
    let places = places.into_iter().take(count);
    let listed = places.map(|place| sample::address(region, place));
    listed.map(|address| EndpointAddress { address, weight: rng.u16(1..=3) }).collect()
}

/// What a policy demands: the index, often; the schema, sometimes; and keys of its own.
pub(crate) fn contract(rng: &mut Rng, now: Moment) -> Contract {
    let mut contract = Contract::default();
    let weight = |rng: &mut Rng| pick(rng, &[Weight::Veto, Weight::Veto, Weight::Degrade]);
    let index = match rng.u8(..5) {
        0 => None,
        1 => Some(Accepts::Agreed),
        2 => {
            let until = now.plus(millis(rng, 0, 6000));
            Some(Accepts::Either { new: "b2".into(), old: "a1".into(), until })
        }
        _ => Some(Accepts::Exactly(pick(rng, &["a1", "b2"]).into())),
    };
    let schema = once_in(rng, 3).then(|| Accepts::Exactly(pick(rng, &["s1", "s2"]).into()));
    for (key, accepts) in [(INDEX_HASH, index), (SCHEMA_REV, schema)] {
        let expect = accepts.map(|accepts| Expectation { accepts, weight: weight(rng) });
        if let Some(key) = contract.keys.get_mut(key.index()) {
            key.expect = expect;
        }
    }
    let mut own = vec![METRIC, ANALYZER];
    rng.shuffle(&mut own);
    own.truncate(rng.usize(..=2));
    contract.keys.extend(own.into_iter().map(|name| Key {
        name: name.into(),
        source: Source::Header(name.into()),
        expect: (name == METRIC).then(|| Expectation {
            accepts: pick(rng, &[Accepts::Agreed, Accepts::Exactly("cosine".into())]),
            weight: pick(rng, &[Weight::Veto, Weight::Degrade, Weight::Observe]),
        }),
    }));
    contract
}

/// An ask that demands nothing of anybody.
pub(crate) fn plain(route: usize) -> Ask<'static> {
    Ask {
        route,
        intent: Intent::Read,
        pin: None,
        session: None,
        demand: Demand::default(),
        client_hash: 0,
        full: RegionSet::EMPTY,
        tried: RegionSet::EMPTY,
        belongs: None,
    }
}

pub(crate) fn ask(rng: &mut Rng, routes: usize) -> Ask<'static> {
    let mut ask = Ask { client_hash: rng.u64(..), ..plain(rng.usize(..routes)) };
    if once_in(rng, 4) {
        let region = pick(rng, &["us", "eu", "ap", "mars"]);
        ask.pin = Some(Pin { region, strict: once_in(rng, 3) });
    }
    if once_in(rng, 4) {
        let region = pick(rng, &["us", "eu", "ap", "mars"]);
        ask.session = Some(Session { region, release: pick(rng, &[None, Some("r1"), Some("r2")]) });
    }
    if once_in(rng, 3) {
        ask.demand.index_hash = Some(pick(rng, &["a1", "b2", "zz"]));
    }
    if once_in(rng, 8) {
        ask.demand.schema_rev = Some(pick(rng, &["s1", "s2"]));
    }
    if once_in(rng, 8) {
        ask.demand.release = Some(pick(rng, &["r1", "r2", "r9"]));
    }
    if once_in(rng, 5) {
        ask.full = some_regions(rng);
    }
    if once_in(rng, 5) {
        ask.tried = some_regions(rng);
    }
    ask
}

fn some_regions(rng: &mut Rng) -> RegionSet {
    (0..5).map(RegionId).filter(|_| rng.bool()).collect()
}
