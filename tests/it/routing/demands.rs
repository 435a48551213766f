//! Contract headers: they choose regions, beat pins, and are refused where nobody meets them.

use serde_json::{Value, json};
use tidegate_harness::{FakeRegion, Fault, wait_until};

use super::check;
use crate::setting::{PolicyText, SOON, Setting, in_short};

/// `middle` has another index, `far` another schema, both another release, `far` another model.
fn versions() -> Setting {
    let policy = PolicyText {
        more: "releases: { aliases: { canary: r-far } }\nfailback: { after: 1ms, hysteresis: 1ms }"
            .to_owned(),
        ..PolicyText::default()
    };
    let regions = ["near", "middle", "far"].map(FakeRegion::start);
    let [_near, middle, far] = &regions;
    middle.set_key("release_id", "r-middle");
    middle.set_key("index_hash", "blue");
    far.set_key("release_id", "r-far");
    far.set_key("model_tag", "m-far");
    far.set_key("schema_rev", 13);
    let setting = Setting::in_front_of(regions.into(), &policy);
    setting.until_verdict("middle", "mismatched");
    setting.until_verdict("far", "mismatched");
    setting
}

#[test]
fn each_contract_header_finds_the_region_that_reports_it() {
    let setting = versions();
    check(&setting, "/", &[], "near nearest");
    check(&setting, "/", &[("X-Index-Hash", "blue")], "middle nearest");
    check(&setting, "/", &[("X-Index-Hash", "a1b2c3")], "near nearest");
    check(&setting, "/", &[("X-Schema-Rev", "13")], "far nearest");
    check(&setting, "/", &[("X-Schema-Rev", "sc-12")], "near nearest");
    // Only a demanded key is judged by the demand: the other regions still differ elsewhere.
    check(&setting, "/", &[("X-Model-Tag", "m-far")], "503 contract_unavailable");
    check(&setting, "/", &[("X-Model-Tag", "m-far"), ("X-Schema-Rev", "13")], "far nearest");
    check(&setting, "/", &[("X-Release", "r-middle")], "503 contract_unavailable");
    let of_middle = [("X-Release", "r-middle"), ("X-Index-Hash", "blue")];
    check(&setting, "/", &of_middle, "middle nearest");
    assert_eq!(setting.get("/", &of_middle).header("x-release"), Some("r-middle"));
    check(&setting, "/", &[("X-Release", "r-2025-08-01")], "near nearest");
}

#[test]
fn a_release_can_be_demanded_by_its_other_name() {
    let setting = versions();
    setting.regions[2].restore_contract();
    setting.regions[2].set_key("release_id", "r-far");
    setting.until_verdict("far", "green");
    check(&setting, "/", &[("X-Release", "r-far")], "far nearest");
    check(&setting, "/", &[("X-Release", "canary")], "far nearest");
    check(&setting, "/", &[("X-Release", "Canary")], "409 release_unknown");
    check(&setting, "/", &[("X-Release", "r-1999")], "409 release_unknown");
}

#[test]
fn a_demand_beats_a_pin() {
    let setting = versions();
    let pinned = |pin| [("X-Index-Hash", "blue"), ("X-Region-Pin", pin)];
    check(&setting, "/", &pinned("middle"), "middle pin");
    check(&setting, "/", &pinned("near"), "middle nearest; pin=unavailable");
    check(&setting, "/", &pinned("near; strict"), "503 pin_unavailable");
    assert_eq!(setting.regions[0].requests(), 0);
}

/// One difference as the body of a refusal has it.
fn difference(region: &str, key: &str, asked: &str, found: &str) -> Value {
    json!({ "region": region, "key": key, "asked": asked, "found": found })
}

#[test]
fn what_nobody_has_is_refused_with_the_difference_of_every_region() {
    let setting = versions();
    let reply = setting.get("/", &[("X-Index-Hash", "green"), ("X-Schema-Rev", "13")]);
    assert_eq!(in_short(&reply), "409 contract_unmet");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("retry-after"), None, "trying again would not help");
    let status = reply.header("proxy-status");
    let expected = "tidegate; error=destination_not_found; details=\"contract_unmet\"";
    assert_eq!(status, Some(expected));
    assert_eq!(
        reply.json()["differences"],
        json!([
            difference("near", "schema_rev", "13", "sc-12"),
            difference("near", "index_hash", "green", "a1b2c3"),
            difference("middle", "schema_rev", "13", "sc-12"),
            difference("middle", "index_hash", "green", "blue"),
            difference("far", "index_hash", "green", "a1b2c3"),
        ])
    );
    setting.regions[2].remove_key("model_tag");
    setting.regions[1].set_key("model_tag", json!(["a"]));
    wait_until(SOON, "it was asked again", || {
        let reply = setting.get("/", &[("X-Model-Tag", "m")]);
        let differences = reply.json()["differences"].clone();
        reply.status == 409
            && differences
                == json!([
                    difference("near", "model_tag", "m", "gpt-4o-2025-07-15"),
                    difference("middle", "model_tag", "m", "(array)"),
                    difference("far", "model_tag", "m", "(missing)"),
                ])
    });
}

#[test]
fn what_only_a_region_that_is_down_has_is_unavailable_and_may_come_back() {
    let setting = versions();
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    let reply = setting.get("/", &[("X-Index-Hash", "blue")]);
    assert_eq!(in_short(&reply), "503 contract_unavailable");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    let found: Vec<_> =
        reply.json()["differences"].as_array().into_iter().flatten().cloned().collect();
    assert!(found.iter().all(|it| it["region"] != "middle"), "middle has it: {found:?}");
    setting.regions[1].clear_fault();
    setting.until_verdict("middle", "mismatched");
    let reply = setting.get("/", &[("X-Index-Hash", "blue")]);
    assert_eq!(reply.header("x-region"), Some("middle"));
}

#[test]
fn a_demand_holds_on_a_route_that_only_requires_an_answer() {
    let policy = PolicyText {
        routes: "  - { name: any, require: answer }".to_owned(),
        ..PolicyText::default()
    };
    let regions = ["near", "middle"].map(FakeRegion::start);
    regions[1].set_key("index_hash", "blue");
    regions[1].set_key("schema_rev", "sc-1");
    let setting = Setting::in_front_of(regions.into(), &policy);
    setting.until_verdict("middle", "mismatched");
    // The schema differs too, and this route does not mind.
    check(&setting, "/", &[("X-Index-Hash", "blue")], "middle nearest");
    check(&setting, "/", &[("X-Index-Hash", "red")], "409 contract_unmet");
}
