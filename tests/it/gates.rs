//! Gates, by the real balancer and regions that show their evidence and spoil it.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

mod probes;

use serde_json::Value;
use tidegate_harness::{Fault, Redis, RedisPlan, wait_until};

use crate::setting::{PolicyText, SOON, Setting, tidegate};

/// Ten questions, on one line.
pub(crate) fn questions() -> String {
    let question = |at: usize| format!("{{ id: q{at}, question: \"What is {at}?\" }}");
    format!("[{}]", (0..10).map(question).collect::<Vec<_>>().join(", "))
}

/// A policy with gates that ask for all that these lines name.
pub(crate) fn gated(lines: &[&str]) -> PolicyText {
    let mut policy = PolicyText::default();
    policy.more.push_str("\ngates:\n  regions_min: 1\n");
    for line in lines {
        policy.more.extend(["  ", line, "\n"]);
    }
    PolicyText { probe: "interval: 200ms, timeout: 500ms, stale_after: 30s".to_owned(), ..policy }
}

pub(crate) const BLOBS: &str = "blobs: { path: /manifest, every: 200ms, timeout: 2s, age: 20s }";
const QUEUE: &str = "queue: { oldest_max: 5s, depth_max: 100 }";

/// Both gates as the balancer tells them.
pub(crate) fn gates(setting: &Setting, query: &str) -> Value {
    setting.balancer.ask_admin(&format!("/v1/gates{query}")).expect("an answer").json()
}

/// What keeps a gate shut, each as `condition owner light code`.
pub(crate) fn shut_by(setting: &Setting, gate: &str, query: &str) -> Vec<String> {
    let gates = gates(setting, query);
    let evidence = gates[gate]["evidence"].as_array().cloned().unwrap_or_default();
    let red = evidence.iter().filter(|it| it["light"] != "green");
    let word = |it: &Value, name: &str| it[name].as_str().unwrap_or("-").to_owned();
    red.map(|it| ["condition", "owner", "light", "code"].map(|name| word(it, name)).join(" "))
        .collect()
}

/// Waits until exactly this keeps the planned gate shut.
pub(crate) fn until_shut_by(setting: &Setting, expected: &[&str]) {
    let what = format!("the gate is shut by {expected:?}");
    let mut last = Vec::new();
    let is_so = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(SOON, &what, || {
            last = shut_by(setting, "planned", "");
            last == expected
        });
    }));
    assert!(is_so.is_ok(), "{what}, but by {last:?}: {}", gates(setting, ""));
}

#[test]
fn the_planned_gate_follows_what_regions_show() {
    let setting = Setting::of(&["near", "far"], &gated(&[BLOBS, QUEUE]));
    until_shut_by(&setting, &[]);
    let [near, far] = &setting.regions[..] else { panic!("two regions") };

    far.set_blob("doc/3.txt", Some(b"new"));
    far.set_key("blob_manifest", far.blob_summary());
    until_shut_by(&setting, &["blobs far red different"]);
    let said = gates(&setting, "");
    let blobs = said["planned"]["evidence"].as_array().unwrap().iter();
    let reason = blobs.filter(|it| it["owner"] == "far").find(|it| it["condition"] == "blobs");
    let reason = reason.unwrap()["reason"].as_str().unwrap();
    assert!(reason.ends_with("1 keys differ: doc/3.txt is extra"), "{reason}");
    near.set_blob("doc/3.txt", Some(b"new"));
    near.set_key("blob_manifest", near.blob_summary());
    until_shut_by(&setting, &[]);

    // A list that is not what the contract says of it.
    far.set_blob("doc/3.txt", Some(b"other"));
    until_shut_by(&setting, &["blobs far contradictory contradictory"]);
    far.set_blob("doc/3.txt", Some(b"new"));

    let queue = serde_json::json!({ "depth": 7, "oldest_age_ms": 9000, "watermark": "w1" });
    near.set_key("queue", queue);
    until_shut_by(&setting, &["queue near red old"]);
    near.set_key("queue", serde_json::json!({ "depth": 0, "oldest_age_ms": 0 }));
    until_shut_by(&setting, &[]);

    far.set_key("index_hash", "other");
    until_shut_by(&setting, &["contract far red mismatched", "index_hash far red unreported"]);
    far.restore_contract();
}

