//! What a new policy and a new list of endpoints keep, and what they change.

use std::time::Duration;

use crate::board::Event;
use crate::contract::{
    Accepts, Expectation, Found, INDEX_HASH, Key, Report, SCHEMA_REV, Source, Weight,
};
use crate::health::ProbeFailure;
use crate::id::ENDPOINTS_PER_REGION_MAX;
use crate::policy::{EndpointSource, Policy};
use crate::sample;
use crate::snapshot::Verdict;

use super::scene::{
    Scene, endpoint_turns, eu, expecting, index, listed, one_region, probed, region_turns, seconds,
    timeless, two_regions, us, wanting_a1,
};

#[test]
fn a_policy_asks_for_probes_of_its_endpoints_and_no_others() {
    let (mut scene, policy) = (Scene::new(one_region()), two_regions());
    let effects = scene.install(policy);
    assert_eq!(probed(&effects), Some(vec![us(0), us(1), us(2), eu()]));
    assert_eq!(probed(&scene.install(one_region())), Some(vec![us(0)]));
}

#[test]
fn the_same_policy_again_changes_nothing_that_is_known() {
    let mut scene = Scene::green(two_regions());
    drop(scene.apply(Event::Drained { region: "eu".into(), endpoint: None, out: true }));
    let before = timeless(scene.snapshot());
    let effects = scene.install(two_regions());
    assert_eq!(effects.len(), 1);
    assert_eq!(timeless(scene.snapshot()), before);
}

#[test]
fn endpoints_that_stay_keep_their_verdict_and_new_ones_are_unknown() {
    let mut policy = two_regions();
    policy.regions[0].endpoints = EndpointSource::Listed(listed(&[us(0), us(1)]));
    let mut scene = Scene::green(policy);
    let kept = scene.endpoint(us(1));
    let mut policy = two_regions();
    policy.regions[0].endpoints = EndpointSource::Listed(listed(&[us(2), us(1)]));
    drop(scene.install(policy));
    let region = scene.region("us");
    let verdicts: Vec<_> = region.endpoints.iter().map(|it| (it.address, it.verdict)).collect();
    assert_eq!(verdicts, [(us(2), Verdict::Unknown), (us(1), Verdict::Green)]);
    assert_eq!(region.endpoints[1], kept);
    assert_eq!(region.verdict, Verdict::Green);
}

