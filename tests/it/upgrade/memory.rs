//! What a process knows when it takes over: all that the one before it knew.

use tidegate_harness::{Fault, Load};

use super::fresh;
use crate::setting::{PolicyText, Setting};

#[test]
fn a_successor_routes_as_the_process_before_it_did() {
    let policy = PolicyText {
        probe: "interval: 200ms, timeout: 500ms, stale_after: 1m".to_owned(),
        more: "failback: { manual: true }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::of(&["mismatched", "drained", "held", "dark", "green"], &policy);
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("held", "dark");
    setting.regions[2].clear_fault();
    setting.until_verdict("held", "green");
    setting.regions[0].set_key("index_hash", "other");
    setting.until_verdict("mismatched", "mismatched");
    setting.operate("drained", "drain");
    setting.regions[3].set_fault(Fault::Refuse);
    setting.until_verdict("dark", "dark");
    let before = setting.state()["regions"].clone();
    assert_eq!(before[2]["held"], "waiting_for_operator");
    assert_eq!(setting.comes_to("/", &[]), "green nearest");

    // Each of the other regions is nearer: whoever had forgotten anything would go there, and
    // whoever knew nothing at all would refuse.
    let load = Load::start(fresh(&setting));
    setting.upgraded();
    assert_eq!(setting.comes_to("/", &[]), "green nearest");
    let report = load.stop();
    assert_eq!(report.by_region().keys().collect::<Vec<_>>(), ["green"]);
    assert_eq!(report.by_status().keys().collect::<Vec<_>>(), [&200]);
    let after = setting.state()["regions"].clone();
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        for key in ["name", "verdict", "drained", "held"] {
            assert_eq!(before[key], after[key], "{key} of {before} and {after}");
        }
        let of = |region: &serde_json::Value, key: &str| region["endpoints"][0][key].clone();
        for key in ["report", "mismatches", "verdict", "failure"] {
            assert_eq!(of(before, key), of(after, key), "{key} of {before} and {after}");
        }
        // The clocks of the two processes were read at other moments, and nothing else differs.
        let (was, is) = (before["since_ms"].as_i64().unwrap(), after["since_ms"].as_i64().unwrap());
        assert!((was - is).abs() < 100, "{was} and {is}");
    }
    assert!(after[4]["measured_us"].is_u64(), "{after}");
}

#[test]
fn what_an_operator_says_before_an_upgrade_holds_after_many() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    setting.operate("near", "drain");
    for _ in 0..3 {
        setting.upgraded();
        assert_eq!(setting.served_by(), "far");
    }
    setting.operate("near", "undrain");
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn a_session_outlives_the_process_that_signed_it() {
    let plain = PolicyText::default();
    let policy = PolicyText {
        routes: "  - { name: all, match: { path: / }, sticky: session }".to_owned(),
        more: format!("{}\nsticky: {{ }}", plain.more),
        ..plain
    };
    let setting = Setting::of(&["near", "far"], &policy);
    let reply = setting.get("/", &[("X-Region-Pin", "far; strict")]);
    let token = reply.header("X-Region-Session").unwrap().to_owned();
    for _ in 0..2 {
        setting.upgraded();
        assert_eq!(setting.comes_to("/", &[("X-Region-Session", &token)]), "far session");
    }
}
