//! Where requests go: distance, pins, residency, capacity, routes.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use std::time::Duration;

use tidegate_harness::{Connection, FakeRegion, Fault, Request, wait_until};

use crate::setting::{PolicyText, SOON, Setting, in_short};

mod balance;
mod demands;
mod headers;
mod subsets;

/// Asks for the same thing and compares what it comes to.
fn check(setting: &Setting, path: &str, headers: &[(&str, &str)], expected: &str) {
    assert_eq!(setting.comes_to(path, headers), expected, "GET {path} {headers:?}");
}

fn routes(lines: &str) -> PolicyText {
    PolicyText { routes: lines.to_owned(), ..PolicyText::default() }
}

#[test]
fn the_nearest_green_region_answers_and_the_next_when_it_is_down() {
    let setting = Setting::three(&PolicyText::default());
    check(&setting, "/", &[], "near nearest");
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    check(&setting, "/", &[], "middle nearest");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    check(&setting, "/", &[], "far nearest");
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("far", "dark");
    check(&setting, "/", &[], "503 no_region_available");
}

#[test]
fn a_pin_is_a_wish_that_says_what_became_of_it() {
    let setting = Setting::three(&PolicyText::default());
    check(&setting, "/", &[("X-Region-Pin", "far")], "far pin");
    check(&setting, "/", &[("x-region-pin", " middle ")], "middle pin");
    check(&setting, "/", &[("X-Region-Pin", "far; strict")], "far pin");
    check(&setting, "/", &[("X-Region-Pin", "nowhere")], "near nearest; pin=unknown");
    check(&setting, "/", &[("X-Region-Pin", "FAR")], "near nearest; pin=unknown");
    // What is not understood is counted, not overlooked.
    check(&setting, "/", &[("X-Region-Pin", "")], "near nearest; pin=unknown");
    check(&setting, "/", &[("X-Region-Pin", "far; maybe")], "near nearest; pin=unknown");
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("far", "dark");
    check(&setting, "/", &[("X-Region-Pin", "far")], "near nearest; pin=unavailable");
    let count = |outcome| setting.metric(&format!("tidegate_pins_total{{outcome=\"{outcome}\"}}"));
    let counts = [count("honoured"), count("unknown"), count("unavailable")];
    assert_eq!(counts.map(|it| it.to_string()), ["3", "4", "1"]);
}

#[test]
fn a_strict_pin_is_met_or_refused() {
    let setting = Setting::three(&PolicyText::default());
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("far", "dark");
    check(&setting, "/", &[("X-Region-Pin", "middle; STRICT")], "middle pin");
    check(&setting, "/", &[("X-Region-Pin", "nowhere; strict")], "503 pin_unavailable");
    let reply = setting.get("/", &[("X-Region-Pin", "far;strict")]);
    assert_eq!(in_short(&reply), "503 pin_unavailable");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let retry_after = reply.header("retry-after").and_then(|it| it.parse::<u32>().ok());
    assert!(retry_after.is_some_and(|it| 0 < it), "{reply:?}");
    assert_eq!(
        reply.header("proxy-status"),
        Some("tidegate; error=destination_unavailable; details=\"pin_unavailable\"")
    );
    let problem = reply.json();
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["type"], "about:blank");
    assert!(problem["title"].as_str().is_some_and(|it| it.contains("pinned region")), "{problem}");
    assert_eq!(setting.regions[2].requests(), 0);
}

#[test]
fn a_route_may_require_its_pin_or_ignore_it() {
    let setting = Setting::three(&routes(
        "  - { name: must, match: { path: /must }, pin: require }\n\
         \x20 - { name: never, match: { path: /never }, pin: ignore }\n\
         \x20 - { name: all }",
    ));
    setting.regions[2].set_fault(Fault::Refuse);
    setting.until_verdict("far", "dark");
    check(&setting, "/must", &[], "near nearest");
    check(&setting, "/must", &[("X-Region-Pin", "middle")], "middle pin");
    check(&setting, "/must", &[("X-Region-Pin", "far")], "503 pin_unavailable");
    check(&setting, "/must/x", &[("X-Region-Pin", "far")], "503 pin_unavailable");
    check(&setting, "/never", &[("X-Region-Pin", "middle")], "near nearest");
    check(&setting, "/never", &[("X-Region-Pin", "far; strict")], "near nearest");
    check(&setting, "/mustnt", &[("X-Region-Pin", "far")], "near nearest; pin=unavailable");
}

