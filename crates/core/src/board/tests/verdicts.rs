//! How probes and time become verdicts.

use crate::board::{Effect, Event};
use crate::contract::{
    Accepts, Found, INDEX_HASH, MODEL_TAG, Mismatch, Report, SCHEMA_REV, SECRETS_REV, Value, Weight,
};
use crate::health::ProbeFailure;
use crate::policy::{Failback, Policy};
use crate::snapshot::{Held, Verdict};

use super::scene::{
    Scene, endpoint_turns, eu, expecting, index, millis, one_region, region_turns, seconds,
    timeless, two_regions, us, wanting_a1,
};

const DARK: Result<Report, ProbeFailure> = Err(ProbeFailure::Connect);

#[test]
fn nothing_is_routable_until_it_is_proven() {
    let mut scene = Scene::new(one_region());
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
    assert!(scene.snapshot().routable.is_empty());
    assert!(scene.probe(us(0), Ok(index("a1"))).is_empty());
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
    let effects = scene.probe(us(0), Ok(index("a1")));
    assert_eq!(endpoint_turns(&effects), [(Verdict::Unknown, Verdict::Green)]);
    assert_eq!(region_turns(&effects), [(Verdict::Unknown, Verdict::Green)]);
    assert_eq!(scene.snapshot().routable.count(), 1);
    let now = scene.now;
    assert_eq!(scene.endpoint(us(0)).since, now);
}

#[test]
fn good_probes_must_come_in_a_row() {
    let mut scene = Scene::new(one_region());
    for outcome in [Ok(index("a1")), DARK, Ok(index("a1"))] {
        drop(scene.probe(us(0), outcome));
    }
    assert_eq!(scene.verdict("us"), Verdict::Dark);
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn bad_probes_must_come_in_a_row() {
    let mut scene = Scene::green(one_region());
    for outcome in [DARK, Ok(index("a1")), DARK] {
        assert_eq!(endpoint_turns(&scene.probe(us(0), outcome)), []);
    }
    let effects = scene.probe(us(0), DARK);
    assert_eq!(endpoint_turns(&effects), [(Verdict::Green, Verdict::Dark)]);
    assert_eq!(region_turns(&effects), [(Verdict::Green, Verdict::Dark)]);
}

#[test]
fn bad_probes_of_different_kinds_count_together() {
    let mut scene = Scene::green(wanting_a1(one_region()));
    assert_eq!(endpoint_turns(&scene.probe(us(0), DARK)), []);
    let effects = scene.probe(us(0), Ok(index("b2")));
    assert_eq!(endpoint_turns(&effects), [(Verdict::Green, Verdict::Mismatched)]);
}

#[test]
fn the_reason_why_nobody_is_routed_there_changes_at_once() {
    let mut scene = Scene::new(wanting_a1(one_region()));
    assert_eq!(endpoint_turns(&scene.probe(us(0), DARK)), [(Verdict::Unknown, Verdict::Dark)]);
    let effects = scene.probe(us(0), Ok(index("b2")));
    assert_eq!(endpoint_turns(&effects), [(Verdict::Dark, Verdict::Mismatched)]);
    let effects = scene.probe(us(0), DARK);
    assert_eq!(endpoint_turns(&effects), [(Verdict::Mismatched, Verdict::Dark)]);
}

#[test]
fn every_kind_of_difference_is_told() {
    let mut policy = wanting_a1(one_region());
    for key in [SCHEMA_REV, MODEL_TAG] {
        policy = expecting(policy, key, Accepts::Exactly("m1".into()), Weight::Veto);
    }
    let mut scene = Scene::new(policy);
    let found = vec![Found::Missing, Found::Value("b2".into()), Found::Value(Value::Integer(7))];
    let effects = scene.probe(us(0), Ok(Report { found, ..Report::default() }));
    let Some(Effect::EndpointTurned { region, address, mismatches, failure, .. }) = effects.first()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((&**region, *address, *failure), ("us", us(0), None));
    let kinds: Vec<_> = mismatches.iter().map(|it| (&*it.name, it.kind())).collect();
    let expected =
        [("schema_rev", "missing"), ("index_hash", "different"), ("model_tag", "wrong_type")];
    assert_eq!(kinds, expected);
    let vetoes = scene.endpoint(us(0)).vetoes;
    assert!([SCHEMA_REV, INDEX_HASH, MODEL_TAG].into_iter().all(|it| vetoes.contains(it)));
}

#[test]
fn a_key_vetoes_degrades_or_is_only_observed() {
    let turned = |weight| {
        let accepts = Accepts::Exactly("a1".into());
        let mut scene = Scene::new(expecting(one_region(), INDEX_HASH, accepts, weight));
        scene.twice(us(0), &Ok(index("b2")));
        let endpoint = scene.endpoint(us(0));
        let names: Vec<_> = endpoint.mismatches.iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, ["index_hash"]);
        assert_eq!(endpoint.vetoes.contains(INDEX_HASH), weight == Weight::Veto);
        endpoint.verdict
    };
    assert_eq!(turned(Weight::Veto), Verdict::Mismatched);
    assert_eq!(turned(Weight::Degrade), Verdict::Degraded);
    assert_eq!(turned(Weight::Observe), Verdict::Green);
}

