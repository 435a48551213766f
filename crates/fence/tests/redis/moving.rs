//! Masters that change places, and slots that move: nothing is won twice.

use std::process::Command;
use std::time::Duration;

use tidegate_core::fence::key::FenceKey;
use tidegate_core::policy::fencing::{RedisPassword, RedisRules, RedisTopology};
use tidegate_fence::store::Check;
use tidegate_harness::{RedisCluster, RedisPlan, RedisSentinels};

use crate::rig::{Rig, key, rules, run, waiting};

/// Some writes that are answered, and some that are on their way.
async fn some_writes(rig: &Rig) -> (Vec<FenceKey>, Vec<(FenceKey, tidegate_fence::Sending)>) {
    let (mut written, mut flying) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let (one, other) = (key(), key());
        rig.write(one).await;
        written.push(one);
        flying.push((other, rig.win(other).await.begin().expect("in time")));
    }
    (written, flying)
}

async fn check(
    rig: &Rig,
    written: Vec<FenceKey>,
    flying: Vec<(FenceKey, tidegate_fence::Sending)>,
) {
    for key in written {
        rig.until_told_of("done", || key).await;
    }
    for (key, sending) in flying {
        rig.until_told_of("busy", || key).await;
        sending.complete(crate::rig::answer()).await;
        rig.until_told_of("done", || key).await;
    }
}

fn group() -> (RedisSentinels, RedisRules) {
    let group = RedisSentinels::start(&RedisPlan::durable().password("secret").min_replicas(1));
    let topology = RedisTopology::Sentinel { master: group.name().into() };
    let password = Some(RedisPassword("secret".into()));
    let rules = RedisRules { password, ..rules(topology, &group.sentinel_addresses()) };
    (group, waiting(rules, Duration::from_secs(2)))
}

#[test]
fn the_death_of_a_master_loses_no_claim() {
    run(async {
        let (group, rules) = group();
        let rig = Rig::founded(&rules).await;
        let (written, flying) = some_writes(&rig).await;
        let old = group.master_address().expect("a master");
        group.master().expect("it is one of ours").kill();
        group.until_promoted(old);
        rig.until_told("won").await;
        check(&rig, written, flying).await;
    });
}

#[test]
fn a_master_that_is_sent_away_is_left() {
    run(async {
        let (group, rules) = group();
        let rig = Rig::founded(&rules).await;
        let (written, flying) = some_writes(&rig).await;
        let old = group.master_address().expect("a master");
        let sentinel = group.sentinels.first().expect("a Sentinel");
        assert_eq!(sentinel.command(&["SENTINEL", "FAILOVER", group.name()]).text(), "OK");
        group.until_promoted(old);
        rig.until_told("won").await;
        check(&rig, written, flying).await;
    });
}

fn redis_cli(words: &[&str]) {
    let output = Command::new("redis-cli").args(words).output().expect("redis-cli runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn slots_that_move_are_followed() {
    run(async {
        let cluster = RedisCluster::start(&RedisPlan::durable(), 0);
        let rig = Rig::founded(&rules(RedisTopology::Cluster, &cluster.addresses())).await;
        let (written, flying) = some_writes(&rig).await;
        let [from, to, ..] = &*cluster.nodes else { panic!("nodes") };
        let [source, target] = [from, to].map(|node| node.command(&["CLUSTER", "MYID"]).text());
        let address = from.address().to_string();
        // Most of what the first one has.
        let words = ["--cluster", "reshard", &address, "--cluster-from", &source, "--cluster-to"];
        let more = [&*target, "--cluster-slots", "4000", "--cluster-yes"];
        let words: Vec<String> = words.into_iter().chain(more).map(ToOwned::to_owned).collect();
        let moving = tokio::task::spawn_blocking(move || {
            redis_cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
        });
        // Writes go on meanwhile. While a slot is in two places its writes are refused.
        while !moving.is_finished() {
            let told = rig.told(key()).await;
            assert!(["won", "down"].contains(&told), "{told}");
        }
        moving.await.expect("they have moved");
        check(&rig, written, flying).await;
    });
}

#[test]
fn a_cluster_survives_the_death_of_a_master() {
    run(async {
        let cluster = RedisCluster::start(&RedisPlan::durable(), 1);
        let rules = rules(RedisTopology::Cluster, &cluster.addresses());
        let rig = Rig::founded(&waiting(rules, Duration::from_secs(2))).await;
        let (written, flying) = some_writes(&rig).await;
        let node = cluster.nodes.first().expect("a node");
        node.kill();
        // Whoever took over has no replica of its own until the other one is back.
        rig.until_found(Check::Replicas, false).await;
        node.restart();
        check(&rig, written, flying).await;
    });
}
