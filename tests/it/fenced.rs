//! Fenced writes, from a client's point of view: delivered once, and what a duplicate is told.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use std::thread;
use std::time::Duration;

use tidegate_harness::{Connection, Fault, H2, Reply, Request, wait_until};

use crate::setting::{PolicyText, SOON, Setting};
use crate::traffic::{is_problem, still};

mod bodies;
mod ends;
mod grpc;
mod operators;
mod reloading;
mod store_gone;
mod without_store;

const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// A policy whose only route is fenced like this, with an embedded store.
pub(crate) fn fenced(route: &str) -> PolicyText {
    PolicyText {
        routes: format!("  - {{ name: orders, match: {{ path: / }}, fence: {route} }}"),
        ..still("fence: { store: { embedded: { path: ./fence.db } }, failover_window: 15m }")
    }
}

/// A write of somebody who has shown who it is; regions count it under its key.
fn order(setting: &Setting, method: &str, key: &str) -> Request {
    Request::new(method, &setting.url("/orders"))
        .header("Idempotency-Key", key)
        .header("X-Test-Id", key)
        .header("Authorization", "Bearer alice")
        .body("ten")
}

fn is_replay(reply: &Reply, of: &Reply) {
    assert_eq!(reply.header("idempotent-replayed"), Some("true"), "{}", reply.text());
    assert_eq!((reply.status, &reply.body), (of.status, &of.body));
    assert_eq!(reply.header("x-region"), of.header("x-region"));
    assert_eq!(reply.header("content-type"), of.header("content-type"));
}

#[test]
fn a_write_is_executed_once_and_its_answer_is_shown_again() {
    let setting = Setting::of(&["near", "far"], &fenced("api"));
    let h2 = H2::open(&setting.url("/")).unwrap();
    for method in METHODS {
        for protocol in ["h1", "h2"] {
            let key = format!("{method}-{protocol}");
            let request = order(&setting, method, &key);
            let send = || if protocol == "h1" { request.send() } else { h2.send(&request) };
            let first = send().unwrap();
            assert_eq!((first.status, first.header("x-region")), (200, Some("near")), "{key}");
            assert_eq!(first.header("idempotent-replayed"), None);
            let told = first.json();
            assert_eq!(told["headers"]["x-fence-key"][0].as_str().unwrap().len(), 64);
            assert_eq!(told["headers"]["x-fence-attempt"][0], "1");
            let via = if protocol == "h1" { "1.1 tidegate" } else { "2.0 tidegate" };
            assert_eq!(told["headers"]["via"][0], via);
            for _ in 0..3 {
                is_replay(&send().unwrap(), &first);
            }
            assert_eq!(setting.effects(&key), (1, 1), "{key}");
        }
    }
}

#[test]
fn the_access_line_says_what_the_fence_made_of_a_write() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let told = |id: &str, request: Request| {
        request.header("X-Request-Id", id).send().unwrap();
        let line = setting.line_of(id);
        (line["route"].clone(), line["fence"].clone())
    };
    assert_eq!(told("1", order(&setting, "POST", "a")), ("orders".into(), "delivered".into()));
    assert_eq!(told("2", order(&setting, "POST", "a")), ("orders".into(), "replayed".into()));
    let other = order(&setting, "POST", "a").body("eleven");
    assert_eq!(told("3", other), ("orders".into(), "key_reused".into()));
    let bare = Request::post(&setting.url("/orders"), "ten");
    assert_eq!(told("4", bare), ("orders".into(), "unnamed".into()));
    let read = Request::get(&setting.url("/orders"));
    assert_eq!(told("5", read), ("orders".into(), serde_json::Value::Null));
}

#[test]
fn a_duplicate_meets_its_answer_wherever_it_would_be_sent() {
    let setting = Setting::of(&["near", "far"], &fenced("api"));
    let request = order(&setting, "POST", "moved");
    let first = request.send().unwrap();
    setting.operate("near", "drain");
    wait_until(SOON, "reads move", || setting.served_by() == "far");
    is_replay(&request.send().unwrap(), &first);
    assert_eq!(setting.effects("moved"), (1, 1));
}

