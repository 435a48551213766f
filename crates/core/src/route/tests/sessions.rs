//! The routing table of requests whose client has been here before.

use super::{check, check_passed};

#[test]
fn a_session_goes_back_to_its_region() {
    let world = "us green; eu green; ap green";
    check(world, "read session=eu", "eu session");
    check(world, "write session=ap", "ap session");
    check(world, "read measured session=eu", "eu session");
    check("us green; eu degraded", "read session=eu", "eu session");
    check("us green; eu green", "read session=us", "us session");
    check_passed(world, "read session=eu", "us not_in_session; ap not_in_session");
    check_passed(world, "read session=eu tried=ap", "ap tried; us not_in_session");
}

#[test]
fn a_session_is_a_wish() {
    for eu in ["dark", "unknown", "mismatched", "green drained", "green held", "green held=frozen"]
    {
        let world = format!("us green; eu {eu}");
        check(&world, "read session=eu", "us nearest session=moved");
    }
    check("us green; eu green", "read session=eu tried=eu", "us nearest session=moved");
    check("us green; eu green", "read session=eu full=eu", "us nearest session=moved");
    check("us green; eu green", "read session=us full=us", "eu spill session=moved");
    check("us green; eu green", "read session=eu residency=us", "us nearest session=moved");
    check("us green; eu green", "read session=mars", "us nearest session=orphaned");
    check("us green; eu green", "read session=EU", "us nearest session=orphaned");
    check("us dark; eu dark", "read session=eu", "no_region_available");
    check("us green; eu green", "read session=eu full=us,eu", "capacity_exhausted");
    check("us green; eu green", "read session=eu tried=us,eu", "region_unreachable");
    check_passed("us green; eu green held", "read session=eu", "eu recovering");
    check_passed("us green; eu green drained", "read session=eu", "eu drained");
}

#[test]
fn a_session_in_a_held_region_comes_back_when_nobody_else_is_left() {
    check("us dark; eu green held", "read session=eu", "eu last_resort session=honoured");
}

#[test]
fn what_a_request_wants_itself_beats_its_session() {
    let world = "us green a1; eu green b2; ap green a1";
    check(world, "read session=ap pin=us", "us pin session=moved");
    check(world, "read session=ap pin=ap", "ap pin session=honoured");
    check(world, "read session=ap pin=mars", "ap session pin=unknown");
    check(world, "read session=ap pin=eu index=a1", "ap session pin=unavailable");
    check(world, "read session=ap index=b2", "eu nearest session=moved");
    check(world, "read session=ap index=a1", "ap session");
    check(world, "read session=ap pin=mars;strict", "pin_unavailable");
    check(world, "read session=ap index=zz", "contract_unmet");
    check(world, "read session=mars pin=us", "us pin session=orphaned");
}

#[test]
fn sessions_may_stay_in_a_region_that_is_drained() {
    let world = |eu| format!("policy drained=stay; us green; eu {eu}");
    let drained = world("green drained");
    check(&drained, "read session=eu", "eu session");
    check(&drained, "write session=eu", "eu session");
    check(&drained, "read", "us nearest");
    check(&drained, "read session=us", "us session");
    check(&drained, "read pin=eu", "us nearest pin=unavailable");
    check(&drained, "read pin=eu session=eu", "eu session pin=unavailable");
    check(&drained, "read pin=eu;strict session=eu", "pin_unavailable");
    check(&drained, "read pin=us session=eu", "us pin session=moved");
    check(&drained, "read session=eu tried=eu", "us nearest session=moved");
    check(&drained, "read session=eu full=eu", "us nearest session=moved");
    check(&drained, "read session=eu residency=us", "us nearest session=moved");
    check(&world("degraded drained"), "read session=eu", "eu session");
    for unfit in ["dark drained", "unknown drained", "mismatched drained", "green held drained"] {
        check(&world(unfit), "read session=eu", "us nearest session=moved");
    }
    check_passed(&drained, "read session=eu", "us not_in_session");
    check_passed(&drained, "read pin=us session=eu", "eu drained");
    check_passed(&drained, "read", "eu drained");
    let lonely = "policy drained=stay; us dark; eu green drained";
    check(lonely, "read session=eu", "eu session");
    check(lonely, "read", "no_region_available");
    check(lonely, "read session=eu pin=us;strict", "pin_unavailable");
    check(lonely, "read session=eu tried=eu", "no_region_available");
}

#[test]
fn who_stays_in_a_drained_region_is_held_to_the_contract() {
    let world = "policy drained=stay index=a1; us green a1; eu mismatched drained b2";
    check(world, "read session=eu", "us nearest session=moved");
    check(world, "read session=eu index=b2", "eu session");
    check(world, "read session=eu require=answer", "eu session");
    check(world, "read session=eu index=a1", "us nearest session=moved");
    check(world, "read session=us index=b2", "contract_unavailable");
    let mixed = "policy drained=stay index=any; us green a1; eu mixed drained a1 b2";
    check(mixed, "read session=eu", "us nearest session=moved");
    let mixed = "policy drained=stay index=any mixed=allowed; us green a1; eu mixed drained a1 b2";
    check(mixed, "read session=eu", "eu session");
}

const SPLIT: &str = "policy split=r1:1,r2:1,r3:0; us green a1/r1 a1/r2; eu green a1/r1";

#[test]
fn a_session_keeps_its_side_of_a_split() {
    check(SPLIT, "read hash=0", "us nearest release=r1");
    check(SPLIT, "read hash=0 session=us/r2", "us session release=r2");
    check(SPLIT, "read hash=1 session=us/r1", "us session release=r1");
    check(SPLIT, "read hash=1 session=eu/r1", "eu session release=r1");
    // The region counts before the release.
    check(SPLIT, "read hash=0 session=eu/r2", "eu session");
    check(SPLIT, "read hash=0 session=eu/r2 tried=eu", "us nearest session=moved release=r2");
    check(SPLIT, "read hash=0 session=mars/r2", "us nearest session=orphaned release=r2");
    check(SPLIT, "read hash=0 session=us/r2 pin=us", "us pin session=honoured release=r2");
    // A demand has left the split, and so has a release that the split gives nothing.
    check(SPLIT, "read hash=0 session=us/r2 release=r1", "us session");
    check(SPLIT, "read hash=1 session=us/r3", "us session release=r2");
    check(SPLIT, "read hash=1 session=us/r9", "us session release=r2");
    check(SPLIT, "read hash=1 session=us", "us session release=r2");
}

#[test]
fn a_session_keeps_its_release_while_another_is_rolled_out() {
    let world = "us green a1/r1 a1/r2; eu green a1/r2; ap green a1/r1";
    check(world, "read session=us/r1", "us session release=r1");
    check(world, "read session=us/r2", "us session release=r2");
    check(world, "read session=us/r1 tried=us", "ap nearest session=moved release=r1");
    check(world, "read session=us/r1 tried=us full=ap", "eu nearest session=moved");
    check("us green a1/r2; eu green a1/r2", "read session=us/r1", "us session");
    check("us green a1/r1! a1/r2", "read session=us/r1", "us session");
    check("us green a1/r1 dark:a1/r2", "read session=us/r2", "us session");
    check(world, "read session=us/nowhere", "us session");
}
