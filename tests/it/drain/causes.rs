//! Why something is drained, besides the operator's word.

use std::fs;

use serde_json::json;
use tidegate_harness::{FakeRegion, Request, TempDir, wait_until};

use super::{counts, echo, operate, policy, rest};
use crate::setting::{PolicyText, SOON, Setting};

#[test]
fn a_region_that_turns_mismatched_is_emptied_and_comes_back() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut events = Request::get(&setting.url("/sse?events=60&gap_ms=50")).stream().unwrap();
    events.read_event().unwrap().unwrap();
    let mut socket = tidegate_harness::websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    setting.regions[0].set_key("index_hash", "other");
    setting.until_verdict("near", "mismatched");
    wait_until(SOON, "it is counted", || setting.drains("near").len() == 1);
    let drain = setting.drain("near");
    assert_eq!((&drain["cause"], &drain["open_at_start"]), (&json!("mismatch"), &json!(2)));
    assert_eq!(setting.served_by(), "far");
    assert_eq!(rest(&mut events).unwrap(), (1..60).collect::<Vec<u64>>());
    wait_until(SOON, "one has ended", || setting.drain("near")["open"] == 1);
    setting.regions[0].restore_contract();
    setting.until_serving("near");
    wait_until(SOON, "it is drained no more", || setting.drains("near").is_empty());
    echo(&mut socket, "all the same");
    let labels = r#"region="near",cause="mismatch""#;
    let ended = format!(r#"tidegate_drains_total{{{labels},end="returned"}}"#);
    assert_eq!(setting.count_of(&ended), 1);
    let outcome = format!(r#"tidegate_drain_outcomes_total{{{labels},outcome="completed"}}"#);
    assert_eq!(setting.count_of(&outcome), 1);
}

#[test]
fn a_region_that_is_dark_to_probes_keeps_its_streams_and_empties() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut socket = tidegate_harness::websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    setting.regions[0].set_key("ready", false);
    setting.until_verdict("near", "dark");
    wait_until(SOON, "it is counted", || setting.drains("near").len() == 1);
    assert_eq!(setting.drain("near")["cause"], "dark");
    echo(&mut socket, "still there");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert_eq!(counts(&setting.until_empty("near"))[..4], [1, 0, 0, 1]);
}

#[test]
fn an_endpoint_that_leaves_its_list_is_seen_until_it_is_empty() {
    let directory = TempDir::new();
    let endpoints = ["one", "two"].map(FakeRegion::start);
    let [one, two] = endpoints.each_ref().map(|it| it.address().to_string());
    let file = directory.write("near.endpoints", &format!("{one}\n"));
    let listed = format!(
        "  near: {{ distance: 0, endpoints: {{ file: {}, every: 100ms }} }}",
        file.display()
    );
    let setting = Setting::listed(endpoints.into(), &listed, &PolicyText::default());
    let mut socket = tidegate_harness::websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    let next = file.with_extension("new");
    fs::write(&next, format!("{two}\n")).unwrap();
    fs::rename(&next, &file).unwrap();
    wait_until(SOON, "the other one serves", || {
        setting.get("/", &[]).header("x-served-by") == Some("two")
    });
    let removed = || setting.state()["removed"].as_array().cloned().unwrap_or_default();
    let [drain] = &*removed() else { panic!("one is removed: {:?}", removed()) };
    assert_eq!((&drain["cause"], &drain["endpoint"]), (&json!("removed"), &json!(one)), "{drain}");
    assert_eq!((&drain["open"], &drain["region"]), (&json!(1), &json!("near")));
    assert_eq!(setting.streams("kind=websocket")[0]["endpoint"], json!(one));
    assert_eq!(setting.count_of(r#"tidegate_open{region="near",kind="websocket"}"#), 1);
    echo(&mut socket, "still there");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    wait_until(SOON, "nobody is removed any more", || removed().is_empty());
    let ended = r#"tidegate_drains_total{region="near",cause="removed",end="drained"}"#;
    assert_eq!(setting.count_of(ended), 1);
}

#[test]
fn a_region_that_is_put_back_in_the_middle_serves_on_and_counts_anew() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut socket = tidegate_harness::websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "first");
    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    assert_eq!(setting.drain("near")["open"], 1);
    assert_eq!(operate(&setting, &["undrain", "near"]).code, Some(0));
    assert!(setting.drains("near").is_empty());
    assert_eq!(setting.served_by(), "near");
    echo(&mut socket, "all the same");
    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    assert_eq!(counts(&setting.drain("near")), [1, 0, 1, 0, 0, 0, 0], "what was served is no part");
    drop(socket);
    setting.until_empty("near");
}

#[test]
fn a_process_that_stops_tells_how_everything_ended() {
    let setting = Setting::of(&["near", "far"], &policy(""));
    let mut events = Request::get(&setting.url("/sse?events=20&gap_ms=50")).stream().unwrap();
    events.read_event().unwrap().unwrap();
    let mut socket =
        tidegate_harness::websocket(&setting.url("/ws"), &[("X-Region-Pin", "far")]).unwrap();
    echo(&mut socket, "first");
    setting.balancer.signal("TERM");
    wait_until(SOON, "it empties itself", || setting.drains("near").len() == 1);
    for region in ["near", "far"] {
        let drain = setting.drain(region);
        assert_eq!((&drain["cause"], &drain["open_at_start"]), (&json!("stop"), &json!(1)));
    }
    assert_eq!(rest(&mut events).unwrap(), (1..20).collect::<Vec<u64>>());
    echo(&mut socket, "last");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert!(setting.balancer.await_exit(SOON).success());
    let logs = setting.balancer.logs();
    for region in ["near", "far"] {
        let told = |it: &&str| it.contains(" drained ") && it.contains(&format!("region={region}"));
        let line = logs.lines().find(told);
        let line = line.unwrap_or_else(|| panic!("nothing is told of {region}: {logs}"));
        assert!(line.contains("cause=\"stop\"") && line.contains("completed=1"), "{line}");
    }
}
