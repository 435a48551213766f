//! What is emptied and why, and what the board tells of it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::board::{Board, Effect, Event};
use crate::drain::{Cause, Drain, Outcomes, Reading, Turn};
use crate::health::ProbeFailure;
use crate::policy::EndpointSource;
use crate::snapshot::Verdict;

use super::scene::{
    Scene, eu, index, listed, millis, one_region, seconds, two_regions, us, wanting_a1,
};

impl Scene {
    /// The ledger says this of an endpoint: what is open, and what was completed.
    fn count(&mut self, counts: &[(SocketAddr, u64, u64)]) -> Vec<Effect> {
        let reading = |(address, open, completed): &(SocketAddr, u64, u64)| {
            let ended = Outcomes { completed: *completed, ..Outcomes::default() };
            (self.id(*address), Reading { open: *open, ended })
        };
        let readings = counts.iter().map(reading).collect();
        self.apply(Event::Counted(readings))
    }

    fn operate(&mut self, region: &str, endpoint: Option<SocketAddr>, out: bool) -> Vec<Effect> {
        let effects = self.apply(Event::Drained { region: region.into(), endpoint, out });
        if !self.board.is_awaiting_count() {
            return effects;
        }
        let counted = self.apply(Event::Counted(Vec::new()));
        [effects, counted].concat()
    }

    /// Every drain as `us 10.0.0.1:8000 operator 3`, the last being what is open.
    fn drains(&self) -> Vec<String> {
        let told = |it: &crate::drain::Flip| {
            let endpoint = it.endpoint.map(|it| format!("{it} ")).unwrap_or_default();
            format!("{} {endpoint}{} {}", it.region, it.drain.cause.word(), it.drain.open)
        };
        self.board.drains().iter().map(told).collect()
    }
}

fn turns(effects: &[Effect]) -> Vec<(String, Turn)> {
    let turn = |effect: &Effect| {
        let Effect::DrainTurned { flip, turn } = effect else { return None };
        let endpoint = flip.endpoint.map(|it| format!(" {it}")).unwrap_or_default();
        Some((format!("{}{endpoint}", flip.region), *turn))
    };
    effects.iter().filter_map(turn).collect()
}

fn told(region: &str, turn: Turn) -> (String, Turn) {
    (region.to_owned(), turn)
}

fn first(effects: &[Effect]) -> Drain {
    let flips = effects.iter().find_map(|effect| {
        let Effect::DrainTurned { flip, .. } = effect else { return None };
        Some(flip.drain)
    });
    flips.expect("a drain has turned")
}

#[test]
fn a_region_is_drained_when_nothing_is_open_at_any_of_its_endpoints() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 2, 5), (us(1), 1, 0), (eu(), 9, 0)]));
    let effects = scene.operate("us", None, true);
    assert_eq!(turns(&effects), [told("us", Turn::Began)]);
    assert_eq!(scene.drains(), ["us operator 3"]);
    let effects = scene.count(&[(us(0), 0, 7)]);
    assert_eq!(turns(&effects), []);
    scene.pass(seconds(5));
    let effects = scene.count(&[(us(1), 0, 1)]);
    assert_eq!(turns(&effects), [told("us", Turn::Drained)]);
    let drain = first(&effects);
    assert_eq!((drain.open_at_start, drain.outcomes.completed, drain.outcomes.total()), (3, 3, 3));
    assert_eq!(turns(&scene.wait(seconds(1))), []);
    assert_eq!(turns(&scene.operate("us", None, false)), [], "it has ended already");
    assert_eq!(scene.drains(), Vec::<String>::new());
}

