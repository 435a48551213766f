//! What becomes of fenced writes while their store is away, and outside a failover window.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_harness::{Redis, RedisPlan, free_address, wait_until};

use super::{is_replay, order};
use crate::setting::{PolicyText, SOON, Setting, tidegate};
use crate::traffic::{is_problem, still};

/// A policy whose store is a Redis that is not there.
fn nowhere(route: &str) -> PolicyText {
    in_redis(free_address(), route)
}

/// A policy whose store is a Redis.
fn in_redis(address: SocketAddr, route: &str) -> PolicyText {
    let redis = format!("redis: {{ topology: standalone, nodes: [\"{address}\"] }}");
    PolicyText {
        routes: format!("  - {{ name: orders, match: {{ path: / }}, fence: {route} }}"),
        ..still(&format!("fence: {{ store: {{ {redis} }}, local: {{ path: ./local.db }} }}"))
    }
}

/// The operator opens or closes the failover window.
fn window(setting: &Setting, verb: &str) {
    let (socket, reason) = (setting.socket(), "a test");
    let said = tidegate(&["window", verb, "--admin", &socket, "--reason", reason]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_write_that_cannot_be_claimed_is_refused_and_reads_do_not_notice() {
    let setting = Setting::of(&["near"], &nowhere("api"));
    for turn in 0..10 {
        let key = format!("refused-{turn}");
        is_problem(&order(&setting, "POST", &key).send().unwrap(), 503, "fence_store_down");
        assert_eq!(setting.effects(&key), (0, 0));
        assert_eq!(setting.get("/", &[]).status, 200);
    }
    let free = tidegate_harness::Request::post(&setting.url("/"), "ten").send().unwrap();
    assert_eq!(free.status, 200, "without a key there is nothing to fence");
}

#[test]
fn this_node_alone_holds_retries_back_while_the_store_is_away() {
    let setting = Setting::of(&["near"], &nowhere("{ preset: api, on_store_down: node_local }"));
    let request = order(&setting, "POST", "local");
    let first = request.send().unwrap();
    assert_eq!((first.status, first.header("x-fence")), (200, Some("degraded")));
    assert_eq!(first.json()["headers"]["x-fence"][0], "degraded");
    assert_eq!(setting.line_of(first.header("x-request-id").unwrap())["fence"], "degraded");
    is_replay(&request.send().unwrap(), &first);
    assert_eq!(setting.effects("local"), (1, 1));
    window(&setting, "open");
    let other = order(&setting, "POST", "in-the-window");
    wait_until(SOON, "nothing stands in", || other.send().unwrap().status == 503);
    assert_eq!(setting.effects("in-the-window").0, setting.effects("in-the-window").1);
    is_replay(&request.send().unwrap(), &first);
}

#[test]
fn what_one_node_did_alone_another_knows_when_the_store_is_back() {
    let redis = Redis::start(&RedisPlan::durable());
    let policy = in_redis(redis.address(), "{ preset: api, on_store_down: node_local }");
    let nodes = [Setting::of(&["near"], &policy), Setting::of(&["near"], &policy)];
    let said = tidegate(&["fence", "init", "--admin", &nodes[0].socket()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let send = |node: usize, key: &str| order(&nodes[node], "POST", key).send().unwrap();
    let is_degraded = |node: usize, key: &str| send(node, key).header("x-fence").is_some();
    wait_until(SOON, "the store is there", || !is_degraded(0, &unique()));
    redis.kill();
    wait_until(SOON, "the store is gone", || is_degraded(0, &unique()));
    let first = send(0, "alone");
    assert_eq!((first.status, first.header("x-fence")), (200, Some("degraded")));
    redis.restart();
    wait_until(SOON, "it is handed over", || {
        nodes[0].balancer.stderr().contains("writes of this node are known to the store")
    });
    wait_until(SOON, "the store is there", || !is_degraded(1, &unique()));
    is_replay(&send(1, "alone"), &first);
    is_replay(&send(0, "alone"), &first);
    assert_eq!([nodes[0].effects("alone"), nodes[1].effects("alone")], [(1, 1), (0, 0)]);
}

/// A key that no other write has.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("unique-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn endpoints_that_know_keys_themselves_may_go_without_a_fence() {
    let route = "{ preset: api, repeatable: true, on_store_down: pass }";
    let setting = Setting::of(&["near"], &nowhere(route));
    let request = order(&setting, "POST", "passed");
    for _ in 0..2 {
        let reply = request.send().unwrap();
        assert_eq!((reply.status, reply.header("x-fence")), (200, Some("bypassed")));
    }
    assert_eq!(setting.effects("passed"), (2, 2));
    window(&setting, "open");
    wait_until(SOON, "nothing is passed", || request.send().unwrap().status == 503);
}

#[test]
fn outside_a_window_writes_are_remembered_and_not_held_back() {
    let policy = PolicyText {
        routes: "  - { name: orders, match: { path: / }, \
                 fence: { preset: api, enforce: window } }"
            .to_owned(),
        ..still("fence: { store: { embedded: { path: ./fence.db } } }")
    };
    let setting = Setting::of(&["near"], &policy);
    // Regions that turn green open no window; whatever did is over with the operator's word.
    let request = order(&setting, "POST", "quiet");
    let first = request.send().unwrap();
    for _ in 0..2 {
        let reply = request.send().unwrap();
        assert_eq!((reply.status, reply.header("idempotent-replayed")), (200, None));
    }
    assert_eq!(setting.effects("quiet"), (3, 3));
    window(&setting, "open");
    wait_until(SOON, "duplicates are held back", || {
        request.send().unwrap().header("idempotent-replayed").is_some()
    });
    is_replay(&request.send().unwrap(), &first);
    let new = order(&setting, "POST", "new");
    let first = new.send().unwrap();
    is_replay(&new.send().unwrap(), &first);
    assert_eq!(setting.effects("new"), (1, 1));
}