#[test]
fn only_listed_networks_may_pin() {
    let more = "pins_from: [ 10.0.0.0/8 ]\ntrusted_peers: [ 127.0.0.1 ]";
    let policy = PolicyText { more: more.to_owned(), ..PolicyText::default() };
    let setting = Setting::three(&policy);
    let asked = |client: &str, pin| {
        setting.comes_to("/", &[("X-Region-Pin", pin), ("X-Forwarded-For", client)])
    };
    check(&setting, "/", &[("X-Region-Pin", "far")], "near nearest");
    check(&setting, "/", &[("X-Region-Pin", "far; strict")], "near nearest");
    assert_eq!(asked("10.1.2.3", "far"), "far pin");
    assert_eq!(asked("192.0.2.1, 10.1.2.3", "far"), "far pin");
    assert_eq!(asked("10.1.2.3, 192.0.2.1", "far"), "near nearest", "the nearest hop counts");
    assert_eq!(asked("192.0.2.1", "far"), "near nearest");
}

#[test]
fn who_is_not_trusted_cannot_borrow_an_address_that_may_pin() {
    let policy =
        PolicyText { more: "pins_from: [ 10.0.0.0/8 ]".to_owned(), ..PolicyText::default() };
    let setting = Setting::three(&policy);
    let headers = [("X-Region-Pin", "far"), ("X-Forwarded-For", "10.1.2.3")];
    check(&setting, "/", &headers, "near nearest");
}

#[test]
fn equally_near_regions_are_taken_by_name() {
    let regions = ["bb", "aa", "cc"].map(FakeRegion::start);
    let listed = regions
        .each_ref()
        .map(|it| format!("  {}: {{ distance: 7, endpoints: [\"{}\"] }}", it.name(), it.address()));
    let setting = Setting::listed(regions.into(), &listed.join("\n"), &PolicyText::default());
    setting.until_green();
    check(&setting, "/", &[], "aa nearest");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("aa", "dark");
    check(&setting, "/", &[], "bb nearest");
}

#[test]
fn a_route_takes_what_it_matches_and_the_rest_is_not_found() {
    let setting = Setting::of(
        &["near"],
        &routes(
            "  - { name: exact, match: { exact: /v1/exact } }\n\
             \x20 - { name: below, match: { path: /v1/below, methods: [GET] } }\n\
             \x20 - { name: host, match: { hosts: [ api.example.com ] } }",
        ),
    );
    let found = "near nearest";
    let missing = "404 no_route";
    check(&setting, "/v1/exact", &[], found);
    check(&setting, "/v1/exact?q=1", &[], found);
    check(&setting, "/v1/exact/x", &[], missing);
    check(&setting, "/v1/below/x", &[], found);
    check(&setting, "/v1/belowx", &[], missing);
    check(&setting, "/", &[("Host", "API.example.com:8080")], found);
    check(&setting, "/", &[("Host", "example.com")], missing);
    let post = Request::post(&setting.url("/v1/below"), "x").send().expect("an answer");
    assert_eq!(in_short(&post), missing);
    assert_eq!(post.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        post.header("proxy-status"),
        Some("tidegate; error=destination_not_found; details=\"no_route\"")
    );
}

