//! Shares, drains, and what traffic itself shows of endpoints.

use crate::board::{Effect, Event};
use crate::contract::{Accepts, INDEX_HASH, Weight};
use crate::ejection::Tally;
use crate::health::ProbeFailure;
use crate::policy::{EndpointSource, Policy};
use crate::snapshot::{Held, Verdict};

use super::scene::{
    Scene, eu, expecting, index, listed, millis, one_region, seconds, two_regions, us, wanting_a1,
};

fn slowly(mut policy: Policy) -> Policy {
    policy.regions[0].slow_start = seconds(10);
    policy.probing.stale_after = seconds(3600);
    policy
}

#[test]
fn slow_start_raises_a_share_in_steps() {
    let mut policy = slowly(one_region());
    let mut endpoints = listed(&[us(0)]);
    endpoints[0].weight = 3;
    policy.regions[0].endpoints = EndpointSource::Listed(endpoints);
    let mut scene = Scene::green(policy);
    assert_eq!(scene.endpoint(us(0)).share, 30);
    let mut shares = Vec::new();
    for _ in 0..40 {
        scene.pass(millis(250));
        let before = shares.last().copied();
        let is_changed = scene.changes(Event::Tick);
        shares.push(scene.endpoint(us(0)).share);
        assert_eq!(is_changed, before.unwrap_or(30) != shares[shares.len() - 1]);
    }
    assert!(shares.is_sorted());
    shares.dedup();
    assert_eq!(shares, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300]);
}

#[test]
fn an_endpoint_that_was_lost_starts_slowly_again() {
    let mut scene = Scene::green(slowly(one_region()));
    drop(scene.wait(seconds(20)));
    scene.twice(us(0), &Err(ProbeFailure::Timeout));
    drop(scene.wait(seconds(20)));
    scene.twice(us(0), &Ok(index("a1")));
    assert_eq!(scene.endpoint(us(0)).share, 10);
}

/// An endpoint that had long been warm once fell to a tenth of its share because a key that only
/// degrades came into order, or out of it.
#[test]
fn an_endpoint_that_keeps_serving_does_not_start_again() {
    let accepts = Accepts::Exactly("a1".into());
    let mut scene =
        Scene::green(expecting(slowly(one_region()), INDEX_HASH, accepts, Weight::Degrade));
    drop(scene.wait(seconds(20)));
    for (hash, verdict) in [("b2", Verdict::Degraded), ("a1", Verdict::Green)] {
        scene.twice(us(0), &Ok(index(hash)));
        let endpoint = scene.endpoint(us(0));
        assert_eq!((endpoint.verdict, endpoint.share), (verdict, 100));
    }
}

#[test]
fn without_slow_start_a_share_is_full_at_once() {
    let mut scene = Scene::green(one_region());
    assert_eq!(scene.endpoint(us(0)).share, 100);
}

#[test]
fn a_drained_region_is_green_and_gets_nothing() {
    let mut scene = Scene::green(two_regions());
    drop(scene.apply(Event::Drained { region: "us".into(), endpoint: None, out: true }));
    let snapshot = scene.snapshot();
    assert_eq!(snapshot.regions[0].verdict, Verdict::Green);
    assert!(snapshot.regions[0].drained);
    assert_eq!((snapshot.routable.count(), snapshot.answering.count()), (1, 1));
    drop(scene.apply(Event::Drained { region: "us".into(), endpoint: None, out: false }));
    let region = scene.region("us");
    // Taking it out was no loss, so putting it back is no failback.
    assert_eq!((region.drained, region.held), (false, None));
    assert_eq!(scene.snapshot().routable.count(), 2);
}

/// Two regions whose probes stay good for as long as any scene lasts.
fn two_lasting() -> Policy {
    let mut policy = two_regions();
    policy.probing.stale_after = seconds(3600);
    policy
}

fn unconnected(unconnected: u64) -> Tally {
    Tally { unconnected, ..Tally::default() }
}

#[test]
fn connections_that_fail_take_an_endpoint_out() {
    let mut scene = Scene::green(two_regions());
    assert_eq!(scene.observe(us(1), unconnected(2)), []);
    let effects = scene.observe(us(1), unconnected(3));
    assert_eq!(effects, [Effect::Ejected { region: "us".into(), address: us(1) }]);
    let region = scene.region("us");
    assert_eq!((region.verdict, region.held), (Verdict::Green, None));
    assert_eq!(region.endpoints.iter().filter(|it| it.ejected).count(), 1);
}

