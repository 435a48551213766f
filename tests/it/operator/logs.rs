//! The access log, and what must never stand in any log.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_harness::{Request, wait_until};

use super::{Beside, PolicyText, SOON, Setting, TempDir, free_address};

/// What the line of an answered request has; what has no value is left out.
const FIELDS: [&str; 25] = [
    "time",
    "target",
    "id",
    "decision",
    "client",
    "method",
    "host",
    "path",
    "protocol",
    "kind",
    "route",
    "intent",
    "status",
    "end",
    "region",
    "reason",
    "pin",
    "endpoint",
    "release_id",
    "revision",
    "attempts",
    "bytes_in",
    "bytes_out",
    "first_byte_ms",
    "total_ms",
];

/// The access line of a request, by its id.
fn line(setting: &Setting, id: &str) -> Value {
    let mut found = None;
    wait_until(SOON, "its access line", || {
        found = setting.balancer.access_lines().into_iter().find(|it| it["id"] == id);
        found.is_some()
    });
    found.expect("it was waited for")
}

#[test]
fn each_request_leaves_one_line_with_everything_about_it() {
    let setting = Setting::three(&PolicyText {
        routes: "  - { name: notes, match: { path: /notes } }\n  - { name: all }".to_owned(),
        ..PolicyText::default()
    });
    let pinned = [("X-Request-Id", "one"), ("X-Region-Pin", "middle"), ("Host", "api.example:80")];
    assert_eq!(setting.comes_to("/notes/7?token=q", &pinned), "middle pin");
    let one = line(&setting, "one");
    for field in FIELDS {
        assert!(one.get(field).is_some(), "{field} is missing: {one}");
    }
    let expected = [
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("host", json!("api.example")),
        ("path", json!("/notes/7")),
        ("protocol", json!("HTTP/1.1")),
        ("kind", json!("plain")),
        ("route", json!("notes")),
        ("intent", json!("read")),
        ("status", json!(200)),
        ("code", Value::Null),
        ("end", json!("complete")),
        ("region", json!("middle")),
        ("reason", json!("pin")),
        ("pin", json!("honoured")),
        ("endpoint", json!(setting.regions[1].address().to_string())),
        ("release_id", json!("r-2025-08-01")),
        ("revision", json!("rev-1")),
        ("attempts", json!(1)),
    ];
    for (field, value) in expected {
        assert_eq!(one[field], value, "{field}: {one}");
    }
    assert!(one["bytes_out"].as_u64().is_some_and(|it| 100 < it), "{one}");
    assert!(one["first_byte_ms"].as_u64() <= one["total_ms"].as_u64(), "{one}");
    let time = one["time"].as_str().expect("a time");
    assert!(time.len() == 24 && time.ends_with('Z') && time.chars().nth(10) == Some('T'), "{time}");
}

#[test]
fn refusals_writes_and_streams_are_told_apart() {
    let setting = Setting::three(&PolicyText::default());
    let refused = [("X-Request-Id", "refused"), ("X-Index-Hash", "none")];
    assert_eq!(setting.comes_to("/", &refused), "409 contract_unmet");
    let refused = line(&setting, "refused");
    assert_eq!((&refused["status"], &refused["code"]), (&json!(409), &json!("contract_unmet")));
    assert_eq!((&refused["end"], &refused["attempts"]), (&json!("answered"), &json!(0)));
    assert_eq!((&refused["region"], &refused["endpoint"]), (&Value::Null, &Value::Null));
    let url = setting.url("/orders");
    let write = Request::post(&url, "12345").header("X-Request-Id", "write");
    assert_eq!(write.send().expect("an answer").status, 200);
    let write = line(&setting, "write");
    assert_eq!((&write["intent"], &write["bytes_in"]), (&json!("write"), &json!(5)));
    assert_eq!(setting.get("/sse?events=2", &[("X-Request-Id", "stream")]).status, 200);
    assert_eq!(line(&setting, "stream")["kind"], "stream");
    let broken = [("X-Request-Id", "broken"), ("X-Fault", "die-mid-body")];
    let broken_request = Request::get(&setting.url("/bytes/100000"));
    let broken_request =
        broken.iter().fold(broken_request, |it, (name, value)| it.header(name, value));
    assert!(broken_request.send().is_err(), "half a body is no answer");
    assert_eq!(line(&setting, "broken")["end"], "endpoint_broken");
}

