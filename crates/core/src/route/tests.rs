//! The routing table as data: a line of world, a line of request, a line of answer.
//!
//! The lines are written in the language of [`line`].

use std::collections::BTreeSet;

use crate::explain::{differences, explain};
use crate::id::RegionId;
use crate::snapshot::Verdict;

use super::{PinOutcome, Reason, Refusal, SessionOutcome, route};
use line::with;

mod line;
mod owners;
mod sessions;

/// Routes one request in one world. `explain` must say the same and account for every region.
fn check(world: &str, request: &str, answer: &str) {
    with(world, request, |snapshot, ask| {
        let outcome = route(snapshot, ask);
        let told = match outcome {
            Ok(choice) => {
                let honoured = choice.pin == PinOutcome::Honoured;
                assert_eq!(honoured, choice.reason == Reason::Pin, "{world} | {request}");
                let mut told = vec![snapshot.name(choice.region).to_owned()];
                told.push(choice.reason.word().to_owned());
                if matches!(choice.pin, PinOutcome::Unknown | PinOutcome::Unavailable) {
                    told.push(format!("pin={}", choice.pin.word()));
                }
                if !matches!(
                    (choice.session, choice.reason),
                    (SessionOutcome::Absent, _) | (SessionOutcome::Honoured, Reason::Session)
                ) {
                    told.push(format!("session={}", choice.session.word()));
                }
                if let Some(release) = choice.release(&snapshot.policy, ask.session) {
                    told.push(format!("release={release}"));
                }
                told.extend(choice.epoch.map(|it| format!("epoch={it}")));
                told.join(" ")
            }
            Err(refusal) => refusal.code().to_owned(),
        };
        assert_eq!(told, answer, "{world} | {request}");
        let explanation = explain(snapshot, ask);
        assert_eq!(explanation.outcome, outcome, "{world} | {request}");
        let mut seen: Vec<RegionId> = explanation.passed.iter().map(|(id, _)| *id).collect();
        seen.extend(outcome.map(|it| it.region));
        seen.sort_unstable();
        let all: Vec<RegionId> = snapshot.iter().map(|(id, _)| id).collect();
        if outcome.is_ok() {
            assert_eq!(seen, all, "each region once: {world} | {request}");
        }
    });
}

/// Says why regions were passed over, in the order of the filters.
fn check_passed(world: &str, request: &str, passed: &str) {
    with(world, request, |snapshot, ask| {
        let explanation = explain(snapshot, ask);
        let told = explanation.passed.iter();
        let told = told.map(|(id, cause)| format!("{} {}", snapshot.name(*id), cause.word()));
        assert_eq!(told.collect::<Vec<_>>().join("; "), passed, "{world} | {request}");
    });
}

/// Says where regions differ from what a request demands.
fn check_differences(world: &str, request: &str, told: &str) {
    with(world, request, |snapshot, ask| {
        let differences = differences(snapshot, ask);
        let differences = differences
            .iter()
            .map(|it| format!("{} {} {} {}", snapshot.name(it.region), it.key, it.asked, it.found));
        assert_eq!(differences.collect::<Vec<_>>().join("; "), told, "{world} | {request}");
    });
}

#[test]
fn the_nearest_green_region_answers() {
    check("us green; eu green", "read", "us nearest");
    check("us green; eu green", "write", "us nearest");
    check("us dark; eu green", "read", "eu nearest");
    check("us mismatched; eu green", "read", "eu nearest");
    check("us green distance=20; eu green distance=10", "read", "eu nearest");
}

#[test]
fn what_is_not_proven_is_not_routable() {
    check("us unknown; eu dark; ap mismatched; sa green drained", "read", "no_region_available");
    check("us unknown; eu green", "read", "eu nearest");
    check("us green drained; eu green", "read", "eu nearest");
    check("us unknown; eu dark", "read pin=us", "no_region_available");
}

#[test]
fn names_break_ties() {
    let world = "us green distance=10; eu green distance=10; ap green distance=10";
    check(world, "read", "ap nearest");
    check(world, "read measured", "ap nearest");
    let world = "us green measured=500; eu green measured=500; ap green measured=501";
    check(world, "read measured", "eu nearest");
}