#[test]
fn an_endpoint_that_comes_back_is_a_new_one() {
    let mut scene = Scene::green(two_regions());
    let before = scene.id(us(2));
    drop(scene.list("us", &[us(0), us(1)]));
    drop(scene.list("us", &[us(0), us(1), us(2)]));
    let endpoint = scene.endpoint(us(2));
    assert_eq!(endpoint.verdict, Verdict::Unknown);
    assert!(before < endpoint.id);
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn removed_regions_vanish_and_come_back_as_unknown() {
    let mut scene = Scene::green(two_regions());
    drop(scene.apply(Event::Drained { region: "eu".into(), endpoint: None, out: true }));
    let mut without = two_regions();
    without.regions.truncate(1);
    let effects = scene.install(without);
    assert_eq!(region_turns(&effects), []);
    let snapshot = scene.snapshot();
    assert_eq!(snapshot.regions.len(), 1);
    assert_eq!((snapshot.nearest.len(), snapshot.measured.len()), (1, 1));
    drop(scene.install(two_regions()));
    let region = scene.region("eu");
    assert_eq!((region.verdict, region.drained), (Verdict::Unknown, false));
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn regions_may_change_places() {
    let mut scene = Scene::green(sample::policy(&[("us", 0), ("eu", 80), ("ap", 90)]));
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    let mut policy = sample::policy(&[("us", 0), ("eu", 80), ("ap", 90)]);
    policy.regions.rotate_left(1);
    drop(scene.install(policy));
    let snapshot = scene.snapshot();
    let told: Vec<_> = snapshot.regions.iter().map(|it| (&*it.name, it.verdict)).collect();
    assert_eq!(told, [("eu", Verdict::Dark), ("ap", Verdict::Green), ("us", Verdict::Green)]);
    // Probes find their endpoints at the new places.
    scene.twice(eu(), &Ok(index("a1")));
    assert_eq!(scene.verdict("eu"), Verdict::Green);
}

#[test]
fn a_late_probe_of_a_removed_endpoint_changes_nothing() {
    let mut scene = Scene::green(two_regions());
    let endpoint = scene.id(eu());
    drop(scene.install(one_region()));
    let late = Event::Probed { endpoint, took: Duration::ZERO, outcome: Ok(index("zz")) };
    assert!(!scene.changes(late));
    let late = Event::Observed { endpoint, tally: crate::ejection::Tally::default() };
    assert!(!scene.changes(late));
}

#[test]
fn a_new_contract_shows_its_differences_at_once_and_waits_for_probes_to_act() {
    let mut policy = one_region();
    policy.probing.fall = 1;
    let mut scene = Scene::green(policy.clone());
    let accepts = Accepts::Exactly("b2".into());
    let effects = scene.install(expecting(policy, INDEX_HASH, accepts, Weight::Veto));
    assert_eq!(endpoint_turns(&effects), []);
    let endpoint = scene.endpoint(us(0));
    assert_eq!(endpoint.verdict, Verdict::Green);
    assert!(endpoint.vetoes.contains(INDEX_HASH));
    let effects = scene.probe(us(0), Ok(index("a1")));
    assert_eq!(endpoint_turns(&effects), [(Verdict::Green, Verdict::Mismatched)]);
}

fn with_keys(names: &[&str]) -> Policy {
    let mut policy = two_regions();
    policy.probing.rise = 1;
    policy.contract.keys.extend(names.iter().map(|name| Key {
        name: (*name).into(),
        source: Source::Pointer(format!("/{name}").into()),
        expect: Some(Expectation { accepts: Accepts::Agreed, weight: Weight::Veto }),
    }));
    policy
}

fn saying(values: &[&str]) -> Report {
    let mut found = vec![Found::Missing; 4];
    found.extend(values.iter().map(|it| Found::Value((*it).into())));
    Report { found, ..Report::default() }
}

/// A report is kept by the places of keys. A reload that moved a key to another place once had the
/// values of one key judged as those of another, and took the region out until the next probes.
#[test]
fn a_report_is_read_by_the_keys_it_was_made_for() {
    let mut policy = with_keys(&["host", "metric"]);
    policy.contract.keys[4].expect = None;
    let mut scene = Scene::new(policy);
    for (place, host) in [(0, "h0"), (1, "h1"), (2, "h2")] {
        drop(scene.probe(us(place), Ok(saying(&[host, "cosine"]))));
    }
    assert_eq!(scene.verdict("us"), Verdict::Green);
    drop(scene.install(with_keys(&["metric"])));
    assert_eq!(scene.verdict("us"), Verdict::Green);
    let endpoint = scene.endpoint(us(1));
    assert!(endpoint.mismatches.is_empty(), "{:?}", endpoint.mismatches);
    assert_eq!(endpoint.report.unwrap().found[4], Found::Value("cosine".into()));
    // What was never read is missing, and so is what is now read from elsewhere.
    let mut policy = with_keys(&["metric", "analyzer"]);
    policy.contract.keys[4].source = Source::Header("x-metric".into());
    drop(scene.install(policy));
    let endpoint = scene.endpoint(us(1));
    let kinds: Vec<_> = endpoint.mismatches.iter().map(|it| (&*it.name, it.kind())).collect();
    assert_eq!(kinds, [("metric", "missing"), ("analyzer", "missing")]);
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn a_file_lists_the_endpoints_of_its_region() {
    let mut policy = two_regions();
    policy.regions[0].endpoints = EndpointSource::File { path: "us".into(), every: seconds(10) };
    let mut scene = Scene::new(policy.clone());
    assert!(scene.region("us").endpoints.is_empty());
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
    assert_eq!(probed(&scene.list("us", &[us(0), us(1)])), Some(vec![us(0), us(1), eu()]));
    scene.probe_all(&[(us(0), "a1"), (us(0), "a1"), (us(1), "a1"), (us(1), "a1")]);
    // A reload keeps what the file said.
    assert_eq!(probed(&scene.install(policy)), Some(vec![us(0), us(1), eu()]));
    assert_eq!(scene.verdict("us"), Verdict::Green);
    drop(scene.list("us", &[us(1), us(2)]));
    let verdicts: Vec<_> = scene.region("us").endpoints.iter().map(|it| it.verdict).collect();
    assert_eq!(verdicts, [Verdict::Green, Verdict::Unknown]);
}

#[test]
fn a_list_that_is_empty_or_known_or_nobodys_changes_nothing() {
    let mut scene = Scene::green(two_regions());
    let list = |region: &str, endpoints| Event::Listed { region: region.into(), endpoints };
    assert!(!scene.changes(list("us", Vec::new())));
    assert!(!scene.changes(list("us", listed(&[us(0), us(1), us(2)]))));
    assert!(!scene.changes(list("mars", listed(&[us(0)]))));
    let mut heavier = listed(&[us(0), us(1), us(2)]);
    heavier[1].weight = 7;
    assert!(scene.changes(list("us", heavier)));
    assert_eq!(scene.endpoint(us(1)).share, 700);
    assert_eq!(scene.endpoint(us(1)).verdict, Verdict::Green);
}

/// A list beyond the limit once never equalled what was kept of it, so that every reading of the
/// file asked for all probes anew.
#[test]
fn a_list_is_cut_at_its_limit_and_then_known() {
    let mut scene = Scene::new(two_regions());
    let addresses: Vec<_> = (0..=u8::MAX).flat_map(|it| (0..5).map(move |at| (it, at))).collect();
    let addresses: Vec<_> = addresses.iter().map(|(a, b)| sample::address(*a, *b)).collect();
    assert!(probed(&scene.list("us", &addresses)).is_some());
    assert_eq!(scene.region("us").endpoints.len(), ENDPOINTS_PER_REGION_MAX);
    assert!(scene.list("us", &addresses).is_empty());
}

#[test]
fn new_rules_count_from_the_next_event() {
    let mut scene = Scene::green(one_region());
    let mut policy = one_region();
    policy.probing.stale_after = seconds(3);
    drop(scene.install(policy));
    assert_eq!(endpoint_turns(&scene.wait(seconds(3))), [(Verdict::Green, Verdict::Unknown)]);
}

#[test]
fn equal_boards_and_equal_events_give_equal_effects() {
    let mut policy = wanting_a1(two_regions());
    policy = expecting(policy, SCHEMA_REV, Accepts::Agreed, Weight::Degrade);
    let (mut one, mut other) = (Scene::new(policy.clone()), Scene::new(policy));
    for place in [0, 1, 2, 0, 1, 2, 0, 0, 2] {
        let report = index(if place == 2 { "b2" } else { "a1" });
        assert_eq!(one.probe(us(place), Ok(report.clone())), other.probe(us(place), Ok(report)));
        assert_eq!(one.wait(seconds(1)), other.wait(seconds(1)));
        assert_eq!(one.snapshot(), other.snapshot());
    }
}
