//! Another board goes on from what one remembers, under the same policy or another.

use std::sync::Arc;

use super::scene::{
    Scene, eu, expecting, index, listed, millis, seconds, two_regions, us, wanting_a1,
};
use crate::board::Board;
use crate::board::Event;
use crate::contract::{Accepts, INDEX_HASH, Weight};
use crate::policy::{EndpointSource, Failback, Policy};
use crate::snapshot::{Held, Snapshot, Verdict};

/// What the heir of a scene believes at once, under this policy.
fn heir(scene: &Scene, policy: Policy) -> Snapshot {
    let memory = scene.board.memory();
    let (mut board, _) = Board::remembering(scene.now, Arc::new(policy), memory);
    board.snapshot()
}

fn verdicts(snapshot: &Snapshot) -> Vec<(&str, Verdict)> {
    snapshot.regions.iter().map(|it| (&*it.name, it.verdict)).collect()
}

#[test]
fn an_heir_knows_who_is_mismatched_drained_and_held_back() {
    let mut policy = wanting_a1(two_regions());
    policy.failback.mode = Failback::Manual;
    let mut scene = Scene::green(policy.clone());
    for place in 0..3 {
        scene.twice(us(place), &Ok(index("b2")));
    }
    drop(scene.apply(Event::Drained { region: "eu".into(), endpoint: None, out: true }));
    let snapshot = heir(&scene, policy.clone());
    assert_eq!(verdicts(&snapshot), [("us", Verdict::Mismatched), ("eu", Verdict::Green)]);
    assert!(snapshot.regions[1].drained && snapshot.routable.is_empty());
    assert_eq!(snapshot.regions[0].endpoints[0].mismatches.len(), 1);
    for place in 0..3 {
        scene.twice(us(place), &Ok(index("a1")));
    }
    let snapshot = heir(&scene, policy);
    assert_eq!(snapshot.regions[0].held, Some(Held::Manual));
    assert_eq!(snapshot.regions[0].since, scene.region("us").since);
}

#[test]
fn what_an_heir_took_over_grows_stale_by_its_age() {
    let policy = two_regions();
    let stale_after = policy.probing.stale_after;
    let mut scene = Scene::green(policy.clone());
    scene.pass(stale_after.saturating_sub(millis(1)));
    assert_eq!(heir(&scene, policy.clone()).regions[1].verdict, Verdict::Green);
    scene.pass(millis(1));
    let snapshot = heir(&scene, policy);
    assert_eq!(verdicts(&snapshot), [("us", Verdict::Unknown), ("eu", Verdict::Unknown)]);
}

#[test]
fn an_heir_finds_regions_and_endpoints_by_name_and_not_by_place() {
    let scene = Scene::green(two_regions());
    let mut policy = two_regions();
    policy.regions.reverse();
    policy.regions[1].endpoints = EndpointSource::Listed(listed(&[us(7), us(2)]));
    let snapshot = heir(&scene, policy);
    assert_eq!(verdicts(&snapshot), [("eu", Verdict::Green), ("us", Verdict::Green)]);
    let us = snapshot.regions[1].endpoints.iter().map(|it| it.verdict);
    assert_eq!(us.collect::<Vec<_>>(), [Verdict::Unknown, Verdict::Green]);
}

#[test]
fn an_heir_compares_what_was_reported_with_its_own_contract() {
    let scene = Scene::green(two_regions());
    let b2 = Accepts::Exactly("b2".into());
    let policy = expecting(two_regions(), INDEX_HASH, b2, Weight::Veto);
    let snapshot = heir(&scene, policy);
    let mismatches = &snapshot.regions[1].endpoints[0].mismatches;
    assert_eq!(mismatches.len(), 1);
    assert_eq!(mismatches[0].found.to_string(), "a1");
}

#[test]
fn an_heir_keeps_the_endpoints_of_a_list_that_it_has_not_read_yet() {
    let mut policy = two_regions();
    policy.regions[1].endpoints =
        EndpointSource::File { path: "eu.endpoints".into(), every: seconds(5) };
    let mut scene = Scene::green(policy.clone());
    drop(scene.list("eu", &[eu()]));
    scene.twice(eu(), &Ok(index("a1")));
    assert_eq!(heir(&scene, policy).regions[1].verdict, Verdict::Green);
}