#[test]
fn a_planned_move_with_a_dirty_queue_tail_is_refused() {
    let setting = Setting::of(&["near", "far"], &gated(&[QUEUE]));
    until_shut_by(&setting, &[]);
    let promote = |more: &[&str]| {
        let admin = setting.admin();
        let verb = ["promote", "--dry-run", "--from", "near", "--to", "far", "--admin", &admin];
        tidegate(&[&verb, more].concat())
    };
    let clean = promote(&[]);
    assert_eq!(clean.code, Some(0), "{clean:?}");
    assert!(clean.out.contains("nothing was moved"), "{clean:?}");

    setting.regions[0].set_key("queue", serde_json::json!({ "depth": 101, "oldest_age_ms": 10 }));
    until_shut_by(&setting, &["queue near red deep"]);
    let dirty = promote(&[]);
    assert_eq!(dirty.code, Some(1), "{dirty:?}");
    assert!(dirty.out.contains("red queue of near: 101 entries wait"), "{dirty:?}");
    let dirty = promote(&["--output", "json"]);
    let said: Value = serde_json::from_str(&dirty.out).expect("JSON");
    assert_eq!((dirty.code, said["writes"].as_bool()), (Some(1), Some(false)));
    let real = tidegate(&["promote", "--to", "far", "--admin", &setting.admin()]);
    assert_eq!(real.code, Some(2), "nothing but a dry run is built: {real:?}");
}

#[test]
fn with_a_dead_peer_reads_open_and_writes_wait_for_the_loss_policy() {
    let blocked = gated(&[QUEUE]);
    let allowed = gated(&[QUEUE, "emergency: { loss: allow }"]);
    for (policy, writes) in [(blocked, false), (allowed, true)] {
        let setting = Setting::of(&["near", "far"], &policy);
        until_shut_by(&setting, &[]);
        assert_eq!(shut_by(&setting, "emergency", "")[0], "lost policy red nobody_lost");
        setting.regions[0].set_fault(Fault::Refuse);
        setting.until_verdict("near", "dark");
        let opens = || {
            let gates = gates(&setting, "?from=near&to=far");
            let emergency = &gates["emergency"];
            (emergency["reads"] == true, emergency["writes"] == true)
        };
        assert_eq!(opens(), (true, writes), "{}", gates(&setting, "?from=near&to=far"));
        let said = tidegate(&["gate", "status", "--admin", &setting.admin()]);
        assert_eq!(said.code, Some(1), "the planned gate is shut: {said:?}");
        let told = if writes { "reads open, writes open" } else { "reads open, writes shut" };
        assert!(said.out.contains(told), "{said:?}");
    }
}