#[test]
fn an_endpoint_is_drained_alone_and_its_region_serves_on() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 1, 0), (us(1), 1, 0)]));
    drop(scene.operate("us", Some(us(0)), true));
    assert_eq!(scene.drains(), ["us 10.0.0.0:8000 operator 1"]);
    let snapshot = scene.snapshot();
    assert_eq!(snapshot.routable.count(), 2);
    assert!(snapshot.regions[0].endpoints[0].drained && !snapshot.regions[0].drained);
    assert_eq!(turns(&scene.count(&[(us(1), 0, 1)])), []);
    let effects = scene.count(&[(us(0), 0, 1)]);
    assert_eq!(turns(&effects), [told("us 10.0.0.0:8000", Turn::Drained)]);
    // Without its last endpoint a region is out as well, and no loss.
    for place in [1, 2] {
        drop(scene.operate("us", Some(us(place)), true));
    }
    assert_eq!((scene.snapshot().routable.count(), scene.verdict("us")), (1, Verdict::Green));
    assert_eq!(scene.held("us"), None);
    drop(scene.operate("us", Some(us(2)), false));
    assert_eq!(scene.snapshot().routable.count(), 2);
    let nobody = SocketAddr::from(([10, 9, 9, 9], 1));
    assert_eq!(scene.operate("us", Some(nobody), true), []);
}

#[test]
fn the_drain_of_a_region_takes_over_those_of_its_endpoints() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 1, 0), (us(1), 1, 0)]));
    drop(scene.operate("us", Some(us(0)), true));
    let effects = scene.operate("us", None, true);
    let one = "us 10.0.0.0:8000";
    assert_eq!(turns(&effects), [told(one, Turn::Superseded), told("us", Turn::Began)]);
    assert_eq!(scene.drains(), ["us operator 2"]);
    let effects = scene.operate("us", None, false);
    assert_eq!(turns(&effects), [told("us", Turn::Returned), told(one, Turn::Began)]);
    assert_eq!(scene.drains(), ["us 10.0.0.0:8000 operator 1"]);
}

#[test]
fn who_loses_its_traffic_by_its_verdict_is_emptied_too() {
    let mut scene = Scene::green(wanting_a1(two_regions()));
    drop(scene.count(&[(us(0), 2, 0), (us(1), 1, 0)]));
    scene.twice(us(0), &Ok(index("b2")));
    let effects = scene.count(&[]);
    assert_eq!(turns(&effects), [told("us 10.0.0.0:8000", Turn::Began)]);
    assert_eq!(scene.drains(), ["us 10.0.0.0:8000 mismatch 2"]);
    for place in [1, 2] {
        scene.twice(us(place), &Ok(index("b2")));
    }
    drop(scene.count(&[]));
    assert_eq!(scene.drains(), ["us mismatch 3"]);
    // That it falls silent as well is no other drain.
    for place in [0, 1, 2] {
        scene.twice(us(place), &Err(ProbeFailure::Connect));
    }
    assert_eq!(
        (scene.drains(), scene.verdict("us")),
        (vec!["us mismatch 3".into()], Verdict::Dark)
    );
    for place in [0, 1, 2] {
        scene.twice(us(place), &Ok(index("a1")));
    }
    assert_eq!(scene.drains(), Vec::<String>::new());
}

#[test]
fn who_never_served_has_nothing_to_empty() {
    let mut scene = Scene::new(two_regions());
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    drop(scene.wait(seconds(2)));
    assert_eq!(scene.verdict("eu"), Verdict::Dark);
    assert!(scene.drains().is_empty() && !scene.board.is_awaiting_count());
}

#[test]
fn what_leaves_the_policy_is_seen_until_it_is_empty() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 1, 0), (us(1), 1, 0), (eu(), 2, 0)]));
    let mut less = one_region();
    less.regions[0].endpoints = EndpointSource::Listed(listed(&[us(0)]));
    drop(scene.install(less));
    drop(scene.count(&[]));
    assert_eq!(scene.drains(), ["eu removed 2", "us 10.0.0.1:8000 removed 1"]);
    let effects = scene.count(&[(eu(), 1, 1)]);
    assert_eq!(turns(&effects), []);
    let effects = scene.count(&[(eu(), 0, 2), (us(1), 0, 1)]);
    let ends = [told("eu", Turn::Drained), told("us 10.0.0.1:8000", Turn::Drained)];
    assert_eq!(turns(&effects), ends);
    assert!(scene.drains().is_empty());
    // Somebody else of the same name has nothing to do with it.
    drop(scene.install(two_regions()));
    drop(scene.count(&[]));
    assert!(scene.drains().iter().all(|it| !it.contains("eu")), "{:?}", scene.drains());
}

