//! Ownership, from outside: writes go to the owner of their partition and to nobody else.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a broken test should panic")]

use serde_json::Value;
use tidegate_harness::{Redis, RedisPlan, Reply, Request, wait_until};

use crate::setting::{PolicyText, SOON, Said, Setting, in_short, tidegate};
use crate::traffic::{is_problem, still};

mod cut_off;
mod endpoints;
mod patterns;

pub(crate) const EMBEDDED: &str = "fence: { store: { embedded: { path: ./fence.db } } }";
const TWO: &str = "mode: active_active, partitions: { map: { a: far, b: near } }";

/// A policy with a fenced and an unfenced route, whose partition stands in `X-Tenant`.
pub(crate) fn owned(ownership: &str, fence: &str) -> PolicyText {
    let orders = "name: orders, match: { path: /orders }, fence: api";
    let notes = "name: notes, match: { path: /notes }";
    let partition = "partition: { header: X-Tenant }";
    PolicyText {
        routes: format!(
            "  - {{ {orders}, {partition} }}\n  - {{ {notes}, {partition} }}\n  - {{ name: rest }}"
        ),
        ..still(&format!("{fence}\nownership: {{ {ownership} }}"))
    }
}

/// A write of a tenant; `key` names it.
pub(crate) fn write(setting: &Setting, path: &str, tenant: &str, key: &str) -> Request {
    Request::post(&setting.url(path), "ten")
        .header("X-Tenant", tenant)
        .header("Idempotency-Key", key)
        .header("X-Test-Id", key)
        .header("Authorization", "Bearer alice")
}

/// The epoch that an endpoint was told.
pub(crate) fn epoch(reply: &Reply) -> u64 {
    let told = reply.json();
    let stamped = told["headers"]["x-fence-epoch"].as_array().expect("it is stamped");
    assert_eq!(stamped.len(), 1, "once: {told}");
    stamped[0].as_str().and_then(|it| it.parse().ok()).expect("a number")
}

/// Waits until every partition may be written to.
pub(crate) fn until_open(setting: &Setting) {
    wait_until(SOON, "everything is open", || {
        let told = ownership(setting);
        let partitions = told["partitions"].as_array().expect("partitions");
        told["leased"] == true
            && !partitions.is_empty()
            && partitions.iter().all(|it| it["standing"] == "open")
    });
}

pub(crate) fn ownership(setting: &Setting) -> Value {
    setting.balancer.ask_admin("/v1/ownership").expect("an answer").json()
}

/// Moves partitions over the admin socket.
pub(crate) fn moves(setting: &Setting, words: &[&str]) -> Said {
    let socket = setting.socket();
    let mut all = vec!["ownership", "move"];
    all.extend(words);
    all.extend(["--reason", "a test", "--by", "ann", "--admin", &socket]);
    tidegate(&all)
}

#[test]
fn a_write_goes_to_the_owner_of_its_partition_and_a_read_to_the_nearest() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    for path in ["/orders", "/notes"] {
        for (tenant, owner) in [("a", "far"), ("b", "near")] {
            let key = format!("{path}-{tenant}");
            let reply = write(&setting, path, tenant, &key).send().expect("an answer");
            assert_eq!(in_short(&reply), format!("{owner} owner"));
            assert!(0 < epoch(&reply), "{path} {tenant}");
            let read = setting.get(path, &[("X-Tenant", tenant)]);
            assert_eq!(in_short(&read), "near nearest");
            assert!(read.json()["headers"].get("x-fence-epoch").is_none(), "a read has no epoch");
        }
    }
    let free = Request::post(&setting.url("/free"), "ten").send().expect("an answer");
    assert_eq!(in_short(&free), "near nearest", "a route without partition has no owner");
    let forged = write(&setting, "/notes", "a", "forged").header("X-Fence-Epoch", "99");
    assert_ne!(epoch(&forged.send().expect("an answer")), 99);
}

#[test]
fn no_pin_and_no_loss_takes_a_write_to_another_region() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    let pinned = write(&setting, "/notes", "a", "pinned").header("X-Region-Pin", "near");
    let told = in_short(&pinned.send().expect("an answer"));
    assert_eq!(told, "far owner; pin=unavailable");
    setting.operate("far", "drain");
    wait_until(SOON, "the drain is seen", || setting.region("far")["drained"] == true);
    for path in ["/orders", "/notes"] {
        let lost = write(&setting, path, "a", "lost").send().expect("an answer");
        is_problem(&lost, 503, "owner_unavailable");
    }
    assert_eq!(setting.effects("lost"), (0, 0));
    assert_eq!(in_short(&setting.get("/notes", &[("X-Tenant", "a")])), "near nearest");
    let other = write(&setting, "/notes", "b", "other").send().expect("an answer");
    assert_eq!(in_short(&other), "near owner");
}

#[test]
fn a_write_that_does_not_say_whose_it_is_is_refused() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    for path in ["/orders", "/notes"] {
        let stranger = write(&setting, path, "stranger", "x").send().expect("an answer");
        is_problem(&stranger, 404, "partition_unknown");
        let nobody = Request::post(&setting.url(path), "ten").header("Idempotency-Key", "x");
        is_problem(&nobody.send().expect("an answer"), 400, "partition_missing");
        let both = write(&setting, path, "a", "x").header("X-Tenant", "b");
        is_problem(&both.send().expect("an answer"), 400, "partition_unreadable");
    }
    assert_eq!(setting.effects("x"), (0, 0));
}

