//! Endpoints that come, go, and misbehave while their contract is fine.

use std::fs;
use std::path::Path;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use tidegate_harness::{FakeRegion, Fault, Load, LoadPlan, TempDir, wait_until};

use super::until_further;
use crate::setting::{PolicyText, SOON, Setting};

/// One region, `near`, whose endpoints stand in a file that is read again and again.
fn listed_in(file: &Path, endpoints: Vec<FakeRegion>) -> Setting {
    let file = file.display();
    let listed = format!("  near: {{ distance: 0, endpoints: {{ file: {file}, every: 100ms }} }}");
    let policy = PolicyText { region: String::new(), ..PolicyText::default() };
    Setting::listed(endpoints, &listed, &policy)
}

/// The addresses of the region's green endpoints.
fn green(setting: &Setting) -> Vec<String> {
    let region = setting.region("near");
    let endpoints = region["endpoints"].as_array().expect("endpoints");
    let green = endpoints.iter().filter(|it| it["verdict"] == "green");
    green.filter_map(|it| it["address"].as_str().map(str::to_owned)).collect()
}

/// Replaces a file at once, as everybody should.
fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    fs::write(&fresh, text).expect("the file can be written");
    fs::rename(&fresh, file).expect("the file can be replaced");
}

fn served(setting: &Setting) -> String {
    setting.get("/", &[]).header("x-served-by").unwrap_or("-").to_owned()
}

#[test]
fn a_file_of_endpoints_moves_traffic_and_a_broken_one_changes_nothing() {
    let directory = TempDir::new();
    let endpoints = ["a", "b"].map(FakeRegion::start);
    let [a, b] = endpoints.each_ref().map(|it| it.address().to_string());
    let file = directory.write("near.endpoints", &format!("# first\n{a}\n"));
    let setting = listed_in(&file, endpoints.into());
    wait_until(SOON, "a is there", || green(&setting) == from_ref(&a));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    assert_eq!(served(&setting), "a");
    replace(&file, &format!("{a} 2\n{b} # second\n"));
    wait_until(SOON, "both are there", || green(&setting) == [a.clone(), b.clone()]);
    replace(&file, &format!("{b}\n"));
    wait_until(SOON, "b is there", || green(&setting) == from_ref(&b));
    assert_eq!(served(&setting), "b");
    for broken in ["not an address\n", "", "127.0.0.1:1 heavy\n", "{\"a\": 1}\n"] {
        let errors = || setting.metric("tidegate_endpoint_file_errors_total{region=\"near\"}");
        let before = errors();
        replace(&file, broken);
        wait_until(SOON, "it was read", || before + 1.0 < errors());
        assert_eq!(green(&setting), from_ref(&b), "{broken:?}");
    }
    fs::remove_file(&file).expect("the file was there");
    until_further(&load, 100);
    assert_eq!(green(&setting), from_ref(&b));
    let logs = setting.balancer.stderr();
    assert!(logs.contains("endpoint file is not usable, the last list stays"), "{logs}");
    replace(&file, &format!("{a}\n{b}\n"));
    wait_until(SOON, "a is back", || green(&setting) == [a.clone(), b.clone()]);
    let report = load.stop();
    assert_eq!(report.by_status().into_keys().collect::<Vec<_>>(), [200], "{:?}", report.failures);
    assert!(setting.balancer.stderr().contains("endpoint file is usable again"));
}

#[test]
fn a_region_whose_file_is_not_there_yet_is_unknown_until_it_is() {
    let directory = TempDir::new();
    let file = directory.path().join("near.endpoints");
    let regions = ["late", "middle"].map(FakeRegion::start);
    let [late, middle] = regions.each_ref().map(FakeRegion::address);
    let shown = file.display();
    let listed = format!(
        "  near: {{ distance: 0, endpoints: {{ file: {shown}, every: 100ms }} }}\n\
         \x20 middle: {{ distance: 80, endpoints: [ \"{middle}\" ] }}"
    );
    let setting = Setting::listed(regions.into(), &listed, &PolicyText::default());
    assert_eq!(setting.verdict("near"), "unknown");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    replace(&file, &format!("{late}\n"));
    setting.until_verdict("near", "green");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
}