#[test]
fn a_key_is_one_request_of_one_sender() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, tenant: X-Tenant }"));
    let request = order(&setting, "POST", "one");
    assert_eq!(request.send().unwrap().status, 200);
    let other = [
        request.clone().body("eleven"),
        Request::post(&setting.url("/orders?x=1"), "ten")
            .header("Idempotency-Key", "\"one\"")
            .header("Authorization", "Bearer alice"),
    ];
    for other in other {
        is_problem(&other.send().unwrap(), 422, "fence_key_reused");
    }
    assert_eq!(setting.effects("one"), (1, 1));
    let bob = Request::post(&setting.url("/orders"), "ten")
        .header("Idempotency-Key", "one")
        .header("Authorization", "Bearer bob");
    let tenant = order(&setting, "POST", "one").header("X-Tenant", "acme");
    for (place, other) in [bob, tenant].into_iter().enumerate() {
        let reply = other.header("X-Test-Id", &format!("other-{place}")).send().unwrap();
        assert_eq!((reply.status, reply.header("idempotent-replayed")), (200, None));
    }
}

#[test]
fn nobody_is_shown_the_answer_to_a_stranger() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let request = Request::post(&setting.url("/orders"), "ten")
        .header("Idempotency-Key", "anonymous")
        .header("X-Test-Id", "anonymous");
    assert_eq!(request.send().unwrap().status, 200);
    let reply = request.send().unwrap();
    is_problem(&reply, 409, "fence_already_executed");
    assert_eq!(reply.json()["first_status"], 200);
    assert_eq!(setting.effects("anonymous"), (1, 1));
}

#[test]
fn a_write_without_a_key_is_not_fenced_unless_the_route_wants_one() {
    for (route, required) in [("api", false), ("{ preset: api, required: true }", true)] {
        let setting = Setting::of(&["near"], &fenced(route));
        let bare = Request::post(&setting.url("/orders"), "ten").header("X-Test-Id", "bare");
        for _ in 0..2 {
            let reply = bare.send().unwrap();
            if required {
                is_problem(&reply, 400, "fence_bad_key");
            } else {
                assert_eq!((reply.status, reply.header("x-region")), (200, Some("near")));
            }
        }
        assert_eq!(setting.effects("bare").1, if required { 0 } else { 2 });
        for bad in ["", "a b", "\"half", &"x".repeat(256)] {
            let reply = bare.clone().header("Idempotency-Key", bad).send().unwrap();
            is_problem(&reply, 400, "fence_bad_key");
        }
        let twice = bare.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
        is_problem(&twice.send().unwrap(), 400, "fence_bad_key");
        assert_eq!(setting.get("/", &[("Idempotency-Key", "a b")]).status, 200, "reads are free");
    }
}

#[test]
fn a_duplicate_of_a_write_under_way_waits_for_its_answer() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, coalesce_wait: 10s }"));
    setting.regions[0].set_latency(Duration::from_millis(700));
    let request = order(&setting, "POST", "slow");
    let replies: Vec<_> = thread::scope(|scope| {
        let sending: Vec<_> = (0..5).map(|_| scope.spawn(|| request.send().unwrap())).collect();
        sending.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(setting.effects("slow"), (1, 1));
    let replayed = |it: &&Reply| it.header("idempotent-replayed").is_some();
    assert_eq!(replies.iter().filter(replayed).count(), 4);
    let first = replies.iter().find(|it| !replayed(it)).unwrap();
    replies.iter().filter(replayed).for_each(|it| is_replay(it, first));
}

#[test]
fn a_duplicate_that_does_not_wait_is_told_when_to_come_again() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, coalesce_wait: 0s }"));
    setting.regions[0].set_latency(Duration::from_secs(2));
    let request = order(&setting, "POST", "slow");
    thread::scope(|scope| {
        let first = scope.spawn(|| request.send().unwrap());
        wait_until(SOON, "the endpoint has it", || setting.regions[0].received_count("slow") == 1);
        let reply = request.send().unwrap();
        assert_eq!((reply.status, &reply.json()["code"]), (409, &"fence_in_flight".into()));
        assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() <= 5);
        is_replay_soon(&request, &first.join().unwrap());
    });
    assert_eq!(setting.effects("slow"), (1, 1));
}

