//! Worlds and asks from dice: mostly what a board could believe, and sometimes what none would.

use std::sync::Arc;

use fastrand::Rng;
use tidegate_core::Moment;
use tidegate_core::ask::{Ask, Belonging, Demand, Intent, Pin, Session};
use tidegate_core::contract::{
    Accepts, Contract, Expectation, Found, INDEX_HASH, MODEL_TAG, Mismatch, Report, SCHEMA_REV,
    Value, Weight,
};
use tidegate_core::id::{
    EndpointId, Epoch, Generation, KeyId, KeySet, Name, PartitionId, RegionId, RegionSet,
};
use tidegate_core::ownership::Standing;
use tidegate_core::policy::owning::{Crossing, PartitionSource, RouteOwnership};
use tidegate_core::policy::{OnDrain, PinRule, Policy, Require, Route, Strategy};
use tidegate_core::snapshot::{Endpoint, Held, Owner, Region, Snapshot, Verdict};

use crate::sample;

const NAMES: [&str; 6] = ["us", "eu", "ap", "sa", "af", "me"];
const NOW: Moment = Moment(1_000);

pub(crate) fn snapshot(rng: &mut Rng) -> Snapshot {
    let count = rng.usize(1..=NAMES.len());
    let distances = [0, 10, 10, 20, 30];
    let named = NAMES.iter().take(count);
    let regions: Vec<_> = named.map(|it| (*it, pick(rng, &distances))).collect();
    let mut policy = sample::policy(&regions);
    policy.contract = contract(rng);
    policy.probing.mixed_allowed = rng.u8(..10) == 0;
    policy.probing.shadow = rng.u8(..10) == 0;
    policy.sticky.on_drain = pick(rng, &[OnDrain::Move, OnDrain::Stay]);
    if rng.u8(..3) == 0 {
        let splits = ["r1", "r2", "r9"].map(|name| (Name::from(name), rng.u32(..3)));
        policy.releases.split = splits.to_vec();
    }
    for _ in 0..2 {
        let plain = policy.routes.first().cloned().expect("the sample has a route");
        policy.routes.push(route(rng, plain));
    }
    let places = (0..=u8::MAX).zip(&policy.regions);
    let regions = places.map(|(place, it)| region(rng, (place, &it.name), &policy)).collect();
    let mut snapshot = Snapshot::new(Generation(1), Arc::new(policy), regions);
    snapshot.owners = (0..3).map(|place| owner(rng, place)).collect();
    snapshot
}

fn owner(rng: &mut Rng, epoch: u64) -> Owner {
    let region = (rng.u8(..8) != 0).then(|| RegionId(rng.u8(..6)));
    let standing = match rng.u8(..8) {
        0 => Standing::Opening,
        1 => Standing::Unknown,
        2 => Standing::Outdated,
        3 => Standing::GoneBack,
        _ => Standing::Open,
    };
    Owner { region, epoch: Epoch(epoch), standing }
}

fn route(rng: &mut Rng, plain: Route) -> Route {
    let residency = if rng.bool() { RegionSet::ALL } else { some_regions(rng) };
    Route {
        require: pick(rng, &[Require::Contract, Require::Contract, Require::Answer]),
        pin: pick(rng, &[PinRule::Soft, PinRule::Soft, PinRule::Require, PinRule::Ignore]),
        strategy: pick(rng, &[Strategy::Nearest, Strategy::Measured]),
        residency,
        owned: Some(RouteOwnership { source: PartitionSource::Only, crossing: crossing(rng) }),
        ..plain
    }
}

fn crossing(rng: &mut Rng) -> Option<Crossing> {
    let index_hash = Some(pick(rng, &["a1", "b2"]).into());
    rng.bool().then(|| Crossing { index_hash, ..Crossing::default() })
}

fn contract(rng: &mut Rng) -> Contract {
    let mut contract = Contract::default();
    for (key, values) in [(INDEX_HASH, ["a1", "b2"]), (SCHEMA_REV, ["s1", "s2"])] {
        let value = Value::from(pick(rng, &values));
        let accepts = match rng.u8(..4) {
            0 => Accepts::Exactly(value),
            1 => Accepts::Agreed,
            2 => {
                let until = Moment(rng.u64(NOW.0 - 1..=NOW.0 + 1));
                Accepts::Either { new: value, old: pick(rng, &values).into(), until }
            }
            _ => continue,
        };
        let weight = pick(rng, &[Weight::Veto, Weight::Veto, Weight::Degrade, Weight::Observe]);
        if let Some(key) = contract.keys.get_mut(key.index()) {
            key.expect = Some(Expectation { accepts, weight });
        }
    }
    contract
}

fn region(rng: &mut Rng, (place, name): (u8, &Name), policy: &Policy) -> Region {
    let count = if rng.u8(..20) == 0 { 0 } else { rng.u8(1..=4) };
    let endpoints: Vec<_> = (0..count).map(|it| endpoint(rng, (place, it), policy)).collect();
    let disputed = disputed(&endpoints, policy);
    let verdict = concluded(&endpoints, disputed);
    let is_odd = rng.u8(..8) == 0;
    let held = [Held::Recovering, Held::Manual, Held::Frozen, Held::Ejected];
    Region {
        name: Arc::clone(name),
        verdict: if is_odd { pick(rng, &Verdict::ALL) } else { verdict },
        since: NOW,
        drained: rng.u8(..8) == 0,
        held: (rng.u8(..5) == 0).then(|| pick(rng, &held)),
        measured_us: rng.bool().then(|| pick(rng, &[5_000, 10_000, 10_000, 20_000])),
        disputed,
        endpoints,
    }
}

