//! Live subsets: endpoints of one region that report different versions during a rollout.

use tidegate_harness::{FakeRegion, wait_until};

use super::check;
use crate::setting::{PolicyText, SOON, Setting};

/// `near` has two endpoints, `near-a` and `near-b`; `middle` has one.
fn rollout(prepare: impl Fn(&FakeRegion, &FakeRegion), policy: &PolicyText) -> Setting {
    let regions = ["near-a", "near-b", "middle"].map(FakeRegion::start);
    prepare(&regions[0], &regions[1]);
    let [a, b, middle] = regions.each_ref().map(FakeRegion::address);
    let listed = format!(
        "  near: {{ distance: 0, endpoints: [ \"{a}\", \"{b}\" ] }}\n\
         \x20 middle: {{ distance: 80, endpoints: [ \"{middle}\" ] }}"
    );
    let setting = Setting::listed(regions.into(), &listed, policy);
    let proven = || {
        let endpoints = setting.region("near")["endpoints"].clone();
        endpoints.as_array().is_some_and(|list| list.iter().all(|it| it["verdict"] != "unknown"))
    };
    wait_until(SOON, "every endpoint is judged", proven);
    setting.until_verdict("middle", "green");
    setting
}

fn expecting(expect: &str) -> PolicyText {
    PolicyText { expect: expect.to_owned(), ..PolicyText::default() }
}

/// The endpoints that answer many requests with this header.
fn served(setting: &Setting, headers: &[(&str, &str)]) -> Vec<String> {
    let mut served: Vec<_> = (0..16)
        .map(|_| setting.get("/", headers).header("x-served-by").unwrap_or("-").to_owned())
        .collect();
    served.sort();
    served.dedup();
    served
}

#[test]
fn each_version_reaches_exactly_the_endpoints_that_report_it() {
    let set = |a: &FakeRegion, b: &FakeRegion| {
        a.set_key("release_id", "r1");
        b.set_key("release_id", "r2");
        b.set_key("index_hash", "blue");
        b.set_key("model_tag", "m2");
    };
    let setting = rollout(set, &expecting("    schema_rev: sc-12"));
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(served(&setting, &[]), ["near-a", "near-b"]);
    assert_eq!(served(&setting, &[("X-Release", "r1")]), ["near-a"]);
    assert_eq!(served(&setting, &[("X-Release", "r2")]), ["near-b"]);
    assert_eq!(served(&setting, &[("X-Index-Hash", "blue")]), ["near-b"]);
    assert_eq!(served(&setting, &[("X-Index-Hash", "a1b2c3")]), ["near-a"]);
    assert_eq!(served(&setting, &[("X-Model-Tag", "m2"), ("X-Release", "r2")]), ["near-b"]);
    check(&setting, "/", &[("X-Model-Tag", "m2"), ("X-Release", "r1")], "409 contract_unmet");
    assert_eq!(setting.get("/", &[("X-Release", "r2")]).header("x-release"), Some("r2"));
    // What they report now counts, not what they reported once.
    setting.regions[0].set_key("release_id", "r2");
    wait_until(SOON, "a is rolled out", || served(&setting, &[("X-Release", "r2")]).len() == 2);
    check(&setting, "/", &[("X-Release", "r1")], "409 release_unknown");
}

#[test]
fn an_endpoint_that_differs_gets_nothing_while_its_neighbour_keeps_the_region_green() {
    let set = |_: &FakeRegion, b: &FakeRegion| b.set_key("index_hash", "blue");
    let setting = rollout(set, &PolicyText::default());
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(served(&setting, &[]), ["near-a"]);
    assert_eq!(served(&setting, &[("X-Index-Hash", "blue")]), ["near-b"]);
    assert_eq!(served(&setting, &[("X-Region-Pin", "near")]), ["near-a"]);
}

#[test]
fn a_region_whose_endpoints_disagree_is_mixed_and_passed_over() {
    let set = |_: &FakeRegion, b: &FakeRegion| b.set_key("index_hash", "blue");
    let policy = expecting("    index_hash: { agree: true }");
    let setting = rollout(set, &policy);
    setting.until_verdict("near", "mixed");
    assert_eq!(setting.region("near")["disputed"], serde_json::json!(["index_hash"]));
    check(&setting, "/", &[], "middle nearest");
    check(&setting, "/", &[("X-Region-Pin", "near")], "middle nearest; pin=unavailable");
    // Who names the version is not confused by the others.
    assert_eq!(served(&setting, &[("X-Index-Hash", "blue")]), ["near-b"]);
    let series = "tidegate_region_verdict{region=\"near\",verdict=\"mixed\"}";
    assert!((setting.metric(series) - 1.0).abs() < f64::EPSILON);
    setting.regions[0].set_key("index_hash", "blue");
    setting.until_serving("near");
    check(&setting, "/", &[], "near nearest");
    assert_eq!(served(&setting, &[]), ["near-a", "near-b"]);
}

#[test]
fn a_mixed_region_may_be_allowed_to_answer() {
    let set = |_: &FakeRegion, b: &FakeRegion| b.set_key("index_hash", "blue");
    let policy = PolicyText {
        contract: "  mixed: allow".to_owned(),
        ..expecting("    index_hash: { agree: true }")
    };
    let setting = rollout(set, &policy);
    setting.until_verdict("near", "mixed");
    check(&setting, "/", &[], "near nearest");
    assert_eq!(served(&setting, &[]), ["near-a", "near-b"]);
}

#[test]
fn a_region_may_ask_for_a_share_of_green_endpoints() {
    let set = |_: &FakeRegion, b: &FakeRegion| b.set_key("index_hash", "blue");
    let setting = rollout(set, &PolicyText::default());
    assert_eq!(setting.verdict("near"), "green");
    drop(setting);
    let regions = ["a", "b", "middle"].map(FakeRegion::start);
    set(&regions[0], &regions[1]);
    let [a, b, middle] = regions.each_ref().map(FakeRegion::address);
    let listed = format!(
        "  near: {{ distance: 0, green_share: 51%, endpoints: [ \"{a}\", \"{b}\" ] }}\n\
         \x20 middle: {{ distance: 80, endpoints: [ \"{middle}\" ] }}"
    );
    let setting = Setting::listed(regions.into(), &listed, &PolicyText::default());
    setting.until_verdict("near", "mismatched");
    check(&setting, "/", &[], "middle nearest");
    setting.regions[1].restore_contract();
    setting.until_serving("near");
    check(&setting, "/", &[], "near nearest");
}
