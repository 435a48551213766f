//! A Redis that has forgotten something takes no claims before somebody has said what that means.

use tidegate_fence::redis::{FoundError, Founded, How};
use tidegate_harness::{Redis, RedisPlan};

use crate::rig::{Rig, found, key, run, standalone};

fn script(server: &Redis, text: &str) {
    let reply = server.command(&["EVAL", text, "0"]);
    assert!(reply.clone().ok().is_ok(), "{}", reply.text());
}

#[test]
fn an_empty_store_is_cold_until_it_is_founded() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        let rig = Rig::patient(&rules);
        rig.until_told("cold").await;
        assert_eq!(rig.told(key()).await, "cold");
        assert_eq!(found(&rules, How::First).await, Ok(Founded::Now));
        rig.until_told("won").await;
        assert_eq!(found(&rules, How::First).await, Ok(Founded::Before));
        // Another process finds it as it is.
        Rig::patient(&rules).write(key()).await;
    });
}

#[test]
fn a_restart_that_forgets_is_cold() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        let (rig, written, flying) = (Rig::founded(&rules).await, key(), key());
        rig.write(written).await;
        let sending = rig.win(flying).await.begin().expect("in time");
        server.restart_empty();
        rig.until_told_of("cold", || written).await;
        assert_eq!(rig.told(key()).await, "cold");
        // Who founds it anew gets back what processes that are alive remember.
        assert_eq!(found(&rules, How::First).await, Ok(Founded::Now));
        rig.until_told_of("done", || written).await;
        assert_eq!(rig.told(flying).await, "busy");
        sending.complete(crate::rig::answer()).await;
        assert_eq!(rig.told(flying).await, "done");
    });
}

#[test]
fn a_store_that_is_flushed_is_cold_at_once() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let (rig, written) = (Rig::founded(&standalone(&server)).await, key());
        rig.write(written).await;
        server.command(&["FLUSHALL"]);
        assert_eq!(rig.told(written).await, "cold");
        assert_eq!(rig.told(key()).await, "cold");
    });
}

#[test]
fn a_store_that_has_lost_a_part_is_not_founded_as_if_it_were_new() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let rules = standalone(&server);
        let (rig, written) = (Rig::founded(&rules).await, key());
        rig.write(written).await;
        server.command(&["DEL", "fence:{007}:m"]);
        rig.until_told("cold").await;
        let lost = |missing| Err(FoundError::Lost { missing });
        assert_eq!(found(&rules, How::First).await, lost(1));
        // Nothing of it is left but a record.
        script(
            &server,
            "for _, k in ipairs(redis.call('KEYS', '*:m')) do redis.call('DEL', k) end",
        );
        assert_eq!(found(&rules, How::First).await, lost(1024));
        assert_eq!(found(&rules, How::Anew).await, Ok(Founded::Now));
        rig.until_told("won").await;
        assert_eq!(rig.told(written).await, "done");
    });
}

#[test]
fn a_store_that_goes_back_in_time_is_told_again_before_it_takes_claims() {
    run(async {
        let server = Redis::start(&RedisPlan::durable());
        let (rig, written, flying) = (Rig::founded(&standalone(&server)).await, key(), key());
        let freed = key();
        rig.write(written).await;
        let sending = rig.win(flying).await.begin().expect("in time");
        let proof = tidegate_core::fence::proof::NonDelivery::NoEndpoint;
        rig.win(freed).await.give_back(proof).await;
        // As a replica is that has heard of nothing since the beginning.
        script(
            &server,
            "for _, k in ipairs(redis.call('KEYS', 'fence:{*')) do \
             if string.sub(k, -2) == ':m' then redis.call('HSET', k, 's', '0') \
             else redis.call('DEL', k) end end",
        );
        for (key, expected) in [(written, "done"), (flying, "busy")] {
            let told = loop {
                match rig.told(key).await {
                    "sequence" => {}
                    told => break told,
                }
            };
            assert_eq!(told, expected, "it is never won again");
        }
        rig.until_told_of("won", || freed).await;
        sending.complete(crate::rig::answer()).await;
        assert_eq!(rig.told(flying).await, "done");
    });
}