#[test]
fn a_route_may_go_by_measured_distance() {
    let world = "us green measured=90000; eu green measured=20000";
    check(world, "read measured", "eu nearest");
    check(world, "read", "us nearest");
    // Without a measure, the configured distance reads as milliseconds.
    check("us green distance=30; eu green measured=20000", "read measured", "eu nearest");
    check("us green distance=10; eu green measured=20000", "read measured", "us nearest");
    check("us green measured=1 held; eu green measured=9", "read measured", "eu nearest");
    check("us degraded measured=1; eu green measured=9", "read measured", "eu nearest");
}

#[test]
fn a_degraded_region_answers_after_all_green_ones() {
    check("us degraded; eu green", "read", "eu nearest");
    check("us degraded; eu dark", "read", "us nearest");
    check("us degraded distance=9; eu degraded distance=8", "read", "eu nearest");
    check("us degraded; eu green", "read full=eu", "us spill");
    check("us degraded; eu green", "read pin=us", "us pin");
}

#[test]
fn a_held_region_is_the_last_resort() {
    check("us green held; eu green", "read", "eu nearest");
    check("us green held=frozen; eu degraded", "read", "eu nearest");
    check("us green held; eu dark", "read", "us last_resort");
    check("us green held; eu green held", "read", "us last_resort");
    check("us degraded held; eu green held", "read", "eu last_resort");
    check("us green held; eu green", "read full=eu", "us last_resort");
    check("us green held; eu green", "read tried=eu", "us last_resort");
}

#[test]
fn a_held_region_is_reached_by_who_asks_for_it() {
    check("us green held; eu green", "read pin=us", "us pin");
    check("us green held; eu green", "read pin=us;strict", "us pin");
    check("us green held a1; eu green b2", "read index=a1", "us last_resort");
}

#[test]
fn a_soft_pin_is_a_wish() {
    check("us green; eu green", "read pin=eu", "eu pin");
    check("us green; eu degraded", "read pin=eu", "eu pin");
    check("us green; eu dark", "read pin=eu", "us nearest pin=unavailable");
    check("us green; eu unknown", "read pin=eu", "us nearest pin=unavailable");
    check("us green a1; eu mismatched a1", "read pin=eu", "us nearest pin=unavailable");
    check("us green; eu green drained", "read pin=eu", "us nearest pin=unavailable");
    check("us green; eu green", "read pin=eu tried=eu", "us nearest pin=unavailable");
    check("us green; eu green", "read pin=eu full=eu", "eu pin");
    check("us green; eu green", "read pin=mars", "us nearest pin=unknown");
    check("us green; eu green", "read pin=EU", "us nearest pin=unknown");
}

#[test]
fn a_strict_pin_is_a_demand() {
    check("us green; eu green", "read pin=eu;strict", "eu pin");
    check("us green; eu dark", "read pin=eu;strict", "pin_unavailable");
    check("us green; eu green drained", "read pin=eu;strict", "pin_unavailable");
    check("us green; eu green", "read pin=eu;strict tried=eu", "pin_unavailable");
    check("us green; eu green", "read pin=mars;strict", "pin_unavailable");
    check("us green; eu green", "read pin=eu pins=require", "eu pin");
    check("us green; eu dark", "read pin=eu pins=require", "pin_unavailable");
    check("us green; eu dark", "read pin=mars pins=require", "pin_unavailable");
    check("us green; eu dark", "read pins=require", "us nearest");
}

#[test]
fn a_route_may_ignore_pins() {
    check("us green; eu green", "read pin=eu pins=ignore", "us nearest");
    check("us green; eu dark", "read pin=eu;strict pins=ignore", "us nearest");
    check("us green; eu dark", "read pin=mars;strict pins=ignore", "us nearest");
}

#[test]
fn what_a_request_demands_beats_its_pin() {
    let world = "us green a1; eu green b2";
    check(world, "read pin=eu index=b2", "eu pin");
    check(world, "read pin=eu index=a1", "us nearest pin=unavailable");
    check(world, "read pin=eu;strict index=a1", "pin_unavailable");
    check(world, "read pin=eu;strict index=zz", "contract_unmet");
}

#[test]
fn demands_select_by_what_is_reported() {
    let world = "us green a1/r1/s1/m1; eu green b2/r2/s2/m2";
    for demand in ["index=b2", "release=r2", "schema=s2", "model=m2", "index=b2 release=r2"] {
        check(world, &format!("read {demand}"), "eu nearest");
    }
    check(world, "read index=a1 release=r2", "contract_unmet");
    check(world, "read index=A1", "contract_unmet");
    check("us green; eu green a1", "read index=a1", "eu nearest");
}