#[test]
fn residency_is_never_left() {
    let policy = PolicyText {
        routes: "  - { name: eu, match: { path: /eu }, residency: eu }\n  - { name: all }"
            .to_owned(),
        more: "residency: { eu: [ middle ] }\nfailback: { after: 1ms, hysteresis: 1ms }".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    check(&setting, "/eu", &[], "middle nearest");
    check(&setting, "/eu", &[("X-Region-Pin", "near")], "middle nearest; pin=unavailable");
    check(&setting, "/eu", &[("X-Region-Pin", "near; strict")], "503 pin_unavailable");
    check(&setting, "/", &[("X-Region-Pin", "near")], "near pin");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    check(&setting, "/eu", &[], "503 residency_unavailable");
    check(&setting, "/eu", &[("X-Index-Hash", "a1b2c3")], "503 contract_unavailable");
    check(&setting, "/", &[], "near nearest");
}

#[test]
fn residency_holds_for_retries_too() {
    let policy = PolicyText {
        routes: "  - { name: eu, residency: eu }".to_owned(),
        more: "residency: { eu: [ middle ] }\nejection: off".to_owned(),
        // Nobody notices for a while that the region is gone.
        probe: "interval: 5s, timeout: 500ms, stale_after: 20s".to_owned(),
        ..PolicyText::default()
    };
    let setting = Setting::three(&policy);
    setting.regions[1].set_fault(Fault::Refuse);
    check(&setting, "/", &[], "503 region_unreachable");
    assert_eq!(setting.regions[0].requests() + setting.regions[2].requests(), 0);
}

#[test]
fn a_route_that_only_requires_an_answer_has_one_left_when_no_contract_matches() {
    let policy =
        routes("  - { name: any, match: { path: /any }, require: answer }\n  - { name: all }");
    let regions = ["near", "middle"].map(FakeRegion::start);
    regions[0].set_key("index_hash", "other");
    let setting = Setting::in_front_of(regions.into(), &policy);
    setting.until_verdict("near", "mismatched");
    setting.until_verdict("middle", "green");
    check(&setting, "/any", &[], "middle nearest");
    check(&setting, "/any", &[("X-Region-Pin", "near")], "near pin");
    check(&setting, "/", &[("X-Region-Pin", "near")], "middle nearest; pin=unavailable");
    setting.regions[1].set_fault(Fault::Refuse);
    setting.until_verdict("middle", "dark");
    check(&setting, "/any", &[], "near nearest");
    check(&setting, "/", &[], "503 no_region_available");
}

/// Requests that get no answer; they are open until they are dropped.
fn hang(setting: &Setting, count: usize) -> Vec<Connection> {
    let request =
        format!("GET / HTTP/1.1\r\nhost: {}\r\nx-fault: hang-requests\r\n\r\n", setting.door);
    let open = |_| {
        let mut connection = Connection::open(&setting.url("")).expect("a connection");
        connection.send_raw(request.as_bytes()).expect("it is sent");
        connection
    };
    (0..count).map(open).collect()
}

fn open_requests(setting: &Setting) -> Vec<u64> {
    let state = setting.state();
    let regions = state["regions"].as_array().expect("regions");
    regions.iter().filter_map(|it| it["open"].as_u64()).collect()
}

#[test]
fn a_full_region_spills_to_the_next_and_takes_over_again() {
    let policy = PolicyText { region: "capacity: 2".to_owned(), ..PolicyText::default() };
    let setting = Setting::three(&policy);
    let mut open = hang(&setting, 2);
    wait_until(SOON, "two are open", || open_requests(&setting) == [2, 0, 0]);
    check(&setting, "/", &[], "middle spill");
    check(&setting, "/", &[("X-Region-Pin", "nowhere")], "middle spill; pin=unknown");
    check(&setting, "/", &[("X-Region-Pin", "near")], "near pin");
    open.extend(hang(&setting, 2));
    wait_until(SOON, "four are open", || open_requests(&setting) == [2, 2, 0]);
    check(&setting, "/", &[], "far spill");
    open.extend(hang(&setting, 2));
    wait_until(SOON, "six are open", || open_requests(&setting) == [2, 2, 2]);
    let reply = setting.get("/", &[]);
    assert_eq!(in_short(&reply), "503 capacity_exhausted");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    let status = reply.header("proxy-status").unwrap_or_default();
    assert!(status.starts_with("tidegate; error=connection_limit_reached"), "{status}");
    drop(open);
    wait_until(SOON, "nothing is open", || open_requests(&setting) == [0, 0, 0]);
    check(&setting, "/", &[], "near nearest");
}

#[test]
fn the_measured_nearest_is_the_one_whose_contract_comes_first() {
    let policy = PolicyText {
        routes: "  - { name: all, strategy: measured }".to_owned(),
        more: "measured: { band: 20%, hold: 100ms, stale_after: 5s }".to_owned(),
        ..PolicyText::default()
    };
    let regions = ["near", "middle"].map(FakeRegion::start);
    regions[0].set_contract_latency(Duration::from_millis(80));
    let listed = regions.each_ref().map(|it| {
        let distance = if it.name() == "near" { 0 } else { 500 };
        format!("  {}: {{ distance: {distance}, endpoints: [\"{}\"] }}", it.name(), it.address())
    });
    let setting = Setting::listed(regions.into(), &listed.join("\n"), &policy);
    setting.until_green();
    wait_until(SOON, "middle is measured nearer", || setting.served_by() == "middle");
    let measured = |name| setting.region(name)["measured_us"].as_u64().expect("a measure");
    assert!(measured("middle") < measured("near"), "{}", setting.state());
    assert!(80_000 <= measured("near"), "{}", setting.state());
    setting.regions[0].set_contract_latency(Duration::ZERO);
    setting.regions[1].set_contract_latency(Duration::from_millis(200));
    wait_until(SOON, "near is measured nearer", || setting.served_by() == "near");
}
