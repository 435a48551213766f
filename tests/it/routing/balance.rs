//! Which endpoint of a region answers, and which release a client belongs to.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_harness::{FakeRegion, Fault, Reply, wait_until};

use crate::setting::{PolicyText, SOON, Setting};
use crate::traffic::still;

/// One region, `near`, of endpoints with these weights.
fn one_region(weights: &[u16], policy: &PolicyText) -> Setting {
    let endpoints: Vec<_> =
        (0..weights.len()).map(|it| FakeRegion::start(&format!("e{it}"))).collect();
    let listed = endpoints
        .iter()
        .zip(weights)
        .map(|(it, weight)| format!("{{ address: \"{}\", weight: {weight} }}", it.address()));
    let listed = listed.collect::<Vec<_>>().join(", ");
    let listed = format!("  near: {{ distance: 0, {}, endpoints: [ {listed} ] }}", policy.region);
    let setting = Setting::listed(endpoints, &listed, policy);
    setting.until_green();
    setting
}

fn balance(rule: &str) -> PolicyText {
    PolicyText { region: format!("balance: {rule}"), ..PolicyText::default() }
}

/// The endpoint that answers a GET with these headers.
fn served(setting: &Setting, headers: &[(&str, &str)]) -> String {
    let reply = setting.get("/", headers);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("x-served-by").unwrap_or("-").to_owned()
}

fn shares(setting: &Setting, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(served(setting, &[])).or_default() += 1;
    }
    shares
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn turns_are_taken_by_weight() {
    let setting = one_region(&[3, 1], &balance("round_robin"));
    assert_eq!(shares(&setting, 40), counts([("e0", 30), ("e1", 10)]));
    setting.regions[1].set_key("index_hash", "other");
    wait_until(SOON, "one is left", || {
        setting.region("near")["endpoints"][1]["verdict"] != "green"
    });
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(shares(&setting, 8), counts([("e0", 8)]));
}

#[test]
fn an_endpoint_with_fewer_open_requests_is_preferred() {
    let setting = one_region(&[1, 1], &balance("least_requests"));
    let hanging = super::hang(&setting, 1);
    let asked = || setting.regions.iter().position(|it| it.requests() == 1);
    wait_until(SOON, "one hangs", || asked().is_some());
    let busy = asked().expect("it was waited for");
    let idle = if busy == 0 { "e1" } else { "e0" };
    let shares = shares(&setting, 20);
    // A request that has just ended may still be counted when the next one comes.
    assert!(shares.get(idle).is_some_and(|it| 15 <= *it), "{shares:?}");
    drop(hanging);
}

#[test]
fn an_endpoint_with_a_lower_peak_of_latency_is_preferred() {
    let setting = one_region(&[1, 1], &balance("peak_ewma"));
    setting.regions[0].set_latency(Duration::from_millis(150));
    let shares = shares(&setting, 20);
    assert!(shares.get("e0").is_none_or(|it| *it <= 2), "{shares:?}");
    assert!(shares.get("e1").is_some_and(|it| 18 <= *it), "{shares:?}");
}

#[test]
fn equal_hashes_meet_at_one_endpoint_and_stay_when_another_leaves() {
    let setting =
        one_region(&[1, 1, 1], &balance("{ hash: { by: { header: X-User }, bound: 1000% } }"));
    let users: Vec<String> = (0..30).map(|it| format!("user-{it}")).collect();
    let placed =
        || -> Vec<String> { users.iter().map(|it| served(&setting, &[("X-User", it)])).collect() };
    let first = placed();
    assert_eq!(placed(), first, "everybody stays");
    for name in ["e0", "e1", "e2"] {
        assert!(first.iter().any(|it| it == name), "nobody is at {name}: {first:?}");
    }
    setting.regions[2].set_fault(Fault::Refuse);
    wait_until(SOON, "one is gone", || setting.region("near")["endpoints"][2]["verdict"] == "dark");
    for (before, after) in first.iter().zip(placed()) {
        assert!(after != "e2" && (before == "e2" || *before == after), "{before} -> {after}");
    }
}