#[test]
fn one_endpoint_must_meet_all_that_is_demanded() {
    check("us green a1/r1 b2/r2; eu green a1/r2", "read index=a1 release=r2", "eu nearest");
    check("us green a1/r1 b2/r2", "read index=a1 release=r2", "contract_unmet");
}

#[test]
fn a_rollout_shows_its_live_subsets() {
    let world = "us green a1/r1 a1/r2; eu green a1/r1";
    check(world, "read release=r2", "us nearest");
    check(world, "read release=r1", "us nearest");
    check(world, "read release=r2 pin=eu", "us nearest pin=unavailable");
    let world = "us green a1/r1 dark:a1/r2; eu green a1/r1";
    check(world, "read release=r2", "contract_unavailable");
    check("us green a1/r1 a1/r2!; eu green a1/r1", "read release=r2", "us nearest");
}

#[test]
fn a_demand_judges_its_own_key_and_the_contract_all_others() {
    let world = "policy index=a1; us mismatched b2; eu green a1";
    check(world, "read", "eu nearest");
    check(world, "read index=b2", "us nearest");
    check(world, "read index=b2 pin=us;strict", "us pin");
    let world = "policy index=a1 schema=s1; us mismatched b2/-/s2; eu green a1/-/s1";
    check(world, "read index=b2", "contract_unavailable");
    check(world, "read index=b2 schema=s2", "us nearest");
    let world = "policy index=a1; us green a1/r1 mismatched:b2/r2; eu green a1/r1";
    check(world, "read release=r2", "contract_unavailable");
    check(world, "read release=r2 index=b2", "us nearest");
    check(world, "read release=r1", "us nearest");
}

#[test]
fn nobody_who_has_it_is_a_conflict_and_nobody_who_has_it_up_is_an_outage() {
    check("us green a1; eu green a1", "read index=zz", "contract_unmet");
    check("us unknown; eu unknown", "read index=a1", "contract_unmet");
    check("us dark a1; eu green b2", "read index=a1", "contract_unavailable");
    check("us unknown a1; eu green b2", "read index=a1", "contract_unavailable");
    check("us green drained a1; eu green b2", "read index=a1", "contract_unavailable");
    check("us green a1/r1", "read release=r9", "release_unknown");
    check("us green a1/r1", "read release=r9 index=a1", "release_unknown");
    check("us green a1/r1", "read release=r1 index=zz", "contract_unmet");
    check("us dark a1/r1; eu green b2/r2", "read release=r1", "contract_unavailable");
    check("us dark a1/r1; eu green b2/r2", "read release=r1 index=b2", "contract_unmet");
}

#[test]
fn residency_comes_first_and_fails_closed() {
    check("us green; eu green; ap green", "read residency=eu,ap", "eu nearest");
    check("us green; eu dark", "read residency=eu", "residency_unavailable");
    check("us dark; eu dark", "read residency=eu", "no_region_available");
    check("us green drained; eu dark", "read residency=eu", "no_region_available");
    check("us green; eu green", "read residency=us pin=eu", "us nearest pin=unavailable");
    check("us green; eu green", "read residency=us pin=eu;strict", "pin_unavailable");
    check("us green a1; eu green b2", "read residency=eu index=a1", "contract_unmet");
    check("us green a1/r1; eu green a1/r2", "read residency=eu release=r1", "release_unknown");
    check("us mismatched; eu dark", "read residency=eu", "no_region_available");
    let request = "read residency=eu require=answer";
    check("us mismatched; eu dark", request, "residency_unavailable");
}

#[test]
fn a_full_region_spills_to_the_next() {
    check("us green; eu green", "read full=us", "eu spill");
    check("us green; eu green", "read full=eu", "us nearest");
    check("us dark; eu green; ap green", "read full=eu", "ap spill");
    check("us green; eu green", "read full=us,eu", "capacity_exhausted");
    check("us green; eu dark", "read full=us", "capacity_exhausted");
    check("us green; eu green", "read full=us tried=eu", "capacity_exhausted");
    check("us green a1; eu green b2", "read full=us index=a1", "capacity_exhausted");
}

