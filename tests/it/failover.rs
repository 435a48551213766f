//! Losing regions under load, and getting them back.
#![expect(clippy::disallowed_methods, reason = "requests are told apart by when they began")]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]
#![expect(clippy::print_stdout, reason = "what was counted is shown")]

use std::time::{Duration, Instant};

use tidegate_harness::{Fault, Load, LoadPlan, LoadReport, Reuse, wait_until};

use crate::setting::{PolicyText, SOON, Setting};

mod endpoints;
mod operated;

/// A steady load of reads, already running.
fn reads(setting: &Setting, reuse: Reuse) -> Load {
    let load = Load::start(LoadPlan { reuse, ..LoadPlan::get(&setting.url("/")) });
    until_further(&load, 40);
    load
}

/// Waits until so many more requests have ended.
fn until_further(load: &Load, count: u64) {
    let enough = load.done() + count;
    wait_until(SOON, "further requests", || enough <= load.done());
}

/// Prints what became of a load, and answers the requests that failed.
fn told(what: &str, report: &LoadReport, since: Instant) -> Vec<String> {
    let bad = report.bad_since(since);
    let (answered, failed) = (report.answers.len(), report.failures.len());
    let (statuses, regions) = (report.by_status(), report.by_region());
    println!("{what}: {answered} answered {statuses:?} {regions:?}, {failed} without an answer");
    bad
}

/// Kills the nearest region by closing its listener and its connections, and brings it back.
fn refused_connections_fail_nothing(reuse: Reuse) {
    let policy = PolicyText {
        // Traffic itself takes the region out as well, and not for ten seconds.
        more: "ejection: { base: 1s, max: 1s }\nfailback: { after: 1ms, hysteresis: 1ms }"
            .to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    let began = Instant::now();
    let load = reads(&setting, reuse);
    setting.regions[0].close_listener();
    setting.regions[0].reset_connections();
    setting.until_verdict("near", "dark");
    until_further(&load, 100);
    let done = load.report().answers.len();
    setting.regions[0].resume();
    setting.until_serving("near");
    until_further(&load, 100);
    let report = load.stop();
    let bad = told(&format!("refused, {reuse:?}"), &report, began);
    assert_eq!(bad, [""; 0]);
    let regions = report.by_region();
    assert!(regions.get("middle").is_some_and(|it| 100 <= *it), "{regions:?}");
    let mut after = report.answers;
    after.sort_by_key(|it| it.began);
    let regained = after.iter().skip(done).any(|it| it.region.as_deref() == Some("near"));
    assert!(regained, "the region took its traffic back");
}

#[test]
fn refused_connections_fail_nothing_on_kept_connections() {
    refused_connections_fail_nothing(Reuse::Kept);
}

#[test]
fn refused_connections_fail_nothing_on_fresh_connections() {
    refused_connections_fail_nothing(Reuse::Fresh);
}

#[test]
fn closed_connections_fail_nothing() {
    let setting = Setting::three(&PolicyText::default());
    let began = Instant::now();
    let load = reads(&setting, Reuse::Kept);
    for _ in 0..5 {
        setting.regions[0].close_connections();
        until_further(&load, 40);
    }
    let report = load.stop();
    assert_eq!(told("closed", &report, began), [""; 0]);
}

#[test]
fn two_of_three_regions_may_go_one_after_the_other() {
    let setting = Setting::three(&PolicyText::default());
    let began = Instant::now();
    let load = reads(&setting, Reuse::Kept);
    for region in setting.regions.iter().take(2) {
        region.stop();
        setting.until_verdict(region.name(), "dark");
        until_further(&load, 40);
    }
    let report = load.stop();
    assert_eq!(told("two gone", &report, began), [""; 0]);
    assert!(report.by_region().contains_key("far"), "{:?}", report.by_region());
}

/// A hanging region: who is inside waits for the deadline of the route; nobody else does.
fn a_region_that_hangs_takes_no_request_after_its_verdict(reuse: Reuse) {
    let policy = PolicyText {
        routes: "  - { name: all, timeouts: { first_byte: 1s, total: 1s } }".to_owned(),
        probe: "interval: 200ms, timeout: 200ms, stale_after: 3s".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    let load = reads(&setting, reuse);
    let hung = Instant::now();
    setting.regions[0].set_fault(Fault::Hang);
    setting.until_verdict("near", "dark");
    let seen = Instant::now();
    until_further(&load, 100);
    setting.regions[0].clear_fault();
    // What still hangs is let go, as a restarted region would.
    setting.regions[0].close_connections();
    setting.until_serving("near");
    let back = Instant::now();
    until_further(&load, 100);
    let report = load.stop();
    let before = told(&format!("hung, {reuse:?}"), &report, hung);
    println!("{} failed before the verdict, which took {:?}", before.len(), seen - hung);
    assert_eq!(report.bad_since(seen), [""; 0], "after the verdict");
    assert!(
        report.answers.iter().any(|it| back < it.began && it.region.as_deref() == Some("near"))
    );
}

#[test]
fn a_region_that_hangs_takes_no_request_after_its_verdict_on_kept_connections() {
    a_region_that_hangs_takes_no_request_after_its_verdict(Reuse::Kept);
}

#[test]
fn a_region_that_hangs_takes_no_request_after_its_verdict_on_fresh_connections() {
    a_region_that_hangs_takes_no_request_after_its_verdict(Reuse::Fresh);
}

#[test]
fn a_region_that_comes_back_waits_until_it_has_been_green_for_a_while() {
    let policy = PolicyText {
        more: "failback: { after: 2s, hysteresis: 500ms }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    let mended = Instant::now();
    setting.regions[0].clear_fault();
    setting.until_verdict("near", "green");
    assert_eq!(setting.region("near")["held"], "recovering");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    assert_eq!(setting.comes_to("/", &[("X-Region-Pin", "near")]), "near pin");
    setting.until_serving("near");
    assert!(Duration::from_secs(2) <= mended.elapsed(), "{:?}", mended.elapsed());
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
}

#[test]
fn a_region_that_is_held_back_is_better_than_none() {
    let policy = PolicyText {
        more: "failback: { after: 1h, hysteresis: 1s }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::of(&["near", "middle"], &policy);
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    setting.regions[0].clear_fault();
    setting.until_verdict("near", "green");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    assert_eq!(setting.comes_to("/", &[]), "near last_resort");
}

#[test]
fn a_region_that_flaps_is_frozen_and_thaws() {
    let policy = PolicyText {
        more: "failback: { after: 1ms, hysteresis: 1ms, flips: 3, within: 1m, freeze: 3s }"
            .to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    for flip in 1..=3 {
        setting.regions[0].set_key("index_hash", "other");
        setting.until_verdict("near", "mismatched");
        setting.regions[0].restore_contract();
        if flip < 3 {
            setting.until_serving("near");
        }
    }
    setting.until_verdict("near", "green");
    assert_eq!(setting.region("near")["held"], "frozen");
    assert_eq!(setting.comes_to("/", &[]), "middle nearest");
    let series = "tidegate_region_held{region=\"near\",reason=\"frozen\"}";
    assert_eq!(setting.metric(series).to_string(), "1");
    setting.until_serving("near");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");
}