#[test]
fn an_endpoint_that_leaves_a_region_which_is_drained_leaves_its_count_in_order() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 2, 0), (us(1), 3, 0)]));
    drop(scene.operate("us", None, true));
    drop(scene.list("us", &[us(0)]));
    let effects = scene.count(&[(us(0), 0, 2)]);
    let drain = first(&effects);
    assert_eq!((drain.open_at_start, drain.moved, drain.outcomes.total()), (5, 3, 2));
    assert_eq!(scene.drains(), ["us operator 0", "us 10.0.0.1:8000 removed 3"]);
}

#[test]
fn a_process_that_leaves_empties_every_region_and_routes_on() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 1, 0), (eu(), 1, 0)]));
    drop(scene.operate("eu", None, true));
    let effects = scene.apply(Event::Leaving(Some(Cause::Stop)));
    assert_eq!(turns(&effects), [told("eu", Turn::Superseded)]);
    let effects = scene.count(&[]);
    assert_eq!(turns(&effects), [told("us", Turn::Began), told("eu", Turn::Began)]);
    assert_eq!(scene.drains(), ["us stop 1", "eu stop 1"]);
    assert_eq!(scene.snapshot().routable.count(), 1);
    // What is served meanwhile has joined, and was no part of what was there.
    let effects = scene.count(&[(us(0), 0, 4)]);
    let drain = first(&effects);
    assert_eq!((drain.open_at_start, drain.joined, drain.outcomes.total()), (1, 3, 4));
    drop(scene.apply(Event::Leaving(None)));
    drop(scene.count(&[]));
    assert_eq!(scene.drains(), ["eu operator 1"]);
}

#[test]
fn nothing_is_closed_unless_the_policy_says_so() {
    let closed = |deadline| {
        let mut policy = two_regions();
        policy.drain.overdue_after = seconds(2);
        policy.drain.hard_deadline = deadline;
        let mut scene = Scene::green(policy);
        drop(scene.count(&[(us(0), 1, 0), (us(2), 2, 0)]));
        drop(scene.operate("us", None, true));
        let effects = scene.wait(seconds(100));
        let overdue = turns(&effects).iter().filter(|(_, it)| *it == Turn::Overdue).count();
        assert_eq!(overdue, 1);
        let closes = effects.into_iter().filter_map(|it| {
            let Effect::Close(endpoints) = it else { return None };
            Some(endpoints)
        });
        (closes.collect::<Vec<_>>(), vec![scene.id(us(0)), scene.id(us(2))])
    };
    assert_eq!(closed(None).0, Vec::<Vec<_>>::new());
    let (told, open) = closed(Some(millis(5_000)));
    assert_eq!(told, [open], "once, and nobody who has nothing open");
}

#[test]
fn an_heir_goes_on_with_the_drain_of_a_region_that_is_lost() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(eu(), 1, 0)]));
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    drop(scene.count(&[]));
    let memory = scene.board.memory();
    let (heir, effects) = Board::remembering(scene.now, Arc::new(two_regions()), memory);
    assert_eq!(turns(&effects), [told("eu", Turn::Drained)]);
    assert_eq!(heir.drains().remove(0).drain.cause, Cause::Dark);
}

#[test]
fn an_heir_goes_on_with_a_drain_and_leaves_what_is_open_behind() {
    let mut scene = Scene::green(two_regions());
    drop(scene.count(&[(us(0), 3, 5)]));
    drop(scene.operate("us", None, true));
    scene.pass(seconds(2));
    drop(scene.count(&[(us(0), 2, 6)]));
    let before = scene.board.drains().remove(0).drain;
    scene.pass(seconds(1));
    let memory = scene.board.memory();
    let (heir, effects) = Board::remembering(scene.now, Arc::new(two_regions()), memory);
    assert_eq!(turns(&effects), [told("us", Turn::Drained)]);
    let drain = heir.drains().remove(0).drain;
    assert_eq!((drain.cause, drain.since), (Cause::Operator, before.since));
    assert_eq!((drain.open_at_start, drain.open, drain.moved), (3, 0, 2));
    assert_eq!((drain.outcomes, before.open), (before.outcomes, 2));
    assert_eq!(drain.open_at_start + drain.joined, drain.outcomes.total() + drain.moved);
}
