//! Writes go to the owner of their partition and to nobody else.

use super::{check, check_passed};

#[test]
fn a_write_goes_to_its_owner_or_nowhere() {
    check("us green; eu green", "write owner=eu", "eu owner epoch=7");
    check("us green; eu dark", "write owner=eu", "owner_unavailable");
    check("us green; eu green drained", "write owner=eu", "owner_unavailable");
    check("us dark; eu dark", "write owner=eu", "no_region_available");
    check("us green; eu green", "write owner=eu full=eu", "capacity_exhausted");
    check("us green; eu green", "write owner=eu tried=eu", "region_unreachable");
    check("us green; eu green held=frozen", "write owner=eu", "eu owner epoch=7");
    check("us green a1; eu green a1", "write owner=eu residency=us", "owner_unavailable");
    check("us green; eu green", "write owner=mars", "ownership_unsure");
}

#[test]
fn no_wish_takes_a_write_elsewhere() {
    check("us green; eu green", "write owner=eu pin=us", "eu owner pin=unavailable epoch=7");
    check("us green; eu green", "write owner=eu pin=us;strict", "pin_unavailable");
    check("us green; eu green", "write owner=eu pin=eu", "eu pin epoch=7");
    check("us green; eu green", "write owner=eu session=us", "eu owner session=moved epoch=7");
    check("us green; eu green", "write owner=eu session=eu", "eu session epoch=7");
    check("us green a1; eu green b2", "write owner=eu index=a1", "owner_unavailable");
}

#[test]
fn a_balancer_that_is_not_certain_writes_nowhere() {
    let world = "us green; eu green";
    check(world, "write owner=eu unleased", "ownership_unsure");
    check(world, "write owner=eu unknown", "ownership_unsure");
    check(world, "write owner=eu gone-back", "ownership_unsure");
    check(world, "write owner=eu opening", "ownership_moving");
    check(world, "write owner=eu outdated", "ownership_outdated");
    check_passed(world, "write owner=eu unleased", "us not_owner; eu not_owner");
    check_passed(world, "write owner=eu", "us not_owner");
}

#[test]
fn reads_of_a_partition_stay_with_its_owner_unless_they_may_cross() {
    let world = "us green a1; eu green b2; ap green a1";
    check(world, "read owner=eu", "eu owner");
    check(world, "read owner=eu unleased", "eu owner");
    check(world, "read owner=eu opening", "eu owner");
    check(world, "read owner=eu crossing=a1", "eu owner");
    check("us green a1; eu dark; ap green a1", "read owner=eu", "owner_unavailable");
    check("us green a1; eu dark; ap green a1", "read owner=eu crossing=a1", "us nearest");
    check("us green b2; eu dark; ap green a1", "read owner=eu crossing=a1", "ap nearest");
    check("us green b2; eu dark; ap green -", "read owner=eu crossing=a1", "owner_unavailable");
    check(world, "read owner=eu crossing=a1 tried=eu", "us nearest");
    check("us green a1 b2; eu dark", "read owner=eu crossing=a1", "owner_unavailable");
    check("us green a1; eu dark", "write owner=eu crossing=a1", "owner_unavailable");
}
