//! What one routing decision costs among ten regions of a hundred endpoints each.
//!
//! `cargo bench -p tidegate-core`; the target is a microsecond for a plain read, without allocating.
#![expect(clippy::expect_used, reason = "a broken bench should panic")]

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use tidegate_core::Moment;
use tidegate_core::ask::{Ask, Demand, Intent, Pin, Session};
use tidegate_core::board::{Board, Effect, Event};
use tidegate_core::contract::{
    Accepts, Expectation, Found, INDEX_HASH, Report, SCHEMA_REV, Weight,
};
use tidegate_core::explain::explain;
use tidegate_core::id::RegionSet;
use tidegate_core::policy::{EndpointAddress, EndpointSource, Policy, StickyKey};
use tidegate_core::route::route;
use tidegate_core::snapshot::Snapshot;
use tidegate_core::sticky::Keyring;

#[path = "../tests/sample/mod.rs"]
mod sample;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const REGIONS: [&str; 10] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-north-1",
    "eu-south-1",
    "ap-south-1",
    "ap-east-1",
    "sa-east-1",
];
const ENDPOINTS_PER_REGION: u8 = 100;

/// Every region is green; the farthest runs another release.
static PLAIN: LazyLock<Snapshot> = LazyLock::new(|| snapshot(policy()));

/// The same under a split between the two releases.
static SPLIT: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut policy = policy();
    policy.releases.split = vec![("r1".into(), 95), ("r2".into(), 5)];
    snapshot(policy)
});

fn main() {
    divan::main();
}

fn policy() -> Policy {
    let distances = (0..).step_by(10);
    let regions: Vec<_> = REGIONS.into_iter().zip(distances).collect();
    let mut policy = sample::policy(&regions);
    for (place, region) in (0..).zip(&mut policy.regions) {
        let addresses = (0..ENDPOINTS_PER_REGION).map(|it| sample::address(place, it));
        let listed = addresses.map(|address| EndpointAddress { address, weight: 1 });
        region.endpoints = EndpointSource::Listed(listed.collect());
    }
    for (key, value) in [(INDEX_HASH, "a1"), (SCHEMA_REV, "s1")] {
        let accepts = Accepts::Exactly(value.into());
        let key = policy.contract.keys.get_mut(key.index()).expect("a standard key");
        key.expect = Some(Expectation { accepts, weight: Weight::Veto });
    }
    policy
}

/// The world after enough good probes of everybody.
fn snapshot(policy: Policy) -> Snapshot {
    let now = Moment(1_000);
    let farthest = REGIONS.last().copied();
    let (mut board, effects) = Board::new(now, Arc::new(policy));
    for effect in effects {
        let Effect::Probe(targets) = effect else { continue };
        for target in targets.iter().cycle().take(targets.len() * 2) {
            let release = if Some(&*target.region) == farthest { "r2" } else { "r1" };
            let said = ["s1", "a1", "m1", "k1"].map(|it| Found::Value(it.into()));
            let report = Report {
                found: said.to_vec(),
                release_id: Some(release.into()),
                ..Report::default()
            };
            let (endpoint, took) = (target.endpoint, Duration::from_millis(20));
            drop(board.apply(now, Event::Probed { endpoint, took, outcome: Ok(report) }));
        }
    }
    let snapshot = board.snapshot();
    assert_eq!(snapshot.routable.count(), 10, "every region is green");
    snapshot
}

fn ask() -> Ask<'static> {
    Ask {
        route: 0,
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

fn demanding(demand: Demand<'static>) -> Ask<'static> {
    Ask { demand, ..ask() }
}

fn bench_route(bencher: Bencher<'_, '_>, snapshot: &Snapshot, ask: &Ask<'_>) {
    assert!(route(snapshot, ask).is_ok(), "somebody answers");
    bencher.bench(|| route(black_box(snapshot), black_box(ask)));
}

#[divan::bench]
fn plain_read(bencher: Bencher<'_, '_>) {
    bench_route(bencher, &PLAIN, &ask());
}

#[divan::bench]
fn pinned_to_the_farthest(bencher: Bencher<'_, '_>) {
    let pin = REGIONS.last().map(|region| Pin { region, strict: false });
    bench_route(bencher, &PLAIN, &Ask { pin, ..ask() });
}

#[divan::bench]
fn session_in_the_farthest(bencher: Bencher<'_, '_>) {
    let session = REGIONS.last().map(|region| Session { region, release: Some("r2") });
    bench_route(bencher, &PLAIN, &Ask { session, ..ask() });
}

fn keyring() -> Keyring {
    Keyring::new(&[StickyKey { id: "k1".into(), secret: [7; 32].into() }])
}

#[divan::bench]
fn token_verified(bencher: Bencher<'_, '_>) {
    let (keyring, now) = (keyring(), Moment(1_700_000_000_000));
    let token = keyring.issue(("eu-west-1", Some("r-2025-08-27")), now, Duration::from_mins(15));
    let token = token.expect("a token");
    bencher.bench(|| keyring.verify(black_box(&token), now).map(|it| it.expires_s));
}

#[divan::bench]
fn token_issued(bencher: Bencher<'_, '_>) {
    let (keyring, now) = (keyring(), Moment(1_700_000_000_000));
    let place = ("eu-west-1", Some("r-2025-08-27"));
    bencher.bench(|| keyring.issue(black_box(place), now, Duration::from_mins(15)));
}

#[divan::bench]
fn contract_headers(bencher: Bencher<'_, '_>) {
    let demand = Demand { index_hash: Some("a1"), schema_rev: Some("s1"), ..Demand::default() };
    bench_route(bencher, &PLAIN, &demanding(demand));
}

/// The dearest decision: nine regions of a hundred endpoints are looked through in vain.
#[divan::bench]
fn release_of_the_farthest(bencher: Bencher<'_, '_>) {
    let demand = Demand { release: Some("r2"), ..Demand::default() };
    bench_route(bencher, &PLAIN, &demanding(demand));
}

#[divan::bench]
fn split_of_releases(bencher: Bencher<'_, '_>) {
    bench_route(bencher, &SPLIT, &ask());
}

#[divan::bench]
fn explained(bencher: Bencher<'_, '_>) {
    let (snapshot, ask) = (&*PLAIN, ask());
    bencher.bench(|| explain(black_box(snapshot), black_box(&ask)));
}

/// Not a decision, but what a turning world costs: a thousand endpoints put into a picture.
#[divan::bench]
fn snapshot_of_everything(bencher: Bencher<'_, '_>) {
    let regions = || (PLAIN.policy.clone(), PLAIN.regions.clone());
    let make = |(policy, regions)| Snapshot::new(PLAIN.generation, policy, regions);
    bencher.with_inputs(regions).bench_values(make);
}