#[test]
fn every_line_is_json_with_a_decision_of_its_own() {
    let setting = Setting::three(&PolicyText::default());
    let lines = || setting.balancer.access_lines();
    for _ in 0..50 {
        assert_eq!(setting.get("/", &[]).status, 200);
    }
    wait_until(SOON, "all lines", || lines().len() == 50);
    for text in setting.balancer.stdout().lines() {
        assert!(serde_json::from_str::<Value>(text).is_ok(), "no JSON: {text}");
    }
    let word = |it: &Value, key: &str| it[key].as_str().unwrap_or("-").to_owned();
    let decisions: BTreeSet<_> = lines().iter().map(|it| word(it, "decision")).collect();
    let ids: BTreeSet<_> = lines().iter().map(|it| word(it, "id")).collect();
    assert_eq!((decisions.len(), ids.len()), (50, 50), "{decisions:?}");
    let generation = setting.state()["generation"].to_string();
    assert!(decisions.iter().all(|it| it.contains('-')), "{decisions:?} in {generation}");
}

#[test]
fn a_line_stays_json_whatever_is_in_it() {
    let setting = Setting::three(&PolicyText::default());
    let (release, revision) = ("r\"1\\\n\u{1}\u{e9}\u{1f600}", "\u{7f}</script>\t");
    setting.regions[0].set_key("release_id", release);
    setting.regions[0].set_key("revision", revision);
    let reports = |key: &str, value| setting.region("near")["endpoints"][0][key] == value;
    wait_until(SOON, "it is known", || {
        reports("release_id", release) && reports("revision", revision)
    });
    let id = "a\"b\\c{}";
    let long = format!("/{}", "x".repeat(5000));
    for path in ["/a\"b%22'(){}[]^|~\\", "/%00%0a", &long] {
        assert_eq!(setting.get(path, &[("X-Request-Id", id)]).status, 200, "{path}");
    }
    let lines = || -> Vec<Value> {
        setting.balancer.access_lines().into_iter().filter(|it| it["id"] == id).collect()
    };
    wait_until(SOON, "all lines", || lines().len() == 3);
    let lines = lines();
    assert_eq!(lines[0]["path"], "/a\"b%22'(){}[]^|~\\");
    assert!(lines.iter().all(|it| it["release_id"] == release && it["revision"] == revision));
    let cut = lines[2]["path"].as_str().map_or(0, str::len);
    assert!((1000..5000).contains(&cut), "a path is cut at some length: {cut}");
}

#[test]
fn no_line_is_lost_when_the_balancer_ends() {
    let setting = Setting::three(&PolicyText::default());
    for _ in 0..30 {
        assert_eq!(setting.get("/", &[]).status, 200);
    }
    setting.balancer.signal("TERM");
    setting.balancer.await_exit(SOON);
    assert_eq!(setting.balancer.access_lines().len(), 30);
}

#[test]
fn the_access_log_can_be_turned_off() {
    let setting = Setting::three(&PolicyText {
        more: "access_log: false".to_owned(),
        ..PolicyText::default()
    });
    assert_eq!(setting.get("/", &[]).status, 200);
    setting.balancer.signal("TERM");
    setting.balancer.await_exit(SOON);
    assert_eq!(setting.balancer.stdout(), "");
}

#[test]
fn no_secret_stands_in_any_log_however_much_is_logged() {
    let region = tidegate_harness::FakeRegion::start("near");
    let directory = TempDir::new();
    let (door, policy) = (free_address(), PolicyText::default());
    let text = policy.text(door, std::slice::from_ref(&region));
    let text = text.replace("socket: admin.sock", "");
    let path = directory.write("policy.yaml", &text).display().to_string();
    let mut balancer = Beside::start(&["--log", "trace", "run", "--policy", &path]);
    let secrets = |path: &str, more: (&str, &str)| {
        let request = Request::new("POST", &format!("http://{door}{path}?token=sesame-query"));
        let request = request
            .header("Authorization", "Bearer sesame-bearer")
            .header("Proxy-Authorization", "Basic sesame-basic")
            .header("Cookie", "session=sesame-cookie")
            .header("Idempotency-Key", "sesame-key")
            .header("X-Api-Key", "sesame-api")
            .header("X-Reply-Set-Cookie", "session=sesame-set")
            .header(more.0, more.1)
            .body("sesame-body");
        request.send()
    };
    let answered = |path: &str, more| secrets(path, more).is_ok_and(|it| it.status == 200);
    wait_until(SOON, "an answer", || answered("/orders", ("X-Other", "1")));
    // Failures are where logs become talkative.
    let failed = secrets("/orders", ("X-Fault", "die-after-executing")).expect("an answer");
    assert_eq!(failed.status, 502);
    let refused = secrets("/orders", ("X-Index-Hash", "none")).expect("an answer");
    assert_eq!(refused.status, 409);
    wait_until(SOON, "access lines", || 3 <= balancer.read("out").lines().count());
    balancer.signal("TERM");
    balancer.await_exit();
    let logs = balancer.read("out") + &balancer.read("err");
    assert!(logs.contains("/orders"), "{logs}");
    assert!(!logs.contains("sesame"), "{logs}");
}
