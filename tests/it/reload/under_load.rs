//! Fifty reloads in a row while everything runs: nothing fails, nothing is cut, nothing piles up.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use tidegate_harness::tungstenite::{Message, WebSocket};
use tidegate_harness::{
    FakeRegion, H2, Load, LoadPlan, Request, Reuse, free_address, wait_until, websocket,
};

use crate::setting::{PolicyText, SOON, Setting};

/// Reloads in a row.
const RELOADS: usize = 50;

/// Memory of a process that is its own, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).expect("a number")
}

fn echo(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).expect("it takes a message");
    assert_eq!(socket.read().expect("it echoes"), Message::text(text));
}

/// The policy of the nth reload: other routes, other regions, other endpoints.
fn nth(nth: usize, text: &str, (spare, extra): (&FakeRegion, &FakeRegion), door: &str) -> String {
    let routes =
        (0..20).map(|it| format!("  - {{ name: r{nth}-{it}, match: {{ path: /x{it} }} }}\n"));
    let routes = format!("routes:\n{}", routes.collect::<String>());
    let mut text =
        text.replace("routes:\n", &routes).replace("name: all", &format!("name: all{nth}"));
    let near = text.lines().find(|it| it.starts_with("  near:")).expect("a region").to_owned();
    if nth.is_multiple_of(2) {
        let more = near.replace("\"] }", &format!("\", \"{}\"] }}", spare.address()));
        text = text.replace(&near, &more);
    }
    if nth.is_multiple_of(3) {
        let address = extra.address();
        let region =
            format!("regions:\n  extra{nth}: {{ distance: 500, endpoints: [\"{address}\"] }}\n");
        text = text.replace("regions:\n", &region);
    }
    if nth.is_multiple_of(5) {
        text = text.replace("listeners: [", &format!("listeners: [ {{ bind: \"{door}\" }},"));
    }
    text
}

#[test]
fn fifty_reloads_in_a_row_leave_no_trace() {
    let stream = "  - { name: streams, match: { path: /sse }, stream: true }\n  - { name: all }";
    let policy = PolicyText { routes: stream.to_owned(), ..PolicyText::default() };
    let setting = Setting::of(&["near", "far"], &policy);
    let others = (FakeRegion::start("near"), FakeRegion::start("extra"));
    let door = free_address().to_string();
    let kept = Load::start(LoadPlan::get(&setting.url("/")));
    let fresh = Load::start(LoadPlan { reuse: Reuse::Fresh, ..LoadPlan::get(&setting.url("/")) });
    let url = setting.url("/sse?events=2000&gap_ms=5");
    let over_h1 = (0..4).map(|_| Request::get(&url).stream().expect("a stream"));
    let over_h1: Vec<_> = over_h1.collect();
    let client = H2::open(&setting.url("/")).expect("a connection");
    let over_h2 = (0..4).map(|_| client.stream(&Request::get(&url)).expect("a stream"));
    let over_h2: Vec<_> = over_h2.collect();
    let mut socket = websocket(&setting.url("/ws"), &[]).expect("a socket");
    let text = setting.policy();
    let mut middle = 0;
    for it in 1..=RELOADS {
        setting.write(&nth(it, &text, (&others.0, &others.1), &door));
        let (status, answer) = setting.post("/v1/reload", "", "");
        assert_eq!(status, 200, "{it}: {answer}");
        echo(&mut socket, &format!("after reload {it}"));
        assert_eq!(client.send(&Request::get(&setting.url("/"))).expect("an answer").status, 200);
        if it == RELOADS / 2 {
            middle = resident_kib(setting.balancer.pid());
        }
    }
    let last = resident_kib(setting.balancer.pid());
    assert_eq!(setting.generation().to_string(), (RELOADS + 1).to_string());
    // As many events as there are, in order, whatever changed meanwhile.
    for mut stream in over_h1 {
        let mut events = 0;
        while stream.read_event().expect("the stream goes on").is_some() {
            events += 1;
        }
        assert_eq!(events, 2000);
    }
    for mut stream in over_h2 {
        let mut events = 0;
        while stream.read_event().expect("the stream goes on").is_some() {
            events += 1;
        }
        assert_eq!(events, 2000);
    }
    for load in [kept, fresh] {
        let report = load.stop();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert_eq!(report.by_status().into_keys().collect::<BTreeSet<_>>(), [200].into());
    }
    // A world that stayed would weigh a few dozen KiB, and half of the reloads come after the middle.
    assert!(last < middle + 8 * 1024, "{middle} KiB in the middle, {last} KiB at the end");
    let scrape = setting.balancer.ask_admin("/metrics").expect("an answer").text();
    let routes = scrape.lines().filter(|it| it.starts_with("tidegate_route_requests_total{"));
    assert_eq!(routes.count(), 22, "routes that are gone have no series");
}

/// The policy with a hundred regions and a thousand routes; its number stands in one route.
fn large(nth: usize, text: &str, regions: &[FakeRegion]) -> String {
    let routes = (0..1000).map(|it| {
        format!(
            "  - {{ name: r{it}, match: {{ path: /x{it}, methods: [POST] }}, stream: {} }}\n",
            (it + nth).is_multiple_of(7)
        )
    });
    let routes = format!("routes:\n{}", routes.collect::<String>());
    let regions = regions.iter().enumerate().map(|(place, it)| {
        let distance = 100 + (place * 7 + nth) % 50;
        format!("  {}: {{ distance: {distance}, endpoints: [\"{}\"] }}\n", it.name(), it.address())
    });
    let regions = format!("regions:\n{}", regions.collect::<String>());
    text.replace("routes:\n", &routes).replace("regions:\n", &regions)
}

#[test]
fn a_large_policy_is_loaded_under_load() {
    let setting = Setting::of(
        &["near", "far"],
        &PolicyText {
            probe: "interval: 5s, timeout: 2s, stale_after: 30s".to_owned(),
            ..PolicyText::default()
        },
    );
    let names = (0..98).map(|it| format!("region-{it}"));
    let regions: Vec<_> = names.map(|it| FakeRegion::start(&it)).collect();
    let text = setting.policy();
    let load = Load::start(LoadPlan { workers: 2, ..LoadPlan::get(&setting.url("/")) });
    wait_until(SOON, "the load runs", || 100 < load.done());
    for it in 0..10 {
        setting.write(&large(it, &text, &regions));
        let (status, answer) = setting.post("/v1/reload", "", "");
        assert_eq!((status, &answer["result"]), (200, &serde_json::json!("applied")), "{answer}");
    }
    let report = load.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(report.by_status().into_keys().collect::<BTreeSet<_>>(), [200].into());
    let slowest = report.answers.iter().map(|it| it.took).max().expect("there are answers");
    assert!(slowest < Duration::from_secs(1), "a reload holds nobody up: {slowest:?}");
}
