//! A Redis Cluster of three masters, each with as many replicas as wanted.

use std::net::SocketAddr;
use std::time::Duration;

use super::plan::RedisPlan;
use super::resp::RedisReply;
use super::{Redis, SETTLE_DEADLINE};
use crate::wait::wait_until;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// The cluster. Dropping it kills all of its nodes.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes: three masters, then the replicas. Their roles change with failovers.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three masters, each with so many replicas, and waits until all slots are served.
    #[track_caller]
    pub fn start(plan: &RedisPlan, replicas: usize) -> Self {
        let nodes: Vec<Redis> =
            (0..MASTERS * (1 + replicas)).map(|_nth| start_node(plan)).collect();
        for (place, node) in nodes.iter().enumerate() {
            let epoch = (place + 1).to_string();
            must(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        for (place, node) in nodes.iter().take(MASTERS).enumerate() {
            let slots = SLOTS * place / MASTERS..SLOTS * (place + 1) / MASTERS;
            let slots: Vec<String> = slots.map(|it| it.to_string()).collect();
            let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            must(node, &words.collect::<Vec<_>>());
        }
        let cluster = Self { nodes };
        cluster.introduce();
        for (place, node) in cluster.nodes.iter().enumerate().skip(MASTERS) {
            let master = cluster.nodes.get(place % MASTERS).expect("a master");
            let id = master.command(&["CLUSTER", "MYID"]).text();
            must(node, &["CLUSTER", "REPLICATE", &id]);
        }
        cluster.nodes.iter().skip(MASTERS).for_each(Redis::await_copy);
        cluster.until_settled();
        cluster
    }

    /// Lets every node know every other.
    #[track_caller]
    fn introduce(&self) {
        let (first, rest) = self.nodes.split_first().expect("nodes");
        for node in rest {
            let (ip, port) = (node.address().ip().to_string(), node.address().port().to_string());
            must(first, &["CLUSTER", "MEET", &ip, &port, &node.bus_port.to_string()]);
        }
        let all = format!("cluster_known_nodes:{}", self.nodes.len());
        wait_until(SETTLE_DEADLINE, "the nodes know each other", || {
            self.nodes.iter().all(|it| cluster_info(it).contains(&all))
        });
    }

    /// Where the nodes listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Redis::address).collect()
    }

    /// The node that is the master of a key now, as the first node that answers tells it.
    pub fn master_of(&self, key: &str) -> Option<&Redis> {
        let address = self.nodes.iter().find_map(|node| {
            let slot = node.try_command(&["CLUSTER", "KEYSLOT", key]).ok()?.number()?;
            owner(&node.try_command(&["CLUSTER", "SLOTS"]).ok()?, slot)
        })?;
        self.nodes.iter().find(|it| it.address() == address)
    }

    /// Waits until a key has another master than `old`.
    #[track_caller]
    pub fn until_moved(&self, key: &str, old: SocketAddr) -> Duration {
        wait_until(SETTLE_DEADLINE, "a replica takes over", || {
            self.master_of(key).is_some_and(|it| it.address() != old && it.answers())
        })
    }

    /// Waits until every slot is served and every node that is no master is a copy of one.
    #[track_caller]
    pub fn until_copied(&self) -> Duration {
        self.until_settled();
        wait_until(SETTLE_DEADLINE, "every replica has copied its master", || {
            let copies = self.nodes.iter().filter(|it| !it.is_master());
            let up = copies.filter(|it| it.info("master_link_status").as_deref() == Some("up"));
            up.count() == self.nodes.len() - MASTERS
        })
    }

    /// Waits until every slot is served, as each node that runs tells it.
    #[track_caller]
    pub fn until_settled(&self) -> Duration {
        wait_until(SETTLE_DEADLINE, "all slots are served", || {
            let running = self.nodes.iter().filter(|it| it.answers());
            running.map(cluster_info).all(|it| it.contains("cluster_state:ok"))
        })
    }
}

fn start_node(plan: &RedisPlan) -> Redis {
    let timeout = plan.down_after_ms.to_string();
    let plan = plan.clone().setting("cluster-enabled", "yes");
    let plan = plan.setting("cluster-node-timeout", &timeout);
    Redis::start(&plan.setting("cluster-replica-validity-factor", "0"))
}

#[track_caller]
fn must(node: &Redis, words: &[&str]) {
    let reply = node.command(words);
    assert_eq!(reply, RedisReply::Word("OK".to_owned()), "{:?}", words.get(..2));
}

fn cluster_info(node: &Redis) -> String {
    node.try_command(&["CLUSTER", "INFO"]).map(|it| it.text()).unwrap_or_default()
}

/// The master of a slot in an answer to `CLUSTER SLOTS`: from, to, then nodes, the master first.
fn owner(slots: &RedisReply, slot: i64) -> Option<SocketAddr> {
    slots.list().iter().find_map(|range| {
        let [from, to, master, ..] = range.list() else { return None };
        if slot < from.number()? || to.number()? < slot {
            return None;
        }
        let [ip, port, ..] = master.list() else { return None };
        Some(SocketAddr::new(ip.text().parse().ok()?, port.text().parse().ok()?))
    })
}