/// Whoever has an answer meets it again at once: it is remembered before it is given.
fn is_replay_soon(request: &Request, first: &Reply) {
    is_replay(&request.send().unwrap(), first);
}

#[test]
fn an_answer_that_is_too_long_to_keep_is_not_shown_again() {
    let setting = Setting::of(&["near"], &fenced("{ preset: api, keep: 1KiB }"));
    let long = order(&setting, "POST", "long").header("X-Pad", &"x".repeat(2000));
    let first = long.send().unwrap();
    assert!(first.status == 200 && 2000 < first.body.len());
    let reply = long.send().unwrap();
    is_problem(&reply, 409, "fence_already_executed");
    assert_eq!(setting.effects("long"), (1, 1));
}

#[test]
fn an_unfenced_connection_is_used_again_after_a_fenced_write() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    for turn in 0..6 {
        let key = format!("kept-{}", turn / 2);
        assert_eq!(connection.send(&order(&setting, "POST", &key)).unwrap().status, 200);
        assert_eq!(connection.send(&Request::get(&setting.url("/"))).unwrap().status, 200);
    }
    for turn in 0..3 {
        assert_eq!(setting.effects(&format!("kept-{turn}")), (1, 1));
    }
}

#[test]
fn what_endpoints_answer_decides_what_is_remembered() {
    let setting = Setting::of(&["near"], &fenced("api"));
    // The status of the first answer, and what the duplicate comes to: a replay, a fresh
    // execution, or a doubt.
    for (status, second) in [
        (201, "replay"),
        (204, "replay"),
        (404, "replay"),
        (422, "replay"),
        (500, "replay"),
        (401, "again"),
        (409, "again"),
        (429, "again"),
        (502, "doubt"),
        (503, "doubt"),
        (504, "doubt"),
    ] {
        let key = format!("status-{status}");
        let url = setting.url(&format!("/status/{status}"));
        let request = Request::post(&url, "ten")
            .header("Idempotency-Key", &key)
            .header("Authorization", "Bearer alice");
        let first = request.send().unwrap();
        assert_eq!((first.status, first.header("x-region")), (status, Some("near")));
        let reply = request.send().unwrap();
        match second {
            "replay" => is_replay(&reply, &first),
            "again" => {
                assert_eq!((reply.status, reply.header("idempotent-replayed")), (status, None));
            }
            _ => is_problem(&reply, 409, "fence_outcome_unknown"),
        }
    }
}

#[test]
fn a_webhook_is_told_the_status_and_nothing_else() {
    let setting = Setting::of(
        &["near"],
        &fenced("{ preset: webhook, sender: standard_webhooks, unsigned: true }"),
    );
    let hook = |id: &str| {
        Request::post(&setting.url("/hook"), "{}").header("webhook-id", id).header("X-Test-Id", id)
    };
    assert_eq!(hook("msg_1").send().unwrap().status, 200);
    let reply = hook("msg_1").send().unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{}", reply.text());
    assert_eq!(reply.header("idempotent-replayed"), Some("true"));
    assert_eq!(setting.effects("msg_1"), (1, 1));
    setting.regions[0].set_fault(Fault::Status(500));
    assert_eq!(hook("msg_2").send().unwrap().status, 500);
    setting.regions[0].clear_fault();
    assert_eq!(hook("msg_2").send().unwrap().status, 200, "its sender's retry is the only way");
    is_problem(&Request::post(&setting.url("/hook"), "{}").send().unwrap(), 400, "fence_bad_key");
}
