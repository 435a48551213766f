//! A claim counts when another machine has it.

use std::time::Duration;

use tidegate_fence::store::Check;
use tidegate_harness::{Redis, RedisPlan};

use crate::rig::{Rig, key, run, standalone, waiting};

fn replica_of(master: &Redis) -> Redis {
    let (ip, port) = (master.address().ip(), master.address().port());
    Redis::start(&RedisPlan::durable().setting("replicaof", &format!("{ip} {port}")))
}

fn until_copied(master: &Redis) {
    tidegate_harness::wait_until(Duration::from_secs(30), "the replica has copied", || {
        master.info("slave0").is_some_and(|it| it.contains("state=online"))
    });
}

#[test]
fn a_claim_that_too_few_replicas_have_is_not_won() {
    run(async {
        let master = Redis::start(&RedisPlan::durable());
        let replica = replica_of(&master);
        until_copied(&master);
        let rules = waiting(standalone(&master), Duration::from_secs(2));
        let (rig, before, lonely) = (Rig::founded(&rules).await, key(), key());
        rig.write(before).await;
        replica.pause();
        assert_eq!(rig.told(lonely).await, "uncopied");
        // Settling does not wait for copies, nor for claims that do.
        assert_eq!(rig.told(before).await, "done");
        rig.until_free(lonely).await;
        replica.resume();
        rig.until_told_of("won", || lonely).await;
    });
}

/// A master that was replaced, and has not been told, may hold claims that were never made.
#[test]
fn what_may_change_yet_is_told_only_by_a_master_that_others_follow() {
    run(async {
        let master = Redis::start(&RedisPlan::durable());
        let replica = replica_of(&master);
        until_copied(&master);
        let rules = waiting(standalone(&master), Duration::from_secs(2));
        let (rig, written, open) = (Rig::founded(&rules).await, key(), key());
        rig.write(written).await;
        let ticket = rig.win(open).await;
        assert_eq!((rig.told(written).await, rig.told(open).await), ("done", "busy"));
        replica.pause();
        assert_eq!((rig.told(written).await, rig.told(open).await), ("done", "uncopied"));
        replica.resume();
        rig.until_told_of("busy", || open).await;
        drop(ticket);
    });
}

#[test]
fn claims_are_refused_by_name_while_replicas_are_missing() {
    run(async {
        let master = Redis::start(&RedisPlan::durable());
        let replica = replica_of(&master);
        until_copied(&master);
        let rules = waiting(standalone(&master), Duration::from_secs(2));
        let rig = Rig::founded(&rules).await;
        replica.kill();
        rig.until_told("replicas").await;
        rig.until_seen(Check::Replicas, "0, and 1 wanted").await;
        replica.restart();
        rig.until_told("won").await;
    });
}

#[test]
fn a_master_that_became_a_replica_takes_no_claims() {
    run(async {
        let (server, other) =
            (Redis::start(&RedisPlan::durable()), Redis::start(&RedisPlan::durable()));
        let (rig, written) = (Rig::founded(&standalone(&server)).await, key());
        rig.write(written).await;
        let port = other.address().port().to_string();
        server.command(&["REPLICAOF", "127.0.0.1", &port]);
        rig.until_seen(Check::Reachable, "the server is no master").await;
        rig.until_told("down").await;
        // It has lost everything when it is a master again.
        tidegate_harness::wait_until(Duration::from_secs(30), "it is a copy", || {
            server.info("master_link_status").as_deref() == Some("up")
        });
        server.command(&["REPLICAOF", "NO", "ONE"]);
        rig.until_told("cold").await;
        assert_eq!(rig.told(written).await, "cold");
    });
}