#[test]
fn a_region_that_was_tried_is_not_tried_again() {
    check("us green; eu green", "read tried=us", "eu nearest");
    check("us green; eu green", "read tried=us,eu", "region_unreachable");
    check("us green; eu dark", "read tried=us", "region_unreachable");
    check("us green a1; eu green b2", "read tried=us index=a1", "region_unreachable");
}

#[test]
fn a_mixed_region_is_not_routable() {
    let world = "policy index=any; us mixed a1 b2; eu green a1";
    check(world, "read", "eu nearest");
    check(world, "read pin=us", "eu nearest pin=unavailable");
    check("policy index=any; us mixed a1 b2", "read", "no_region_available");
    check("policy index=any mixed=allowed; us mixed a1 b2; eu green a1", "read", "us nearest");
    check(world, "read require=answer", "us nearest");
}

#[test]
fn a_demand_for_the_disputed_key_settles_the_dispute() {
    let world = "policy index=any; us mixed a1/r1 b2/r2; eu green c3/r3";
    check(world, "read index=b2", "us nearest");
    check(world, "read index=b2 release=r2", "us nearest");
    check(world, "read release=r2", "contract_unavailable");
    check(world, "read release=r2 require=answer", "us nearest");
    let world = "policy index=any mixed=allowed; us mixed a1/r1 b2/r2; eu green c3/r3";
    check(world, "read release=r2", "us nearest");
}

#[test]
fn a_shadow_contract_acts_on_no_dispute() {
    let world = "policy index=any shadow; us mixed a1/r1 b2/r2; eu green a1/r1";
    check(world, "read", "us nearest");
    check(world, "read release=r2", "us nearest");
}

#[test]
fn a_route_may_require_no_more_than_an_answer() {
    check("us mismatched; eu dark", "read require=answer", "us nearest");
    check("us mismatched; eu green", "read require=answer", "eu nearest");
    check("us mismatched; eu green", "read require=answer pin=us", "us pin");
    let world = "us unknown; eu dark; ap green drained";
    check(world, "read require=answer", "no_region_available");
    let world = "policy index=a1 schema=s1; us mismatched b2/-/s2";
    check(world, "read require=answer index=b2", "us nearest");
    check(world, "read require=answer index=zz", "contract_unmet");
}

const SPLIT: &str = "policy split=r1:1,r2:1; us green a1/r1; eu green a1/r2";

#[test]
fn a_split_assigns_a_release() {
    check(SPLIT, "read hash=0", "us nearest release=r1");
    check(SPLIT, "read hash=1", "eu nearest release=r2");
    check(SPLIT, "write hash=1", "eu nearest release=r2");
    // Who demands a release has left the split.
    check(SPLIT, "read hash=1 release=r1", "us nearest");
    check(SPLIT, "read hash=1 index=a1", "eu nearest release=r2");
    let world = "policy split=r1:1,r2:1; us green a1/r1 a1/r2; eu green a1/r2";
    check(world, "read hash=1", "us nearest release=r2");
}

#[test]
fn an_assigned_release_that_is_nowhere_is_passed_over() {
    check("policy split=r1:1,r9:1; us green a1/r1", "read hash=1", "us nearest");
    let split = |eu| format!("policy index=a1 split=r1:1,r2:1; us green a1/r1; eu {eu}");
    check(&split("dark a1/r2"), "read hash=1", "us nearest");
    check(&split("green a1/r2!"), "read hash=1", "us nearest");
    check(&split("green a1/r1 dark:a1/r2"), "read hash=1", "us nearest");
    check(&split("green a1/r1 mismatched:b2/r2"), "read hash=1", "us nearest");
    check(
        &split("green a1/r1 mismatched:b2/r2"),
        "read hash=1 require=answer",
        "eu nearest release=r2",
    );
}

/// A split is nobody's demand: it once kept clients from regions that could answer them, with 503
/// for a region that was tried, for one that was full, and for a strict pin to a green one.
#[test]
fn an_assigned_release_keeps_nobody_from_an_answer() {
    check(SPLIT, "read hash=1 tried=eu", "us nearest");
    check(SPLIT, "read hash=1 tried=us,eu", "region_unreachable");
    check(SPLIT, "read hash=1 full=eu", "us nearest");
    check(SPLIT, "read hash=1 full=us,eu", "capacity_exhausted");
    check(SPLIT, "read hash=1 pin=us", "us pin");
    check(SPLIT, "read hash=1 pin=us;strict", "us pin");
    check(SPLIT, "read hash=0 pin=us", "us pin release=r1");
    check(SPLIT, "read hash=0 pin=us full=us", "us pin release=r1");
    check(SPLIT, "read hash=1 residency=us", "us nearest");
}