fn split(policy: &str) -> Setting {
    let policy = PolicyText {
        more: format!("releases: {{ {policy} }}\nfailback: {{ after: 1ms, hysteresis: 1ms }}"),
        ..balance("round_robin")
    };
    let regions = ["near-a", "near-b"].map(FakeRegion::start);
    regions[0].set_key("release_id", "r1");
    regions[1].set_key("release_id", "r2");
    let [a, b] = regions.each_ref().map(FakeRegion::address);
    let listed = format!("  near: {{ distance: 0, endpoints: [ \"{a}\", \"{b}\" ] }}");
    let setting = Setting::listed(regions.into(), &listed, &policy);
    setting.until_green();
    setting
}

/// The release that answers a user.
fn release(setting: &Setting, user: &str) -> String {
    let reply = setting.get("/", &[("X-User", user)]);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("x-release").unwrap_or("-").to_owned()
}

#[test]
fn a_split_gives_each_release_its_share_and_keeps_everybody_on_one_side() {
    let setting = split("split: { r1: 3, stable: 0, r2: 1 }, by: { header: X-User }");
    let users: Vec<String> = (0..200).map(|it| format!("user-{it}")).collect();
    let releases: Vec<String> = users.iter().map(|it| release(&setting, it)).collect();
    let canary = releases.iter().filter(|it| *it == "r2").count();
    assert!((30..=70).contains(&canary), "{canary} of 200 are on r2, a quarter was asked for");
    assert_eq!(releases.iter().filter(|it| *it == "r1").count(), 200 - canary);
    for (user, before) in users.iter().zip(&releases).take(40) {
        assert_eq!(release(&setting, user), *before, "{user} moved");
    }
}

#[test]
fn a_client_whose_release_is_nowhere_gets_another_one() {
    let setting = split("aliases: { next: r2 }, split: { next: 1 }, by: { header: X-User }");
    assert_eq!(release(&setting, "anna"), "r2");
    let demanded = setting.get("/", &[("X-User", "anna"), ("X-Release", "r1")]);
    assert_eq!(demanded.header("x-release"), Some("r1"), "a demand beats the split");
    setting.regions[1].set_fault(Fault::Refuse);
    wait_until(SOON, "r2 is gone", || setting.region("near")["endpoints"][1]["verdict"] == "dark");
    assert_eq!(release(&setting, "anna"), "r1");
}

#[test]
fn a_client_stays_on_its_side_of_the_split_when_its_request_is_tried_elsewhere() {
    // What a client is recognised by is read before we add to the very same header.
    let more = "releases: { split: { r1: 1, r2: 1 }, by: { header: X-Forwarded-For } }\n\
                trusted_peers: [ 127.0.0.1 ]";
    let regions = ["near-a", "near-b", "far-a", "far-b"].map(FakeRegion::start);
    for (region, release) in regions.iter().zip(["r1", "r2", "r1", "r2"]) {
        region.set_key("release_id", release);
    }
    let [a, b, c, d] = regions.each_ref().map(FakeRegion::address);
    let listed = format!(
        "  near: {{ distance: 0, endpoints: [ \"{a}\", \"{b}\" ] }}\n\
         \x20 far: {{ distance: 80, endpoints: [ \"{c}\", \"{d}\" ] }}"
    );
    let setting = Setting::listed(regions.into(), &listed, &still(more));
    setting.until_green();
    let clients: Vec<String> = (1..=16).map(|it| format!("192.0.2.{it}")).collect();
    let releases = || -> Vec<(String, String)> {
        let replies = clients.iter().map(|it| setting.get("/", &[("X-Forwarded-For", it)]));
        let told = |reply: Reply| {
            let header = |name| reply.header(name).unwrap_or("-").to_owned();
            (header("x-region"), header("x-release"))
        };
        replies.map(told).collect()
    };
    let before = releases();
    assert!(before.iter().all(|(region, _)| region == "near"), "{before:?}");
    for gone in &setting.regions[..2] {
        gone.set_fault(Fault::Refuse);
    }
    let after = releases();
    assert!(after.iter().all(|(region, _)| region == "far"), "{after:?}");
    assert!(before.iter().zip(&after).all(|(one, two)| one.1 == two.1), "{before:?} {after:?}");
}