#[test]
fn degrading_takes_a_fall_and_recovering_takes_a_rise() {
    let accepts = Accepts::Exactly("a1".into());
    let mut policy = expecting(one_region(), INDEX_HASH, accepts, Weight::Degrade);
    (policy.probing.rise, policy.probing.fall) = (2, 3);
    let mut scene = Scene::green(policy);
    let mut after = |hash: &str| {
        drop(scene.probe(us(0), Ok(index(hash))));
        scene.verdict("us")
    };
    assert_eq!([after("b2"), after("b2"), after("a1")], [Verdict::Green; 3]);
    assert_eq!([after("b2"), after("b2"), after("b2")].last(), Some(&Verdict::Degraded));
    assert_eq!([after("a1"), after("b2"), after("a1")], [Verdict::Degraded; 3]);
    assert_eq!(after("a1"), Verdict::Green);
}

#[test]
fn an_endpoint_that_is_not_ready_is_dark_and_its_report_is_kept() {
    let mut scene = Scene::new(one_region());
    drop(scene.probe(us(0), Ok(Report { ready: Some(false), ..index("a1") })));
    let endpoint = scene.endpoint(us(0));
    assert_eq!(endpoint.verdict, Verdict::Dark);
    assert_eq!(endpoint.failure, Some(ProbeFailure::NotReady));
    assert!(endpoint.report.is_some_and(|it| it.says(INDEX_HASH, "a1")));
    scene.twice(us(0), &Ok(Report { ready: Some(true), ..index("a1") }));
    let endpoint = scene.endpoint(us(0));
    assert_eq!((endpoint.verdict, endpoint.failure), (Verdict::Green, None));
}

#[test]
fn the_last_report_of_a_dark_endpoint_is_kept() {
    let mut scene = Scene::green(one_region());
    scene.twice(us(0), &DARK);
    let endpoint = scene.endpoint(us(0));
    assert_eq!(endpoint.failure, Some(ProbeFailure::Connect));
    assert!(endpoint.report.is_some_and(|it| it.says(INDEX_HASH, "a1")));
}