fn endpoint(rng: &mut Rng, (region, place): (u8, u8), policy: &Policy) -> Endpoint {
    let report = report(rng);
    let mismatches = policy.contract.differences(&report, NOW);
    let vetoing = |it: &&Mismatch| it.expected.weight == Weight::Veto;
    let vetoes: KeySet = mismatches.iter().filter(vetoing).map(|it| it.key).collect();
    let probed = match (vetoes.is_empty(), mismatches.is_empty()) {
        (false, _) => Verdict::Mismatched,
        (true, false) => Verdict::Degraded,
        (true, true) => Verdict::Green,
    };
    // Rise and fall let a verdict lag behind the last probe.
    let verdict = if rng.u8(..4) == 0 { pick(rng, &Verdict::ALL) } else { probed };
    let is_silent = matches!(verdict, Verdict::Unknown | Verdict::Dark) && rng.bool();
    Endpoint {
        id: EndpointId(u32::from(region) * 100 + u32::from(place)),
        address: sample::address(region, place),
        share: 100,
        verdict,
        since: NOW,
        ejected: rng.u8(..6) == 0,
        drained: rng.u8(..6) == 0,
        report: (!is_silent).then(|| Arc::new(report)),
        mismatches: mismatches.into(),
        vetoes,
        failure: None,
    }
}

fn report(rng: &mut Rng) -> Report {
    let mut found = vec![Found::Missing; rng.usize(2..=4)];
    let values = [(SCHEMA_REV, ["s1", "s2"]), (INDEX_HASH, ["a1", "b2"]), (MODEL_TAG, ["m1", "7"])];
    for (key, values) in values {
        let value = pick(rng, &values);
        let value = value.parse().map_or_else(|_| Value::from(value), Value::Integer);
        let said = match rng.u8(..12) {
            0 => Found::Missing,
            1 => Found::WrongType("array"),
            _ => Found::Value(value),
        };
        if let Some(found) = found.get_mut(key.index()) {
            *found = said;
        }
    }
    let release_id = pick(rng, &[Some("r1"), Some("r1"), Some("r2"), None]).map(Name::from);
    Report { found, release_id, ..Report::default() }
}

fn disputed(endpoints: &[Endpoint], policy: &Policy) -> KeySet {
    let is_disputed = |key: &KeyId| {
        let reports = endpoints.iter().filter(|it| it.verdict.is_routable());
        let found = reports.filter_map(|it| it.report.as_ref()).map(|it| it.found(*key));
        let values: Vec<_> = found.filter(|it| matches!(it, Found::Value(_))).collect();
        values.iter().any(|it| Some(it) != values.first())
    };
    policy.contract.agreed().filter(is_disputed).collect()
}

fn concluded(endpoints: &[Endpoint], disputed: KeySet) -> Verdict {
    let count =
        |test: &dyn Fn(Verdict) -> bool| endpoints.iter().filter(|it| test(it.verdict)).count();
    let routable = count(&Verdict::is_routable);
    if routable == 0 || routable * 2 < endpoints.len() {
        let all = [Verdict::Mismatched, Verdict::Unknown];
        let worst = all.into_iter().find(|verdict| count(&|it| it == *verdict) > 0);
        return worst.unwrap_or(Verdict::Dark);
    }
    match (disputed.is_empty(), count(&|it| it == Verdict::Green)) {
        (false, _) => Verdict::Mixed,
        (true, 0) => Verdict::Degraded,
        (true, _) => Verdict::Green,
    }
}

pub(crate) fn ask(rng: &mut Rng, snapshot: &Snapshot) -> Ask<'static> {
    let wish =
        |rng: &mut Rng, values: &[&'static str]| (rng.u8(..6) == 0).then(|| pick(rng, values));
    let pin = wish(rng, &["us", "us", "eu", "eu", "ap", "mars", "US"]);
    let pin = pin.map(|region| Pin { region, strict: rng.u8(..3) == 0 });
    let was_there = rng.u8(..3) == 0;
    let session = was_there.then(|| Session {
        region: pick(rng, &["us", "eu", "ap", "mars"]),
        release: pick(rng, &[None, Some("r1"), Some("r2"), Some("r9")]),
    });
    let demand = if rng.bool() {
        Demand::default()
    } else {
        Demand {
            schema_rev: wish(rng, &["s1", "s2"]),
            index_hash: wish(rng, &["a1", "b2", "b2", "zz"]),
            model_tag: wish(rng, &["m1", "7", "07"]),
            release: wish(rng, &["r1", "r2", "r9"]),
        }
    };
    let rarely = |rng: &mut Rng| {
        if rng.u8(..4) == 0 { some_regions(rng) } else { RegionSet::EMPTY }
    };
    Ask {
        route: rng.usize(..snapshot.policy.routes.len()),
        intent: pick(rng, &[Intent::Read, Intent::Write]),
        pin,
        session,
        demand,
        client_hash: rng.u64(..),
        full: rarely(rng),
        tried: rarely(rng),
        belongs: (rng.u8(..4) == 0).then(|| Belonging {
            partition: PartitionId(rng.u16(..4)),
            is_leased: rng.u8(..4) != 0,
        }),
    }
}

fn some_regions(rng: &mut Rng) -> RegionSet {
    (0..8).map(RegionId).filter(|_| rng.bool()).collect()
}

/// One of these.
fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from.get(rng.usize(..from.len())).cloned().expect("a place inside")
}
