//! Sessions keep their release: their side of a split, or what they had before a rollout.

use std::collections::BTreeSet;

use tidegate_harness::{FakeRegion, wait_until};

use super::{HEADER, sticky, token_of};
use crate::setting::{PolicyText, SOON, Setting};

/// One region whose two endpoints run two releases.
fn two_releases(more: &str) -> Setting {
    let regions = ["a", "b"].map(FakeRegion::start);
    regions[0].set_key("release_id", "r1");
    regions[1].set_key("release_id", "r2");
    let [a, b] = regions.each_ref().map(FakeRegion::address);
    let listed = format!("  near: {{ distance: 0, endpoints: [ \"{a}\", \"{b}\" ] }}");
    let policy = sticky("session", "");
    let more = format!("{}\n{more}", policy.more);
    let setting = Setting::listed(regions.into(), &listed, &PolicyText { more, ..policy });
    setting.until_green();
    setting
}

/// Where many requests of one client go, when each brings along the token that it was given last.
fn walk(setting: &Setting, release: &str) -> BTreeSet<String> {
    let first = setting.get("/", &[("X-Release", release)]);
    let mut token = token_of(&first).expect("a token");
    let step = |_| {
        let reply = setting.get("/", &[(HEADER, &token), ("X-User", "the same")]);
        if let Some(new) = token_of(&reply) {
            token = new;
        }
        reply.header("x-release").unwrap().to_owned()
    };
    (0..16).map(step).collect()
}

fn only(release: &str) -> BTreeSet<String> {
    BTreeSet::from([release.to_owned()])
}

#[test]
fn a_session_keeps_its_side_of_a_split_whatever_its_hash_says() {
    let split = "releases: { split: { r1: 1, r2: 1 }, by: { header: X-User } }";
    let setting = two_releases(split);
    assert_eq!(walk(&setting, "r1"), only("r1"));
    assert_eq!(walk(&setting, "r2"), only("r2"));
}

#[test]
fn a_release_that_gets_nothing_loses_its_sessions() {
    let setting = two_releases("releases: { split: { r1: 1, r2: 0 } }");
    assert_eq!(walk(&setting, "r2"), only("r1"));
}

#[test]
fn a_session_keeps_its_release_during_a_rollout_and_goes_on_after_it() {
    let setting = two_releases("");
    assert_eq!(walk(&setting, "r1"), only("r1"));
    assert_eq!(walk(&setting, "r2"), only("r2"));
    let old = token_of(&setting.get("/", &[("X-Release", "r1")])).expect("a token");
    setting.regions[0].set_key("release_id", "r2");
    wait_until(SOON, "the rollout ends", || {
        let reply = setting.get("/", &[(HEADER, &old)]);
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("near")), "{reply:?}");
        reply.header("x-release") == Some("r2")
    });
    let after = setting.get("/", &[(HEADER, &old)]);
    assert!(token_of(&after).expect("it says another release").contains(".near.r2."));
}