#[test]
fn what_is_asked_of_the_gates_in_vain() {
    let setting = Setting::of(&["near"], &PolicyText::default());
    let answer = setting.balancer.ask_admin("/v1/gates").expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("no_gates")));
    drop(setting);
    let setting = Setting::of(&["near", "far"], &gated(&[]));
    until_shut_by(&setting, &[]);
    for query in ["?to=mars", "?via=near", "?from=near&to=near"] {
        let answer = setting.balancer.ask_admin(&format!("/v1/gates{query}")).expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad_query")));
    }
    let said = tidegate(&["gate", "explain", "luck", "--admin", &setting.admin()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let said = tidegate(&["gate", "explain", "contract", "--admin", &setting.admin()]);
    assert!(said.out.contains("contract of far is green"), "{said:?}");
}

#[test]
fn a_fence_that_has_just_begun_keeps_the_gate_shut() {
    let mut policy = gated(&["fence: { age: 30s }"]);
    policy.more.push_str("fence: { store: { embedded: { path: fence.db } } }\n");
    let setting = Setting::of(&["near"], &policy);
    // It answers, and remembers nothing yet of the day before.
    until_shut_by(&setting, &["fence fence (embedded) red cold"]);
    let said = tidegate(&["gate", "explain", "fence", "--admin", &setting.admin()]);
    assert!(said.out.contains("history: it remembers 0.0 h"), "{said:?}");
}

#[test]
fn the_master_switch_and_the_regions_that_stay_keep_it_shut() {
    let setting = Setting::of(&["near", "far"], &gated(&["locked: true"]));
    until_shut_by(&setting, &["switch policy red off"]);
    assert_eq!(shut_by(&setting, "planned", "?from=near&to=far"), ["switch policy red off"]);
    drop(setting);
    let mut policy = gated(&[]);
    policy.more = policy.more.replace("regions_min: 1", "regions_min: 2");
    let setting = Setting::of(&["near", "far"], &policy);
    until_shut_by(&setting, &[]);
    let moved = shut_by(&setting, "planned", "?from=near&to=far");
    assert_eq!(moved, ["regions_on policy red too_few"]);
}

#[test]
fn a_region_that_has_to_stay_on_is_not_drained() {
    let setting = Setting::of(&["near", "far"], &gated(&[]));
    let socket = setting.socket();
    let drain = |arguments: &[&str]| {
        let said = tidegate(&[&["drain"], arguments, &["--admin", &socket]].concat());
        (said.code, said.err)
    };
    assert_eq!(drain(&["near"]).0, Some(0));
    let (code, said) = drain(&["far"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("0 regions would stay on, and 1 are wanted"), "{said}");
    assert_eq!(setting.served_by(), "far");
    let last = setting.regions[1].address().to_string();
    assert_eq!(drain(&["far", &last]).0, Some(1), "its only endpoint is all of it");
    assert_eq!(drain(&["far", "--force"]).0, Some(0));
    drop(setting);
    let setting = Setting::of(&["near", "far"], &gated(&["locked: true"]));
    let said = tidegate(&["drain", "near", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("`gates.locked` forbids to move traffic"), "{said:?}");
}

#[test]
fn a_list_that_is_too_large_or_none_keeps_the_gate_shut() {
    let small = BLOBS.replace("every:", "max_size: 512B, every:");
    let setting = Setting::of(&["near", "far"], &gated(&[&small]));
    until_shut_by(&setting, &[]);
    let far = &setting.regions[1];
    far.set_blob(&"long".repeat(120), Some(b""));
    until_shut_by(&setting, &["blobs far red no_manifest"]);
    far.set_blob(&"long".repeat(120), None);
    until_shut_by(&setting, &[]);
    far.set_blob("two\nlines", Some(b""));
    until_shut_by(&setting, &["blobs far red no_manifest"]);
    let said = tidegate(&["gate", "explain", "blobs", "--admin", &setting.admin()]);
    assert!(said.out.contains("blobs of far is red: line 5 is not"), "{said:?}");
}

#[test]
fn a_queue_that_is_a_stream_is_read_from_its_server() {
    let server = Redis::start(&RedisPlan::default());
    let address = server.address();
    let stream = format!(
        "queue: {{ depth_max: 2, oldest_max: 1h, age: 20s, streams: {{ far: {{ \
         node: \"{address}\", key: jobs, group: workers, every: 200ms }} }} }}"
    );
    let setting = Setting::of(&["near", "far"], &gated(&[&stream]));
    until_shut_by(&setting, &["queue far red unread"]);
    server.command(&["XGROUP", "CREATE", "jobs", "workers", "$", "MKSTREAM"]);
    until_shut_by(&setting, &[]);
    for _ in 0..3 {
        server.command(&["XADD", "jobs", "*", "do", "it"]);
    }
    until_shut_by(&setting, &["queue far red deep"]);
    server.kill();
    until_shut_by(&setting, &["queue far red unread"]);
}
