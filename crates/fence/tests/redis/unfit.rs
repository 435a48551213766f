//! A server that would not keep a promise is not given one, and says why.

use tidegate_fence::store::Check;
use tidegate_harness::{Redis, RedisPlan};

use crate::rig::{Rig, answer, key, run, standalone};

/// Sets something that makes the server unfit, and back.
fn check(name: &str, bad: &str, good: &str, expected: Check, seen: &str) {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let (rig, written) = (Rig::founded(&standalone(&server)).await, key());
        rig.write(written).await;
        server.command(&["CONFIG", "SET", name, bad]);
        rig.until_told(expected.word()).await;
        rig.until_seen(expected, seen).await;
        server.command(&["CONFIG", "SET", name, good]);
        rig.until_told("won").await;
        assert_eq!(rig.told(written).await, "done");
    });
}

#[test]
fn a_server_that_evicts_is_refused() {
    check("maxmemory-policy", "volatile-lru", "noeviction", Check::Eviction, "volatile-lru");
}

#[test]
fn a_server_that_writes_nothing_down_is_refused() {
    check("appendonly", "no", "yes", Check::Persistence, "off");
}

#[test]
fn a_full_server_takes_no_new_keys_and_forgets_none() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let (rig, written, flying) = (Rig::founded(&standalone(&server)).await, key(), key());
        rig.write(written).await;
        let sending = rig.win(flying).await.begin().expect("in time");
        let used: u64 = server.info("used_memory").expect("a number").parse().expect("a number");
        let most = (used + used / 50).to_string();
        server.command(&["CONFIG", "SET", "maxmemory", &most]);
        rig.until_told("full").await;
        rig.until_found(Check::Memory, false).await;
        assert_eq!(rig.told(written).await, "done", "what is there is still known");
        assert_eq!(rig.told(flying).await, "busy");
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        rig.until_told("won").await;
        sending.complete(answer()).await;
        assert_eq!(rig.told(flying).await, "done");
    });
}
