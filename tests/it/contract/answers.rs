//! Answers to probes that prove nothing, and the time before anything is proven.

use serde_json::json;
use tidegate_harness::{Balancer, Connection, FakeRegion, Fault, free_address, get, wait_until};

use super::endpoint;
use crate::setting::{PolicyText, SOON, Setting, TIDEGATE, in_short};

#[test]
fn an_answer_that_cannot_be_judged_makes_a_region_dark_and_says_why() {
    let faults = [
        ("html", Fault::NotJson, "the body is not a JSON object", "not_json"),
        ("huge", Fault::HugeContract, "the answer is too large", "too_large"),
        ("silent", Fault::HangContract, "no whole answer in time", "timeout"),
        ("failing", Fault::ContractStatus(503), "status 503 instead of 200", "status"),
        ("moved", Fault::ContractStatus(204), "status 204 instead of 200", "status"),
        ("gone", Fault::Refuse, "no connection", "connect"),
    ];
    let names = faults.map(|it| it.0);
    let setting = Setting::of(&[&names[..], &["last"]].concat(), &PolicyText::default());
    for (region, (_, fault, ..)) in setting.regions.iter().zip(faults) {
        region.set_fault(fault);
    }
    for (name, _, failure, outcome) in faults {
        setting.until_verdict(name, "dark");
        assert_eq!(endpoint(&setting, name)["failure"], failure, "{name}");
        let labels = format!("region=\"{name}\",outcome=\"{outcome}\"");
        let counted = setting.metric(&format!("tidegate_probes_total{{{labels}}}"));
        assert!(2.0 <= counted, "{name}: {counted}");
        // What it said before it fell silent is still known.
        assert_eq!(endpoint(&setting, name)["report"]["index_hash"], "a1b2c3", "{name}");
    }
    assert_eq!(setting.served_by(), "last");
    for region in &setting.regions {
        region.clear_fault();
    }
    for name in names {
        setting.until_serving(name);
    }
    assert_eq!(setting.served_by(), "html");
}

#[test]
fn a_contract_that_is_no_object_or_empty_is_told_apart() {
    let setting = Setting::of(&["list", "empty"], &PolicyText::default());
    setting.regions[0].set_contract(json!(["index_hash", "a1b2c3"]));
    setting.regions[1].set_contract(json!({}));
    setting.until_verdict("list", "dark");
    setting.until_verdict("empty", "mismatched");
    assert_eq!(endpoint(&setting, "list")["failure"], "the body is not a JSON object");
    assert_eq!(super::mismatches(&setting, "empty"), ["schema_rev missing", "index_hash missing"]);
}

#[test]
fn an_endpoint_that_says_it_is_not_ready_gets_nothing() {
    let setting = Setting::three(&PolicyText::default());
    setting.regions[0].set_key("ready", false);
    setting.until_verdict("near", "dark");
    assert_eq!(endpoint(&setting, "near")["failure"], "it says that it is not ready");
    assert_eq!(setting.served_by(), "middle");
    setting.regions[0].set_key("ready", true);
    setting.until_serving("near");
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn a_single_bad_answer_changes_nothing() {
    let policy = PolicyText {
        probe: "interval: 200ms, timeout: 500ms, stale_after: 20s, fall: 50".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    setting.regions[0].set_fault(Fault::ContractStatus(500));
    wait_until(SOON, "a failure", || !endpoint(&setting, "near")["failure"].is_null());
    assert_eq!(setting.verdict("near"), "green");
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn a_result_that_is_too_old_counts_no_more() {
    let policy = PolicyText {
        // It takes fifty probes to fall, and two seconds to be forgotten.
        probe: "interval: 400ms, timeout: 1s, stale_after: 1s, fall: 50".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::of(&["near", "middle"], &policy);
    setting.regions[0].set_fault(Fault::HangContract);
    setting.until_verdict("near", "unknown");
    assert_eq!(setting.served_by(), "middle");
}

/// A balancer in front of regions that have proven nothing.
fn unready(regions: Vec<FakeRegion>, policy: &PolicyText) -> Setting {
    let door = free_address();
    let balancer = Balancer::start_unready(TIDEGATE, &policy.text(door, &regions));
    // The admin address may be there a moment before the door for traffic.
    wait_until(SOON, "the door is open", || Connection::open(&door.to_string()).is_ok());
    Setting { regions, balancer, door }
}

#[test]
fn nothing_is_routable_before_it_is_proven() {
    let regions = vec![FakeRegion::start("near"), FakeRegion::start("middle")];
    regions[0].set_fault(Fault::HangContract);
    regions[1].set_fault(Fault::HangContract);
    let policy = PolicyText {
        probe: "interval: 200ms, timeout: 60s, stale_after: 80s".to_owned(),
        ..PolicyText::default()
    };
    let setting = unready(regions, &policy);
    let ready = || setting.balancer.ask_admin("/readyz").expect("an answer");
    assert_eq!(get(&setting.regions[0].url("/")).status, 200, "a bare 200 is not health");
    assert_eq!(setting.verdict("near"), "unknown");
    assert_eq!(in_short(&setting.get("/", &[])), "503 no_region_available");
    assert_eq!(in_short(&setting.get("/", &[("X-Region-Pin", "near")])), "503 no_region_available");
    assert_eq!(ready().status, 503);
    assert!(ready().header("retry-after").is_some());
    setting.regions[1].clear_fault();
    // The question that hangs is given up with its connection.
    setting.regions[1].close_connections();
    setting.until_verdict("middle", "green");
    assert_eq!(ready().status, 200);
    assert_eq!(in_short(&setting.get("/", &[])), "middle nearest");
    assert_eq!(setting.verdict("near"), "unknown");
}

#[test]
fn a_wrong_contract_is_never_served_not_even_at_the_start() {
    let regions = vec![FakeRegion::start("near"), FakeRegion::start("middle")];
    regions[0].set_fault(Fault::WrongContract);
    regions[1].set_fault(Fault::Refuse);
    let setting = unready(regions, &PolicyText::default());
    let load = tidegate_harness::Load::start(tidegate_harness::LoadPlan::get(&setting.url("/")));
    setting.until_verdict("near", "mismatched");
    setting.until_verdict("middle", "dark");
    wait_until(SOON, "some requests", || 50 < load.done());
    let report = load.stop();
    assert_eq!(report.by_status().into_keys().collect::<Vec<_>>(), [503], "{:?}", report.failures);
    assert_eq!(setting.regions[0].requests(), 0);
    let ready = setting.balancer.ask_admin("/readyz").expect("an answer");
    assert_eq!(ready.status, 200, "everybody was asked, so this is an answer and not a guess");
    setting.regions[1].clear_fault();
    setting.until_verdict("middle", "green");
    assert_eq!(in_short(&setting.get("/", &[])), "middle nearest");
}

#[test]
fn a_probe_says_whom_it_asks_and_for_what() {
    let policy = PolicyText {
        probe: "interval: 200ms, host: svc.internal".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    for region in &setting.regions {
        let headers = region.last_probe().expect("a probe");
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        assert_eq!(header("x-region-pin"), Some(region.name()));
        assert_eq!(header("host"), Some("svc.internal"));
        assert_eq!(header("accept"), Some("application/json"));
        assert!(header("user-agent").is_some_and(|it| it.starts_with("tidegate-probe/")));
    }
    assert!(setting.regions[0].open_connections() <= 1, "probes keep their connection");
}