#[test]
fn a_verdict_lasts_as_long_as_its_last_probe_counts() {
    let mut scene = Scene::green(one_region());
    scene.pass(millis(9999));
    assert_eq!(scene.apply(Event::Tick), []);
    scene.pass(millis(1));
    let effects = scene.apply(Event::Tick);
    assert_eq!(endpoint_turns(&effects), [(Verdict::Green, Verdict::Unknown)]);
    assert_eq!(region_turns(&effects), [(Verdict::Green, Verdict::Unknown)]);
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn any_verdict_grows_stale() {
    let mut scene = Scene::new(wanting_a1(one_region()));
    drop(scene.probe(us(0), Ok(index("b2"))));
    let effects = scene.wait(seconds(10));
    assert_eq!(endpoint_turns(&effects), [(Verdict::Mismatched, Verdict::Unknown)]);
}

/// A good probe once counted for ever towards the rise of an endpoint that was still unknown.
#[test]
fn a_stale_probe_counts_for_nothing() {
    let mut scene = Scene::new(one_region());
    drop(scene.probe(us(0), Ok(index("a1"))));
    drop(scene.wait(seconds(60)));
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
}

#[test]
fn shadow_mode_reports_and_does_not_act() {
    let mut policy = wanting_a1(one_region());
    policy.probing.shadow = true;
    let mut scene = Scene::new(policy);
    scene.twice(us(0), &Ok(index("b2")));
    let endpoint = scene.endpoint(us(0));
    assert_eq!(endpoint.verdict, Verdict::Green);
    assert_eq!(endpoint.mismatches.first().map(Mismatch::kind), Some("different"));
    scene.twice(us(0), &DARK);
    assert_eq!(scene.verdict("us"), Verdict::Dark);
}

fn agreeing(mut policy: Policy) -> Policy {
    policy.probing.rise = 1;
    expecting(policy, INDEX_HASH, Accepts::Agreed, Weight::Veto)
}

#[test]
fn green_endpoints_that_disagree_make_a_region_mixed() {
    let mut scene = Scene::new(agreeing(two_regions()));
    scene.probe_all(&[(us(0), "a1"), (us(1), "a1"), (us(2), "a1")]);
    assert_eq!(scene.verdict("us"), Verdict::Green);
    let effects = scene.probe(us(1), Ok(index("b2")));
    assert_eq!(endpoint_turns(&effects), []);
    assert_eq!(region_turns(&effects), [(Verdict::Green, Verdict::Mixed)]);
    let snapshot = scene.snapshot();
    assert!(snapshot.regions[0].disputed.contains(INDEX_HASH));
    assert!(snapshot.routable.is_empty() && snapshot.answering.count() == 1);
    scene.probe_all(&[(us(0), "b2"), (us(2), "b2")]);
    assert_eq!(scene.verdict("us"), Verdict::Green);
    assert!(scene.region("us").disputed.is_empty());
}

#[test]
fn only_routable_endpoints_take_part_in_a_dispute() {
    let mut scene = Scene::new(agreeing(two_regions()));
    scene.probe_all(&[(us(0), "a1"), (us(1), "a1"), (us(2), "b2")]);
    assert_eq!(scene.verdict("us"), Verdict::Mixed);
    scene.twice(us(2), &DARK);
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn a_mixed_region_is_routable_where_the_policy_allows_it_and_in_shadow_mode() {
    for (mixed_allowed, shadow) in [(true, false), (false, true)] {
        let mut policy = agreeing(two_regions());
        (policy.probing.mixed_allowed, policy.probing.shadow) = (mixed_allowed, shadow);
        let mut scene = Scene::new(policy);
        scene.probe_all(&[(us(0), "a1"), (us(1), "a1"), (us(2), "b2")]);
        let region = scene.region("us");
        assert_eq!((region.verdict, region.held), (Verdict::Mixed, None));
        assert_eq!(scene.snapshot().routable.count(), 1);
    }
}

#[test]
fn a_region_needs_its_share_of_green_endpoints() {
    let mut policy = two_regions();
    policy.probing.rise = 1;
    policy.regions[0].green_share_percent = 67;
    let mut scene = Scene::new(wanting_a1(policy));
    scene.probe_all(&[(us(0), "a1"), (us(1), "a1")]);
    assert_eq!(scene.verdict("us"), Verdict::Unknown);
    drop(scene.probe(us(2), DARK));
    assert_eq!(scene.verdict("us"), Verdict::Dark);
    drop(scene.probe(us(2), Ok(index("b2"))));
    assert_eq!(scene.verdict("us"), Verdict::Mismatched);
    drop(scene.probe(us(2), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn a_share_that_is_met_to_the_percent_is_enough() {
    for (percent, verdict) in [(0, Verdict::Green), (33, Verdict::Green), (34, Verdict::Dark)] {
        let mut policy = two_regions();
        policy.probing.rise = 1;
        policy.regions[0].green_share_percent = percent;
        let mut scene = Scene::new(policy);
        scene.probe_all(&[(us(0), "a1")]);
        (1..3).for_each(|place| drop(scene.probe(us(place), DARK)));
        assert_eq!(scene.verdict("us"), verdict, "{percent}");
    }
}

#[test]
fn a_region_is_degraded_only_when_no_endpoint_is_green() {
    let mut policy = two_regions();
    policy.probing.rise = 1;
    let accepts = Accepts::Exactly("a1".into());
    let mut scene = Scene::new(expecting(policy, INDEX_HASH, accepts, Weight::Degrade));
    scene.probe_all(&[(us(0), "b2"), (us(1), "b2"), (us(2), "b2"), (eu(), "a1")]);
    assert_eq!(scene.verdict("us"), Verdict::Degraded);
    let order: Vec<_> = scene.snapshot().nearest.iter().map(|it| it.0).collect();
    assert_eq!(order, [1, 0]);
    drop(scene.probe(us(0), Ok(index("a1"))));
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Green);
}

#[test]
fn a_lost_region_is_held_until_it_has_been_green_for_long_enough() {
    let mut scene = Scene::green(one_region());
    scene.twice(us(0), &DARK);
    assert_eq!(scene.held("us"), Some(Held::Recovering));
    scene.twice(us(0), &Ok(index("a1")));
    let effects = scene.wait(millis(999));
    assert_eq!(effects, []);
    assert_eq!(scene.held("us"), Some(Held::Recovering));
    let effects = scene.wait(millis(1));
    assert_eq!(effects, [Effect::RegionHeld { region: "us".into(), held: None }]);
}

#[test]
fn a_region_that_waits_for_the_operator_is_released_by_name() {
    let mut policy = one_region();
    policy.failback.mode = Failback::Manual;
    let mut scene = Scene::green(policy);
    scene.twice(us(0), &DARK);
    scene.twice(us(0), &Ok(index("a1")));
    drop(scene.wait(seconds(5)));
    assert_eq!(scene.held("us"), Some(Held::Manual));
    assert_eq!(scene.apply(Event::Released("mars".into())), []);
    let effects = scene.apply(Event::Released("us".into()));
    assert_eq!(effects, [Effect::RegionHeld { region: "us".into(), held: None }]);
    assert_eq!(scene.held("us"), None);
}

#[test]
fn a_flapping_region_is_frozen_and_can_be_released() {
    let mut scene = Scene::green(one_region());
    for _ in 0..3 {
        scene.twice(us(0), &DARK);
        scene.twice(us(0), &Ok(index("a1")));
    }
    assert_eq!(scene.held("us"), Some(Held::Frozen));
    drop(scene.apply(Event::Released("us".into())));
    assert_eq!(scene.held("us"), None);
}

#[test]
fn a_rotation_ends_at_its_moment() {
    let mut policy = one_region();
    policy.probing.fall = 1;
    let mut scene = Scene::new(policy.clone());
    let until = scene.now.plus(seconds(5));
    let accepts = Accepts::Either { new: "b2".into(), old: "a1".into(), until };
    drop(scene.install(expecting(policy, INDEX_HASH, accepts, Weight::Veto)));
    scene.probe_all(&[(us(0), "a1"), (us(0), "a1")]);
    drop(scene.wait(millis(4999)));
    assert!(scene.endpoint(us(0)).mismatches.is_empty());
    drop(scene.wait(millis(1)));
    let endpoint = scene.endpoint(us(0));
    assert!(endpoint.vetoes.contains(INDEX_HASH) && !endpoint.mismatches.is_empty());
    // The difference shows at once; the verdict is for probes to change.
    assert_eq!(endpoint.verdict, Verdict::Green);
    drop(scene.probe(us(0), Ok(index("a1"))));
    assert_eq!(scene.verdict("us"), Verdict::Mismatched);
}

/// The end of a rotation once went unseen when any other event came between it and the next tick.
#[test]
fn an_event_at_the_end_of_a_rotation_does_not_hide_it() {
    let policy = two_regions();
    let mut scene = Scene::green(policy.clone());
    let until = scene.now.plus(seconds(5));
    let accepts = Accepts::Either { new: "b2".into(), old: "a1".into(), until };
    drop(scene.install(expecting(policy, INDEX_HASH, accepts, Weight::Veto)));
    drop(scene.wait(millis(4900)));
    scene.pass(millis(150));
    drop(scene.probe(eu(), DARK));
    assert!(scene.board.has_changed());
    drop(scene.wait(seconds(1)));
    assert!(scene.endpoint(us(0)).vetoes.contains(INDEX_HASH));
}

#[test]
fn each_snapshot_has_a_number_of_its_own() {
    let mut scene = Scene::new(one_region());
    let (first, second) = (scene.snapshot(), scene.snapshot());
    assert!(first.generation < second.generation);
    assert_eq!(timeless(first), timeless(second));
}

#[test]
#[should_panic(expected = "time went backwards")]
fn a_board_whose_time_goes_backwards_does_not_go_on() {
    let mut scene = Scene::new(one_region());
    scene.now.0 -= 1;
    drop(scene.apply(Event::Tick));
}

#[test]
fn only_what_shows_is_a_change() {
    let mut policy = expecting(one_region(), SECRETS_REV, Accepts::Agreed, Weight::Observe);
    policy.probing.rise = 1;
    let mut scene = Scene::new(policy);
    let endpoint = scene.id(us(0));
    let took = millis(20);
    let probed = |outcome| Event::Probed { endpoint, took, outcome };
    assert!(!scene.changes(Event::Tick));
    assert!(scene.changes(probed(Ok(index("a1")))));
    assert!(!scene.changes(probed(Ok(index("a1")))));
    assert!(scene.changes(probed(Ok(index("b2")))));
    assert!(scene.changes(probed(DARK)));
    assert!(scene.changes(probed(DARK)));
    assert!(!scene.changes(probed(DARK)));
    assert!(scene.changes(probed(Err(ProbeFailure::Timeout))));
    for _ in 0..20 {
        scene.pass(seconds(1));
        drop(scene.apply(Event::Tick));
    }
    assert!(!scene.changes(Event::Tick));
    let drained = |region: &str, out| Event::Drained { region: region.into(), endpoint: None, out };
    assert!(!scene.changes(drained("us", false)));
    assert!(scene.changes(drained("us", true)));
    assert!(!scene.changes(drained("us", true)));
    assert!(!scene.changes(drained("mars", true)));
    assert!(!scene.changes(Event::Released("mars".into())));
}
