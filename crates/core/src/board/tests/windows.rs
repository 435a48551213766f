//! What opens the failover window, and when a snapshot shows it.

use std::sync::Arc;
use std::time::Duration;

use crate::board::{Board, Effect, Event};
use crate::drain::{Outcomes, Reading};
use crate::ejection::Tally;
use crate::fence::retention::Retention;
use crate::health::ProbeFailure;
use crate::policy::Policy;
use crate::policy::fencing::{FenceRules, FenceStore};
use crate::window::{Opening, Turn, Window};

use super::scene::{Scene, eu, index, millis, seconds, two_regions, us, wanting_a1};

const LENGTH: Duration = Duration::from_mins(15);

/// The policy with a fence, under which nothing is ever too old.
fn fenced(mut policy: Policy) -> Policy {
    policy.probing.stale_after = Duration::MAX;
    policy.fence = Some(FenceRules {
        store: FenceStore::Embedded { path: "fence.db".into() },
        failover_window: LENGTH,
        retention: Retention::LONGEST,
        quarantine: Duration::from_mins(5),
        quota: None,
        local: None,
    });
    policy
}

fn green() -> Scene {
    Scene::green(fenced(wanting_a1(two_regions())))
}

/// What became of the window: `opened by loss`, `closed`.
fn turns(effects: &[Effect]) -> Vec<String> {
    let turn = |effect: &Effect| {
        let Effect::WindowTurned(turn) = effect else { return None };
        Some(match turn {
            Turn::Opened(cause) => format!("opened by {}", cause.word()),
            Turn::Closed { .. } => "closed".to_owned(),
        })
    };
    effects.iter().filter_map(turn).collect()
}

fn opening(scene: &mut Scene) -> Option<Opening> {
    match scene.snapshot().window {
        Window::Shut => None,
        Window::Open(opening) => Some(opening),
    }
}

/// When the window closes, as a distance from now; nothing when nobody knows.
fn left(scene: &mut Scene) -> Option<Duration> {
    let until = opening(scene).expect("an open window").until?;
    Some(until.since(scene.now))
}

impl Scene {
    fn drained(&mut self, place: Option<std::net::SocketAddr>, out: bool) -> Vec<Effect> {
        self.apply(Event::Drained { region: "us".into(), endpoint: place, out })
    }

    /// The ledger says that so much is open at the first endpoint of `us`.
    fn open(&mut self, open: u64) -> Vec<Effect> {
        let reading = Reading { open, ended: Outcomes::default() };
        self.apply(Event::Counted(vec![(self.id(us(0)), reading)]))
    }
}

#[test]
fn nothing_opens_while_regions_are_proven_for_the_first_time() {
    assert_eq!(opening(&mut green()), None);
}

#[test]
fn a_region_of_which_nothing_is_heard_is_lost() {
    let mut policy = fenced(two_regions());
    policy.probing.stale_after = seconds(10);
    let mut scene = Scene::green(policy);
    assert_eq!(turns(&scene.wait(seconds(11))), ["opened by loss"]);
}

#[test]
fn the_snapshot_without_a_region_is_the_snapshot_with_the_window() {
    for outcome in [Err(ProbeFailure::Connect), Ok(index("b2"))] {
        let mut scene = green();
        drop(scene.probe(eu(), outcome.clone()));
        assert_eq!(opening(&mut scene), None);
        let effects = scene.probe(eu(), outcome);
        assert_eq!(turns(&effects), ["opened by loss"]);
        let snapshot = scene.snapshot();
        assert_eq!((snapshot.routable.count(), snapshot.window.is_open()), (1, true));
        assert_eq!(left(&mut scene), Some(LENGTH));
        let (before, after) = (LENGTH.saturating_sub(seconds(1)), seconds(2));
        // A region that differs and then says nothing more is lost once.
        assert_eq!(turns(&scene.wait(before)), Vec::<String>::new());
        assert_eq!(turns(&scene.wait(after)), ["closed"]);
        assert_eq!(opening(&mut scene), None);
    }
}

#[test]
fn a_region_that_is_back_prolongs_it_when_it_has_its_traffic() {
    let mut scene = green();
    scene.twice(eu(), &Ok(index("b2")));
    drop(scene.wait(seconds(5)));
    scene.twice(eu(), &Ok(index("a1")));
    assert!(scene.held("eu").is_some());
    assert_eq!(left(&mut scene), Some(LENGTH), "as the last resort");
    drop(scene.wait(seconds(2)));
    assert_eq!(scene.held("eu"), None);
    assert_eq!(left(&mut scene), Some(LENGTH.saturating_sub(seconds(1))), "and a second later");
}

#[test]
fn an_endpoint_that_is_lost_while_others_serve_opens_nothing() {
    let mut scene = green();
    scene.twice(us(0), &Err(ProbeFailure::Connect));
    assert_eq!(opening(&mut scene), None);
}