/// One region of two endpoints, `a` and `b`, in turn, under these rules of ejection.
fn two(ejection: &str) -> Setting {
    let policy = PolicyText {
        more: format!("ejection: {ejection}\nbalance: round_robin"),
        ..PolicyText::default()
    };
    let endpoints = ["a", "b"].map(FakeRegion::start);
    let [a, b] = endpoints.each_ref().map(FakeRegion::address);
    let listed = format!("  near: {{ distance: 0, endpoints: [ \"{a}\", \"{b}\" ] }}");
    let setting = Setting::listed(endpoints.into(), &listed, &policy);
    setting.until_green();
    setting
}

fn ejected(setting: &Setting) -> Vec<bool> {
    let region = setting.region("near");
    let endpoints = region["endpoints"].as_array().expect("endpoints");
    endpoints.iter().filter_map(|it| it["ejected"].as_bool()).collect()
}

#[test]
fn an_endpoint_that_fails_its_traffic_is_ejected_though_its_contract_is_fine_and_comes_back() {
    let setting = two("{ window: 5s, volume_min: 5, budget: 50%, base: 3s, max: 6s }");
    setting.regions[0].set_fault(Fault::Status(500));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    wait_until(SOON, "a is out", || ejected(&setting) == [true, false]);
    assert_eq!(setting.verdict("near"), "green", "its contract is fine");
    let before = setting.regions[0].requests();
    until_further(&load, 40);
    assert!(setting.regions[0].requests() - before <= 4, "it gets nothing new");
    assert_eq!(served(&setting), "b");
    assert_eq!(setting.metric("tidegate_ejections_total{region=\"near\"}").to_string(), "1");
    setting.regions[0].clear_fault();
    wait_until(SOON, "a is back", || ejected(&setting) == [false, false]);
    let before = setting.regions[0].requests();
    until_further(&load, 40);
    assert!(before + 10 < setting.regions[0].requests(), "it gets its share again");
    drop(load);
}

#[test]
fn an_endpoint_whose_contract_breaks_while_it_is_out_does_not_come_back() {
    let setting = two("{ window: 5s, volume_min: 5, budget: 50%, base: 2s, max: 2s }");
    setting.regions[0].set_fault(Fault::Status(500));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    wait_until(SOON, "a is out", || ejected(&setting) == [true, false]);
    let out = Instant::now();
    setting.regions[0].set_key("index_hash", "other");
    setting.regions[0].clear_fault();
    let verdict = || setting.region("near")["endpoints"][0]["verdict"].clone();
    wait_until(SOON, "it differs", || verdict() == "mismatched");
    wait_until(SOON, "its time is long over", || {
        assert_eq!(ejected(&setting), [true, false], "no probe has vouched for it");
        Duration::from_secs(3) < out.elapsed()
    });
    setting.regions[0].restore_contract();
    wait_until(SOON, "a is back", || ejected(&setting) == [false, false]);
    drop(load);
}

#[test]
fn a_region_whose_endpoints_are_all_ejected_is_the_last_resort() {
    let policy = PolicyText {
        more: "ejection: { window: 5s, volume_min: 5, budget: 50%, base: 2s, max: 2s }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::of(&["near", "middle"], &policy);
    setting.regions[0].set_fault(Fault::Status(503));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    wait_until(SOON, "it is held back", || setting.region("near")["held"] == "ejected");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    setting.regions[0].clear_fault();
    // Out or back by now: it answers, because nobody else does.
    assert_eq!(setting.get("/", &[]).header("x-region"), Some("near"));
    drop(load);
    setting.until_serving("near");
}

#[test]
fn without_ejection_traffic_alone_takes_nobody_out() {
    let setting = two("off");
    setting.regions[0].set_fault(Fault::Status(500));
    let load = Load::start(LoadPlan::get(&setting.url("/")));
    until_further(&load, 200);
    assert_eq!(ejected(&setting), [false, false]);
    let statuses = load.stop().by_status();
    assert!(statuses.get(&500).is_some_and(|it| 50 < *it), "{statuses:?}");
}
