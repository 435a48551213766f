//! The line language of the routing table.
//!
//! A world is written region by region, with `;` between. A region is its name, its verdict, and
//! then any of `drained`, `held`, `held=frozen`, `distance=30`, `measured=20000`, and its endpoints.
//! Regions without a distance stand in the order of the line. An endpoint is what it reports,
//! `index/release/schema/model`, where `-` and what is left out are not reported; `dark:a1` gives it a
//! verdict other than its region's, `a1!` has it ejected and `a1~` drained. A first part that begins with
//! `policy` says what differs from the plain policy: `index=a1` or `index=any`, `schema=s1`,
//! `mixed=allowed`, `shadow`, `split=r1:95,r2:5`, `drained=stay`.
//!
//! A request is `read` or `write` and then `pin=eu;strict`, `session=eu/r1`, `index=`, `schema=`, `model=`,
//! `release=`, `hash=`, `full=us,eu`, `tried=us,eu`; and, about its route, `require=answer`,
//! `pins=require`, `pins=ignore`, `residency=us,eu`, `measured`. `owner=us` says who owns its partition, and
//! then `opening`, `unknown`, `outdated`, `gone-back` or `unleased` how certain that is; `crossing=a1`
//! which index another region has to report.

use std::sync::Arc;

use crate::Moment;
use crate::ask::{Ask, Belonging, Demand, Intent, Pin, Session};
use crate::contract::{
    Accepts, Expectation, Found, INDEX_HASH, MODEL_TAG, Report, SCHEMA_REV, Weight,
};
use crate::id::{EndpointId, Epoch, Generation, KeyId, KeySet, Name, PartitionId, RegionSet};
use crate::ownership::Standing;
use crate::policy::owning::{Crossing, PartitionSource, RouteOwnership};
use crate::policy::{OnDrain, PinRule, Policy, Require, Strategy};
use crate::sample;
use crate::snapshot::{Endpoint, Held, Owner, Region, Snapshot, Verdict};