#[test]
fn a_region_that_traffic_takes_out_is_lost() {
    let mut scene = green();
    let tally = Tally { unconnected: 99, ..Tally::default() };
    let effects = scene.observe(eu(), tally);
    assert_eq!(turns(&effects), ["opened by loss"]);
    assert_eq!(scene.snapshot().routable.count(), 2, "it is the last resort");
}

#[test]
fn a_region_that_leaves_the_policy_is_lost_too() {
    let mut scene = green();
    let mut less = fenced(wanting_a1(two_regions()));
    less.regions.truncate(1);
    assert_eq!(turns(&scene.install(less)), ["opened by loss"]);
}

#[test]
fn a_drain_keeps_it_open_until_nothing_is_open() {
    for place in [None, Some(us(0))] {
        let mut scene = green();
        drop(scene.open(2));
        let effects = scene.drained(place, true);
        assert_eq!(turns(&effects), ["opened by drain"], "before anything was counted");
        drop(scene.open(2));
        assert_eq!(left(&mut scene), None);
        drop(scene.wait(LENGTH * 2));
        assert_eq!(left(&mut scene), None);
        assert_eq!(opening(&mut scene).map(|it| it.lasting.len()), Some(1));
        drop(scene.open(0));
        assert_eq!(left(&mut scene), Some(LENGTH));
        let effects = [scene.wait(LENGTH.saturating_sub(millis(1))), scene.wait(millis(1))];
        assert_eq!(effects.map(|it| turns(&it)), [vec![], vec!["closed"]], "{place:?}");
        let back = if place.is_none() { vec!["opened by return"] } else { vec![] };
        assert_eq!(turns(&scene.drained(place, false)), back);
    }
}

#[test]
fn a_drain_that_is_taken_back_counts_as_ended_then() {
    let mut scene = green();
    drop(scene.open(2));
    drop(scene.drained(None, true));
    drop(scene.wait(seconds(100)));
    drop(scene.drained(None, false));
    assert_eq!(left(&mut scene), Some(LENGTH));
}

#[test]
fn the_operator_opens_and_closes_it_and_is_told_once() {
    let mut scene = green();
    let ask = |open, reason: &str| Event::WindowAsked { open, reason: reason.into() };
    assert_eq!(turns(&scene.apply(ask(true, "a move"))), ["opened by operator"]);
    assert_eq!(turns(&scene.apply(ask(true, "two moves"))), Vec::<String>::new());
    let opening = opening(&mut scene).expect("an open window");
    assert_eq!(opening.lasting[0].to_string(), "the operator: two moves");
    assert_eq!(opening.cause.to_string(), "the operator: a move");
    drop(scene.wait(LENGTH * 2));
    assert_eq!(turns(&scene.apply(ask(false, "done"))), Vec::<String>::new());
    assert_eq!(left(&mut scene), Some(LENGTH));
    assert!(!scene.changes(ask(false, "done")), "nothing is left to take back");
    assert_eq!(turns(&scene.wait(LENGTH)), ["closed"]);
}

#[test]
fn without_a_fence_it_stays_shut() {
    let mut scene = Scene::green(two_regions());
    drop(scene.apply(Event::WindowAsked { open: true, reason: "a move".into() }));
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    assert_eq!(opening(&mut scene), None);
    assert!(
        scene
            .install(fenced(two_regions()))
            .iter()
            .all(|it| !matches!(it, Effect::WindowTurned(_)))
    );
}

#[test]
fn what_is_told_of_an_open_window_changes_only_when_something_happens() {
    let mut scene = green();
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    scene.pass(millis(250));
    assert!(!scene.changes(Event::Tick));
    drop(scene.open(1));
    drop(scene.drained(Some(us(0)), true));
    drop(scene.open(1));
    scene.pass(millis(250));
    assert!(!scene.changes(Event::Tick), "as long as it lasts, there is no end that moves");
}

#[test]
fn an_heir_goes_on_with_an_open_window() {
    let mut scene = green();
    scene.twice(eu(), &Err(ProbeFailure::Connect));
    scene.pass(seconds(100));
    let policy = || Arc::new(fenced(wanting_a1(two_regions())));
    let memory = scene.board.memory();
    let (mut heir, effects) = Board::remembering(scene.now, policy(), memory);
    assert_eq!(turns(&effects), Vec::<String>::new());
    assert_eq!(heir.snapshot().window, scene.snapshot().window);
    // What another process still empties is for this one at its end.
    drop(scene.open(2));
    drop(scene.drained(None, true));
    drop(scene.open(2));
    let memory = scene.board.memory();
    let (mut heir, _) = Board::remembering(scene.now, policy(), memory);
    let Window::Open(opening) = heir.snapshot().window else { panic!("it is shut") };
    assert_eq!(opening.until, Some(scene.now.plus(LENGTH)));
}