#[test]
fn a_region_whose_endpoints_are_all_out_is_the_last_resort() {
    let mut scene = Scene::green(two_lasting());
    let effects = scene.observe(eu(), unconnected(3));
    let held = Effect::RegionHeld { region: "eu".into(), held: Some(Held::Ejected) };
    assert_eq!(effects, [Effect::Ejected { region: "eu".into(), address: eu() }, held]);
    drop(scene.wait(seconds(1)));
    drop(scene.probe(eu(), Ok(index("a1"))));
    let effects = scene.wait(seconds(10));
    let held = Effect::RegionHeld { region: "eu".into(), held: None };
    assert_eq!(effects, [Effect::Returned { region: "eu".into(), address: eu() }, held]);
}

#[test]
fn an_endpoint_returns_after_its_time_with_a_probe_that_vouches() {
    let mut scene = Scene::green(two_lasting());
    drop(scene.observe(us(1), unconnected(3)));
    drop(scene.wait(seconds(9)));
    drop(scene.probe(us(1), Ok(index("a1"))));
    assert!(scene.endpoint(us(1)).ejected);
    let effects = scene.wait(seconds(1));
    assert_eq!(effects, [Effect::Returned { region: "us".into(), address: us(1) }]);
    assert!(!scene.endpoint(us(1)).ejected);
}

#[test]
fn no_probe_since_means_no_return() {
    let mut scene = Scene::green(two_lasting());
    scene.pass(seconds(1));
    drop(scene.observe(us(1), unconnected(3)));
    assert_eq!(scene.wait(seconds(60)), []);
    drop(scene.probe(us(1), Err(ProbeFailure::Connect)));
    assert!(scene.endpoint(us(1)).ejected);
    drop(scene.probe(us(1), Ok(index("a1"))));
    assert!(!scene.endpoint(us(1)).ejected);
}

/// A probe that found a mismatch once vouched for the return, as long as the verdict had not fallen.
#[test]
fn a_contract_that_does_not_match_vetoes_the_return() {
    let mut policy = wanting_a1(two_lasting());
    policy.probing.fall = 3;
    let mut scene = Scene::green(policy);
    drop(scene.observe(us(1), unconnected(3)));
    drop(scene.wait(seconds(9)));
    drop(scene.probe(us(1), Ok(index("b2"))));
    drop(scene.probe(us(1), Ok(index("b2"))));
    drop(scene.wait(seconds(1)));
    let endpoint = scene.endpoint(us(1));
    assert_eq!((endpoint.verdict, endpoint.ejected), (Verdict::Green, true));
    drop(scene.probe(us(1), Ok(index("a1"))));
    assert!(!scene.endpoint(us(1)).ejected);
}

/// A probe from before the contract broke once vouched for the return.
#[test]
fn a_contract_that_broke_meanwhile_vetoes_the_return() {
    let mut scene = Scene::green(wanting_a1(two_lasting()));
    drop(scene.observe(us(1), unconnected(3)));
    scene.pass(seconds(1));
    drop(scene.probe(us(1), Ok(index("a1"))));
    scene.pass(seconds(1));
    scene.twice(us(1), &Ok(index("b2")));
    drop(scene.wait(seconds(60)));
    let endpoint = scene.endpoint(us(1));
    assert_eq!((endpoint.verdict, endpoint.ejected), (Verdict::Mismatched, true));
    scene.twice(us(1), &Ok(index("a1")));
    assert!(!scene.endpoint(us(1)).ejected);
}

#[test]
fn probes_measure_a_region() {
    let mut scene = Scene::green(two_regions());
    assert_eq!(scene.region("us").measured_us, Some(20_000));
    let effects = scene.wait(seconds(30));
    assert!(!effects.is_empty());
    assert_eq!(scene.region("us").measured_us, None);
}

#[test]
fn slow_first_bytes_push_a_region_away() {
    let mut scene = Scene::green(two_regions());
    let mut tally = Tally::default();
    let mut answer = |scene: &mut Scene, mean_us: u64| {
        scene.pass(millis(100));
        tally.answered += 10;
        tally.first_byte_us += 10 * mean_us;
        drop(scene.observe(eu(), tally));
    };
    (0..10).for_each(|_| answer(&mut scene, 100_000));
    assert_eq!(scene.region("eu").measured_us, Some(20_000));
    (0..100).for_each(|_| answer(&mut scene, 400_000));
    assert!(scene.region("eu").measured_us > Some(40_000));
}
