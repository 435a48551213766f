//! A master with two replicas, and three Sentinels that promote one of them.

use std::net::SocketAddr;
use std::time::Duration;

use super::plan::RedisPlan;
use super::{Redis, SETTLE_DEADLINE};
use crate::wait::wait_until;

const SENTINELS: usize = 3;
const REPLICAS: usize = 2;
/// Sentinels wait so long before they try another promotion.
const FAILOVER_TIMEOUT_MS: u64 = 3000;

/// The group. Dropping it kills all of its processes.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The servers: the first master, then the replicas. Their roles change with failovers.
    pub servers: Vec<Redis>,
    /// The processes that watch them.
    pub sentinels: Vec<Redis>,
    name: String,
}

impl RedisSentinels {
    /// Starts a group under the name `fence`, and waits until every process knows all others.
    #[track_caller]
    pub fn start(plan: &RedisPlan) -> Self {
        Self::start_each(plan, |_place| plan.clone())
    }

    /// The same, where each place (0 for the master, 1 and 2 for the replicas) has its own plan.
    ///
    /// A Sentinel lives at the place of its number, with the address of that plan.
    #[track_caller]
    pub fn start_each(plan: &RedisPlan, at: impl Fn(usize) -> RedisPlan) -> Self {
        let name = "fence".to_owned();
        let mut servers = vec![Redis::start(&at(0))];
        let master = servers.first().expect("it was just started").address();
        let (ip, port) = (master.ip(), master.port());
        for place in 1..=REPLICAS {
            let plan = at(place).setting("replicaof", &format!("{ip} {port}"));
            servers.push(Redis::start(&plan));
        }
        servers.iter().skip(1).for_each(Redis::await_copy);
        let sentinel = |place| start_sentinel(&at(place), plan, &name, master);
        let sentinels = (0..SENTINELS).map(sentinel).collect();
        let group = Self { servers, sentinels, name };
        wait_until(SETTLE_DEADLINE, "the Sentinels know everybody", || group.is_settled());
        group
    }

    /// The name under which the Sentinels know the master.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the Sentinels listen.
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// The address of the master, as most Sentinels tell it.
    pub fn master_address(&self) -> Option<SocketAddr> {
        let told: Vec<_> = self.sentinels.iter().filter_map(|it| self.master_by(it)).collect();
        let votes = |wanted: SocketAddr| told.iter().filter(|it| **it == wanted).count();
        told.iter().copied().find(|it| SENTINELS < 2 * votes(*it))
    }

    fn master_by(&self, sentinel: &Redis) -> Option<SocketAddr> {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name];
        let told = sentinel.try_command(&words).ok()?.text();
        let (ip, port) = told.split_once('\n')?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    }

    /// The server that the Sentinels call the master.
    pub fn master(&self) -> Option<&Redis> {
        let address = self.master_address()?;
        self.servers.iter().find(|it| it.address() == address)
    }

    /// Waits until another server than `old` is the master, by name and by its own word.
    #[track_caller]
    pub fn until_promoted(&self, old: SocketAddr) -> Duration {
        wait_until(SETTLE_DEADLINE, "another server is the master", || {
            self.master().is_some_and(|it| it.address() != old && it.is_master())
        })
    }

    /// Waits until one master has all replicas, and all Sentinels agree on it.
    #[track_caller]
    pub fn until_settled(&self) -> Duration {
        wait_until(SETTLE_DEADLINE, "the group is whole again", || self.is_settled())
    }

    /// Waits until there is a master, and a replica to confirm what it takes.
    #[track_caller]
    pub fn until_served(&self) -> Duration {
        let is_confirmed = |master: &Redis| (0..REPLICAS).any(|nth| is_online(master, nth));
        wait_until(SETTLE_DEADLINE, "a master has a replica", || {
            self.master().is_some_and(|it| it.is_master() && is_confirmed(it))
        })
    }

    /// Whether one master has all replicas, and all Sentinels agree on it.
    pub fn is_settled(&self) -> bool {
        let Some(master) = self.master() else { return false };
        let knows_all = |sentinel: &Redis| {
            let words = ["SENTINEL", "CKQUORUM", &self.name];
            let quorum = sentinel.try_command(&words).is_ok_and(|it| it.text().starts_with("OK 3"));
            let told = sentinel.try_command(&["SENTINEL", "REPLICAS", &self.name]);
            quorum && told.is_ok_and(|it| it.list().len() == REPLICAS)
        };
        master.is_master()
            && (0..REPLICAS).all(|nth| is_online(master, nth))
            && self
                .sentinels
                .iter()
                .all(|it| self.master_by(it) == Some(master.address()) && knows_all(it))
    }
}

fn is_online(master: &Redis, nth: usize) -> bool {
    let line = master.info(&format!("slave{nth}")).unwrap_or_default();
    line.contains("state=online")
}

fn start_sentinel(at: &RedisPlan, plan: &RedisPlan, name: &str, master: SocketAddr) -> Redis {
    // A Sentinel's own door is open: the password is the servers'.
    let own = RedisPlan::default().bind(at.bind).through_words(&at.through);
    Redis::launch(&own, |redis| {
        let (ip, port) = (master.ip(), master.port());
        let mut lines = vec![
            format!("bind {}", at.bind),
            format!("port {}", redis.address().port()),
            "protected-mode no".to_owned(),
            format!("sentinel monitor {name} {ip} {port} 2"),
            format!("sentinel down-after-milliseconds {name} {}", plan.down_after_ms),
            format!("sentinel failover-timeout {name} {FAILOVER_TIMEOUT_MS}"),
            format!("sentinel parallel-syncs {name} 2"),
        ];
        lines.extend(plan.password.iter().map(|it| format!("sentinel auth-pass {name} {it}")));
        lines
    })
}