/// Makes the world and the request that two lines describe.
pub(super) fn with(world: &str, request: &str, test: impl Fn(&Snapshot, &Ask<'_>)) {
    let mut parts = world.split("; ").peekable();
    let about = parts.next_if(|it| it.starts_with("policy ")).unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let mut policy = policy(about, &parts);
    let words: Vec<&str> = request.split(' ').collect();
    change_route(&mut policy, &words);
    let mut numbers = 0..;
    let regions = parts.iter().map(|it| region(it, &policy, &mut numbers)).collect();
    let mut snapshot = Snapshot::new(Generation(1), Arc::new(policy), regions);
    snapshot.owners = owner(&words, &snapshot.policy).into_iter().collect();
    test(&snapshot, &ask(&words, &snapshot.policy));
}

fn policy(about: &str, regions: &[&str]) -> Policy {
    let distances = (0..).step_by(10).zip(regions).map(|(distance, line)| {
        let stated = line.split(' ').find_map(|it| it.strip_prefix("distance="));
        let name = line.split(' ').next().unwrap();
        (name, stated.map_or(distance, |it| it.parse().unwrap()))
    });
    let mut policy = sample::policy(&distances.collect::<Vec<_>>());
    for word in about.split(' ').skip(1) {
        match word.split_once('=') {
            Some(("index", index)) => expect(&mut policy, INDEX_HASH, index),
            Some(("schema", schema)) => expect(&mut policy, SCHEMA_REV, schema),
            Some(("drained", "stay")) => policy.sticky.on_drain = OnDrain::Stay,
            Some(("mixed", "allowed")) => policy.probing.mixed_allowed = true,
            Some(("split", shares)) => {
                let shares = shares.split(',').map(|it| it.split_once(':').unwrap());
                let shares = shares.map(|(name, share)| (name.into(), share.parse().unwrap()));
                policy.releases.split = shares.collect();
            }
            None if word == "shadow" => policy.probing.shadow = true,
            _ => panic!("no such word of a policy: {word}"),
        }
    }
    policy
}

fn expect(policy: &mut Policy, key: KeyId, value: &str) {
    let accepts = if value == "any" { Accepts::Agreed } else { Accepts::Exactly(value.into()) };
    policy.contract.keys[key.index()].expect = Some(Expectation { accepts, weight: Weight::Veto });
}

fn region(line: &str, policy: &Policy, numbers: &mut impl Iterator<Item = u8>) -> Region {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let verdict = words.next().and_then(Verdict::from_word).expect("a verdict");
    let mut region = Region {
        name: name.into(),
        verdict,
        since: Moment(0),
        drained: false,
        held: None,
        measured_us: None,
        disputed: KeySet::EMPTY,
        endpoints: Vec::new(),
    };
    let inherited = if verdict == Verdict::Mixed { Verdict::Green } else { verdict };
    for word in words {
        match word.split_once('=') {
            Some(("distance", _)) => {}
            Some(("held", "frozen")) => region.held = Some(Held::Frozen),
            Some(("measured", time)) => region.measured_us = Some(time.parse().unwrap()),
            Some(_) => panic!("no such word of a region: {word}"),
            None if word == "drained" => region.drained = true,
            None if word == "held" => region.held = Some(Held::Recovering),
            None => {
                let number = numbers.next().unwrap();
                region.endpoints.push(endpoint(word, inherited, (policy, number)));
            }
        }
    }
    if region.endpoints.is_empty() {
        let number = numbers.next().unwrap();
        region.endpoints.push(endpoint("-", inherited, (policy, number)));
    }
    region.disputed = disputed(&region, policy);
    region
}

fn endpoint(word: &str, inherited: Verdict, (policy, number): (&Policy, u8)) -> Endpoint {
    let (verdict, said) = match word.split_once(':') {
        Some((verdict, said)) => (Verdict::from_word(verdict).expect("a verdict"), said),
        None => (inherited, word),
    };
    let (ejected, drained) = (said.ends_with('!'), said.ends_with('~'));
    let mut said =
        said.trim_end_matches(['!', '~']).split('/').map(|it| Some(it).filter(|it| *it != "-"));
    let mut found = vec![Found::Missing; 4];
    let mut say = |key: KeyId, value: Option<Option<&str>>| {
        let value = value.flatten().map(|it| Found::Value(it.into()));
        found[key.index()] = value.unwrap_or(Found::Missing);
    };
    say(INDEX_HASH, said.next());
    let release_id = said.next().flatten().map(Name::from);
    say(SCHEMA_REV, said.next());
    say(MODEL_TAG, said.next());
    let report = Report { found, release_id, ..Report::default() };
    let mismatches = policy.contract.differences(&report, Moment(0));
    Endpoint {
        id: EndpointId(number.into()),
        address: sample::address(number, 0),
        share: 100,
        verdict,
        since: Moment(0),
        ejected,
        drained,
        vetoes: mismatches.iter().map(|it| it.key).collect(),
        mismatches: mismatches.into(),
        report: (word != "-").then(|| Arc::new(report)),
        failure: None,
    }
}

/// The keys on which the endpoints of a mixed region disagree.
fn disputed(region: &Region, policy: &Policy) -> KeySet {
    let differ = |key: &KeyId| {
        let green = region.endpoints.iter().filter(|it| it.verdict == Verdict::Green);
        let found: Vec<_> = green.map(|it| it.report.as_ref().unwrap().found(*key)).collect();
        found.windows(2).any(|pair| pair[0] != pair[1])
    };
    policy.contract.agreed().filter(differ).collect()
}

fn owner(words: &[&str], policy: &Policy) -> Option<Owner> {
    let name = words.iter().find_map(|it| it.strip_prefix("owner="))?;
    let standings = [
        ("opening", Standing::Opening),
        ("unknown", Standing::Unknown),
        ("outdated", Standing::Outdated),
        ("gone-back", Standing::GoneBack),
    ];
    let standing = standings.into_iter().find(|(word, _)| words.contains(word));
    let standing = standing.map_or(Standing::Open, |(_, it)| it);
    Some(Owner { region: policy.region(name), epoch: Epoch(7), standing })
}

fn change_route(policy: &mut Policy, words: &[&str]) {
    let residency = words.iter().find_map(|it| it.strip_prefix("residency="));
    let residency = residency.map(|names| set(names, policy));
    let route = &mut policy.routes[0];
    route.residency = residency.unwrap_or(RegionSet::ALL);
    for word in words {
        match *word {
            "require=answer" => route.require = Require::Answer,
            "pins=require" => route.pin = PinRule::Require,
            "pins=ignore" => route.pin = PinRule::Ignore,
            crossing if crossing.starts_with("crossing=") => {
                let index_hash = crossing.strip_prefix("crossing=").map(Into::into);
                let crossing = Some(Crossing { index_hash, ..Crossing::default() });
                route.owned = Some(RouteOwnership { source: PartitionSource::Only, crossing });
            }
            "measured" => route.strategy = Strategy::Measured,
            _ => {}
        }
    }
}

fn ask<'a>(words: &[&'a str], policy: &Policy) -> Ask<'a> {
    let intent = if words[0] == "read" { Intent::Read } else { Intent::Write };
    let mut ask = Ask {
        route: 0,
        intent,
        pin: None,
        session: None,
        demand: Demand::default(),
        client_hash: 0,
        full: RegionSet::EMPTY,
        tried: RegionSet::EMPTY,
        belongs: None,
    };
    for word in &words[1..] {
        match word.split_once('=').unwrap_or((word, "")) {
            ("pin", text) => ask.pin = Some(Pin::parse(text)),
            ("session", it) => {
                let (region, release) = it.split_once('/').unwrap_or((it, ""));
                let release = Some(release).filter(|it| !it.is_empty());
                ask.session = Some(Session { region, release });
            }
            ("index", it) => ask.demand.index_hash = Some(it),
            ("schema", it) => ask.demand.schema_rev = Some(it),
            ("model", it) => ask.demand.model_tag = Some(it),
            ("release", it) => ask.demand.release = Some(it),
            ("hash", it) => ask.client_hash = it.parse().unwrap(),
            ("full", names) => ask.full = set(names, policy),
            ("tried", names) => ask.tried = set(names, policy),
            ("owner", _) => {
                let is_leased = !words.contains(&"unleased");
                ask.belongs = Some(Belonging { partition: PartitionId(0), is_leased });
            }
            (
                "require" | "pins" | "residency" | "measured" | "crossing" | "opening" | "unknown"
                | "outdated" | "gone-back" | "unleased",
                _,
            ) => {}
            _ => panic!("no such word of a request: {word}"),
        }
    }
    ask
}

fn set(names: &str, policy: &Policy) -> RegionSet {
    names.split(',').map(|name| policy.region(name).expect("a region")).collect()
}