#[test]
fn a_partition_that_is_moved_is_written_to_under_a_greater_epoch() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    let before = epoch(&write(&setting, "/notes", "a", "one").send().expect("an answer"));
    let said = moves(&setting, &["a", "--to", "near"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("a: owned by near since epoch "), "{said:?}");
    let mut last = None;
    wait_until(SOON, "it is written to again", || {
        let reply = write(&setting, "/notes", "a", "two").send().expect("an answer");
        let is_there = reply.status == 200;
        assert!(is_there || in_short(&reply) == "503 ownership_moving", "{}", in_short(&reply));
        last = is_there.then_some(reply);
        is_there
    });
    let reply = last.expect("it was waited for");
    assert_eq!(in_short(&reply), "near owner");
    assert!(before < epoch(&reply));
    let same = epoch(&write(&setting, "/notes", "b", "b").send().expect("an answer"));
    assert_eq!(same, before, "what has not moved keeps its epoch");
    let told = ownership(&setting);
    let moved = &told["partitions"][0];
    assert_eq!((&moved["region"], &moved["home"]), (&"near".into(), &"far".into()), "{told}");
    assert_eq!((&moved["by"], &moved["reason"]), (&"ann".into(), &"a test".into()));
    // The store remembers, and not the process.
    setting.balancer.restart();
    until_open(&setting);
    setting.until_verdict("near", "green");
    let reply = write(&setting, "/orders", "a", "three").send().expect("an answer");
    assert_eq!(in_short(&reply), "near owner");
}

#[test]
fn a_move_that_makes_no_sense_changes_nothing() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    let before = ownership(&setting)["epoch"].clone();
    for (words, why) in [
        (&["a", "--to", "mars"][..], "the policy has no region `mars`"),
        (&["x", "--to", "near"], "no partition is called `x`"),
        (&["a", "--from", "near", "--to", "far"], "`a` is owned by `far`"),
        (&["a", "--to", "far"], "`far` owns all of that already"),
    ] {
        let said = moves(&setting, words);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    let read_only = setting.admin();
    let words = ["ownership", "move", "a", "--to", "near", "--reason", "x", "--admin", &read_only];
    assert_eq!(tidegate(&words).code, Some(1));
    assert_eq!(ownership(&setting)["epoch"], before);
    assert_eq!(moves(&setting, &["--from", "far", "--to", "near"]).code, Some(0), "all of it");
}

#[test]
fn a_balancer_without_its_store_stops_writing_before_its_lease_ends() {
    let redis = Redis::start(&RedisPlan::durable());
    let store = format!(
        "fence: {{ store: {{ redis: {{ topology: standalone, nodes: [\"{}\"] }} }} }}",
        redis.address()
    );
    let setting = Setting::of(&["near", "far"], &owned(&format!("{TWO}, lease: 2s"), &store));
    let write = || in_short(&write(&setting, "/notes", "a", "w").send().expect("an answer"));
    assert_eq!(write(), "503 ownership_unsure", "nobody has said that this Redis is the store");
    let said = tidegate(&["fence", "init", "--admin", &setting.socket()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    until_open(&setting);
    assert_eq!(write(), "far owner");
    redis.pause();
    wait_until(SOON, "it stops", || write() == "503 ownership_unsure");
    let explained = ["explain", "POST", "/notes", "-H", "X-Tenant: a", "-o", "json", "--admin"];
    let admin = setting.admin();
    let explained = tidegate(&[&explained[..], &[&admin]].concat());
    let explained: Value = serde_json::from_str(&explained.out).expect("JSON");
    assert_eq!(explained["code"], "ownership_unsure", "{explained}");
    assert_eq!(explained["ownership"]["leased"], false, "{explained}");
    assert_eq!(in_short(&setting.get("/notes", &[])), "near nearest", "reads do not notice");
    redis.resume();
    wait_until(SOON, "it writes again", || write() == "far owner");
}

#[test]
fn an_operator_sees_why_a_write_goes_where_it_goes() {
    let setting = Setting::of(&["near", "far"], &owned(TWO, EMBEDDED));
    until_open(&setting);
    let admin = setting.admin();
    let ask = ["explain", "POST", "/orders", "-H", "X-Tenant: a", "-o", "json", "--admin", &admin];
    let told: Value = serde_json::from_str(&tidegate(&ask).out).expect("JSON");
    assert_eq!((&told["region"], &told["reason"]), (&"far".into(), &"owner".into()), "{told}");
    assert_eq!(told["passed"][0]["cause"], "not_owner");
    assert_eq!(told["ownership"]["partition"], "a");
    assert_eq!(told["ownership"]["epoch"], ownership(&setting)["epoch"]);
    let said = tidegate(&["ownership", "status", "--admin", &admin]);
    assert!(said.out.starts_with("active_active, version 1, epoch "), "{said:?}");
    assert!(said.out.contains("the first table"), "{said:?}");
    let gauge = "tidegate_ownership_partitions{region=\"far\",standing=\"open\"}";
    assert_eq!(setting.metric(gauge).to_string(), "1");
}