#[test]
fn the_first_filter_that_a_region_fails_is_its_cause() {
    check_passed("us dark drained; eu green", "read residency=eu", "us outside_residency");
    check_passed("us dark drained; eu green", "read", "us drained");
    check_passed("us dark b2; eu green a1", "read index=a1", "us dark");
    check_passed("us unknown; eu green", "read tried=us", "us unknown");
    check_passed("us mismatched; eu green", "read tried=us", "us mismatched");
    let world = "us green b2; eu green a1; ap green a1";
    check_passed(world, "read index=a1 tried=us,ap", "us demand_unmet; ap tried");
    let world = "us green; eu green; ap green";
    check_passed(world, "read tried=us pin=eu", "us tried; ap not_pinned");
    check_passed(SPLIT, "read hash=1 pin=us", "eu not_pinned");
    let world = "policy split=r1:1,r2:1; us green a1/r1; eu green a1/r2; ap green a1/r2";
    check_passed(world, "read hash=1 full=us,eu", "us other_release; eu full");
    check_passed("us green held; eu green; ap green", "read full=us", "us full; ap farther");
}

#[test]
fn distance_has_its_own_causes() {
    let world = "us green held; eu degraded; ap green; sa green held=frozen; af green";
    let passed = "us recovering; eu degraded; sa frozen; af farther";
    check_passed(world, "read", passed);
    check_passed("us degraded; eu degraded", "read", "eu farther");
    check_passed("us green drained; eu unknown; ap green", "read", "us drained; eu unknown");
    check_passed("policy index=any; us mixed a1 b2; eu green a1", "read", "us mixed");
}

/// A mismatched region that was nearer than the chosen one was once said to be farther.
#[test]
fn a_nearer_region_is_not_called_farther() {
    check_passed("us mismatched; eu green", "read require=answer", "us mismatched");
    check_passed("us degraded; eu green", "read require=answer", "us degraded");
    check_passed("us mismatched; eu degraded", "read require=answer", "eu farther");
    let world = "policy index=a1; us mismatched b2 a1; eu green a1";
    check_passed(world, "read index=a1", "us mismatched");
}

#[test]
fn a_refusal_names_whom_it_passed_over() {
    check_passed("us green; eu dark", "read pin=eu;strict", "eu dark");
    check_passed("us unknown; eu dark", "read", "us unknown; eu dark");
    check_passed("us green; eu dark", "read residency=eu", "us outside_residency; eu dark");
    check_passed("us green; eu green", "read full=us,eu", "us full; eu full");
    check_passed("us green a1; eu dark", "read index=zz", "eu dark; us demand_unmet");
}

#[test]
fn differences_are_those_of_the_endpoint_that_comes_closest() {
    let world = "us green a1/r1; eu dark b2/r2; ap unknown";
    let told = "eu index_hash a1 b2; eu release_id r1 r2; \
                ap index_hash a1 (missing); ap release_id r1 (missing)";
    check_differences(world, "read index=a1 release=r1", told);
    check_differences("us green b2/r2 b2/r1", "read index=a1 release=r1", "us index_hash a1 b2");
    check_differences("us green a1; eu green b2", "read residency=us index=a1", "");
    let told = "us schema_rev s2 s1; us model_tag m2 m1";
    check_differences("us green a1/r1/s1/m1", "read schema=s2 model=m2", told);
}

#[test]
fn words_are_stable_and_no_two_are_the_same() {
    let codes: BTreeSet<&str> = Refusal::ALL.iter().map(|it| it.code()).collect();
    assert_eq!(codes.len(), Refusal::ALL.len());
    let reasons = [
        Reason::Pin,
        Reason::Session,
        Reason::Owner,
        Reason::Nearest,
        Reason::Spill,
        Reason::LastResort,
    ];
    let reasons = reasons.map(Reason::word);
    assert_eq!(reasons, ["pin", "session", "owner", "nearest", "spill", "last_resort"]);
    for verdict in Verdict::ALL {
        assert_eq!(Verdict::from_word(&verdict.to_string()), Some(verdict));
    }
    assert_eq!(Verdict::from_word("Green"), None);
}
