//! Where a balancer remembers writes, and how that breaks.

use std::net::SocketAddr;
use std::ops::Range;

use super::{Calm, for_ms};
use crate::campaign::Nemesis;
use crate::net::Network;
use crate::redis::Redis;
use crate::redis::cluster::RedisCluster;
use crate::redis::plan::RedisPlan;
use crate::redis::sentinels::RedisSentinels;

/// After how long a silent server is taken for dead.
const DOWN_AFTER_MS: u64 = 500;

/// The store of a fence.
#[derive(Debug)]
pub enum Topology {
    /// No fence at all.
    None,
    /// A file.
    Embedded,
    /// One server.
    Standalone(Box<Redis>),
    /// A master, two replicas and three Sentinels.
    Sentinels(Box<RedisSentinels>),
    /// The same, but claims wait for no copy: what nobody should do.
    Unwaited(Box<RedisSentinels>),
    /// Three masters, each with a replica.
    Cluster(Box<RedisCluster>),
}

impl Topology {
    /// One server, as the fence recommends it: what it has answered is on its disk.
    #[track_caller]
    pub fn standalone() -> Self {
        let plan = RedisPlan::durable().setting("appendfsync", "always");
        Self::Standalone(Box::new(Redis::start(&plan)))
    }

    /// A master, two replicas and three Sentinels, as the fence recommends them.
    #[track_caller]
    pub fn sentinels() -> Self {
        let plan = RedisPlan::durable().min_replicas(1).down_after_ms(DOWN_AFTER_MS);
        Self::Sentinels(Box::new(RedisSentinels::start(&plan)))
    }

    /// A server and a Sentinel at each of the first three places of a network. If nobody waits for
    /// copies, a master without replicas goes on.
    #[track_caller]
    pub(super) fn sentinels_in(network: &Network, is_waited: bool) -> Self {
        let plan = RedisPlan::durable().min_replicas(u16::from(is_waited));
        let plan = plan.down_after_ms(DOWN_AFTER_MS);
        let at = |place| plan.clone().bind(network.address(place)).through(&network.words(place));
        let group = Box::new(RedisSentinels::start_each(&plan, at));
        if is_waited { Self::Sentinels(group) } else { Self::Unwaited(group) }
    }

    /// Three masters, each with a replica, as the fence recommends them.
    #[track_caller]
    pub fn cluster() -> Self {
        let plan = RedisPlan::durable().down_after_ms(DOWN_AFTER_MS);
        Self::Cluster(Box::new(RedisCluster::start(&plan, 1)))
    }

    /// Its name in a table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "tidegate, fence off",
            Self::Embedded => "tidegate, embedded",
            Self::Standalone(_) => "tidegate, Redis",
            Self::Sentinels(_) => "tidegate, Redis with Sentinels",
            Self::Unwaited(_) => "the same without WAIT",
            Self::Cluster(_) => "tidegate, Redis Cluster",
        }
    }

    /// What a policy says of it below `store`; nothing without a fence.
    pub fn store(&self) -> Option<String> {
        let replicas = u8::from(!matches!(self, Self::Unwaited(_)));
        let wait = format!("wait: {{ replicas: {replicas}, timeout: 50ms }}");
        Some(match self {
            Self::None => return None,
            Self::Embedded => "{ embedded: { path: ./fence.db } }".to_owned(),
            Self::Standalone(redis) => {
                let nodes = listed(&[redis.address()]);
                format!("{{ redis: {{ topology: standalone, nodes: [{nodes}] }} }}")
            }
            Self::Sentinels(group) | Self::Unwaited(group) => {
                let (nodes, name) = (listed(&group.sentinel_addresses()), group.name());
                format!(
                    "{{ redis: {{ topology: sentinel, nodes: [{nodes}], master: {name}, {wait} }} }}"
                )
            }
            Self::Cluster(cluster) => {
                let nodes = listed(&cluster.addresses());
                format!("{{ redis: {{ topology: cluster, nodes: [{nodes}], {wait} }} }}")
            }
        })
    }

    /// Whether somebody has to say that an empty store is a new one.
    pub(super) fn wants_founding(&self) -> bool {
        !matches!(self, Self::None | Self::Embedded)
    }

    /// Breaks a part of it, if there is a part that may be broken now.
    pub(super) fn breaks(&self, nemesis: &Nemesis, calm: &Calm) {
        let is_loss = nemesis.number(0..2) == 0;
        match self {
            Self::None | Self::Embedded => {}
            Self::Standalone(redis) if is_loss => nemesis.causes("store killed", || {
                redis.kill();
                for_ms(nemesis.number(0..700));
                redis.restart();
            }),
            Self::Standalone(redis) => stop_for(nemesis, redis, 50..900),
            Self::Sentinels(group) | Self::Unwaited(group) => match group.master() {
                Some(old) if group.is_settled() => {
                    calm.while_master_is_lost(|| lose_master(nemesis, group, old));
                }
                // Shorter than what a promotion takes, and longer than what a call may.
                Some(master) if is_loss => stop_for(nemesis, master, 50..450),
                Some(_) | None => {}
            },
            Self::Cluster(cluster) => {
                let key = nemesis.number(0..99).to_string();
                match cluster.master_of(&key) {
                    Some(old) if is_loss => {
                        calm.while_master_is_lost(|| lose_shard(nemesis, cluster, &key, old));
                    }
                    Some(master) => stop_for(nemesis, master, 50..900),
                    None => {}
                }
            }
        }
    }

    /// Waits until it works again. Sentinels take ten seconds more to be whole.
    #[track_caller]
    pub(super) fn until_settled(&self) {
        match self {
            Self::None | Self::Embedded | Self::Standalone(_) => {}
            Self::Sentinels(group) | Self::Unwaited(group) => drop(group.until_served()),
            Self::Cluster(cluster) => drop(cluster.until_copied()),
        }
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|it| format!("\"{it}\"")).collect::<Vec<_>>().join(", ")
}

fn stop_for(nemesis: &Nemesis, redis: &Redis, ms: Range<u64>) {
    nemesis.causes("store stopped", || {
        redis.pause();
        for_ms(nemesis.number(ms));
        redis.resume();
    });
}

/// A master dies, or is silent until another server has its place; either comes back as it was.
fn lose_master(nemesis: &Nemesis, group: &RedisSentinels, old: &Redis) {
    let until_replaced = || {
        group.until_promoted(old.address());
        for_ms(nemesis.number(0..900));
    };
    if nemesis.number(0..2) == 0 {
        return nemesis.causes("master killed", || {
            old.kill();
            until_replaced();
            old.restart();
        });
    }
    nemesis.causes("master stopped until it was replaced", || {
        old.pause();
        until_replaced();
        old.resume();
    });
}

fn lose_shard(nemesis: &Nemesis, cluster: &RedisCluster, key: &str, old: &Redis) {
    nemesis.causes("master of a shard killed", || {
        old.kill();
        cluster.until_moved(key, old.address());
        old.restart();
        cluster.until_copied();
    });
}
