//! Where a case happens: a store of its own, and processes that use it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tidegate_core::Moment;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Answer, Body, Incarnation, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::Claimed;
use tidegate_core::id::Epoch;
use tidegate_core::policy::fencing::{Durability, RedisNode, RedisRules, RedisTopology, RedisWait};
use tidegate_fence::embedded::{Embedded, Settings};
use tidegate_fence::redis::{self, How, Redis};
use tidegate_fence::store::Store;
use tidegate_fence::{Ask, Claim, Fence, Limits, Sending, Ticket};
use tidegate_harness::{RedisCluster, RedisPlan, RedisSentinels, TempDir};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No operation of a test takes longer, however busy the machine is.
const CALL: Duration = Duration::from_secs(10);

/// A store, and the processes that use it.
pub(crate) struct Place {
    kind: Kind,
    keepers: Mutex<Vec<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

enum Kind {
    Embedded(TempDir),
    Redis { rules: Box<RedisRules>, _server: Option<Box<tidegate_harness::Redis>> },
}

impl Place {
    pub(crate) fn embedded() -> Self {
        Self::of(Kind::Embedded(TempDir::new()))
    }

    /// A server of its own.
    pub(crate) fn redis() -> Self {
        let server = tidegate_harness::Redis::start(&RedisPlan::durable());
        let rules = rules(RedisTopology::Standalone, &[server.address()]);
        Self::of(Kind::Redis { rules: Box::new(rules), _server: Some(Box::new(server)) })
    }

    /// One of several places on a group of servers.
    pub(crate) fn sentinel(group: &RedisSentinels) -> Self {
        let master = group.name().into();
        let topology = RedisTopology::Sentinel { master };
        let mut rules = rules(topology, &group.sentinel_addresses());
        rules.wait = Some(RedisWait { replicas: 1, timeout: Duration::from_secs(5) });
        Self::of(Kind::Redis { rules: Box::new(rules), _server: None })
    }

    /// One of several places on a cluster.
    pub(crate) fn cluster(cluster: &RedisCluster) -> Self {
        let rules = rules(RedisTopology::Cluster, &cluster.addresses());
        Self::of(Kind::Redis { rules: Box::new(rules), _server: None })
    }

    fn of(kind: Kind) -> Self {
        Self { kind, keepers: Mutex::default() }
    }

    /// A process that uses the store.
    pub(crate) async fn fence(&self) -> Fence {
        self.limited_fence(limits()).await
    }

    pub(crate) async fn limited_fence(&self, limits: Limits) -> Fence {
        let incarnation = Fence::incarnation();
        let store = self.store_of(incarnation).await;
        let (fence, keeper) = Fence::new(store, incarnation, limits, clock);
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = tokio::runtime::Handle::current().spawn(keeper.run(async {
            stopped.await.ok();
        }));
        self.keepers.lock().expect("nobody panics with it").push((stop, kept));
        fence
    }

    /// The store itself, for what no fence would ever ask it.
    pub(crate) async fn store(&self) -> (Store, Incarnation) {
        let incarnation = Fence::incarnation();
        (self.store_of(incarnation).await, incarnation)
    }

    async fn store_of(&self, incarnation: Incarnation) -> Store {
        match &self.kind {
            Kind::Embedded(directory) => {
                let settings = Settings {
                    path: directory.path().join("fence.db"),
                    bytes_max: 1 << 30,
                    retention: retention(),
                    clock,
                    incarnation,
                };
                Store::Embedded(Embedded::open(&settings).expect("a file"))
            }
            Kind::Redis { rules, .. } => {
                let rules = (**rules).clone();
                let grace = Duration::from_hours(1);
                let settings = redis::Settings { rules, call: CALL, grace, clock };
                let redis = Redis::open(&settings).expect("servers");
                redis.found(How::First).await.expect("it can be founded");
                Store::Redis(redis)
            }
        }
    }

    /// Ends all processes.
    pub(crate) async fn close(&self) {
        let keepers = std::mem::take(&mut *self.keepers.lock().expect("nobody panics with it"));
        for (stop, kept) in keepers {
            stop.send(()).ok();
            kept.await.expect("a keeper does not panic");
        }
    }
}

/// Where a fence of its own is, whoever else is there.
fn rules(topology: RedisTopology, nodes: &[SocketAddr]) -> RedisRules {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let node = |at: &SocketAddr| RedisNode { host: at.ip().to_string().into(), port: at.port() };
    RedisRules {
        topology,
        nodes: nodes.iter().map(node).collect(),
        user: None,
        password: None,
        tls: None,
        wait: None,
        durability: Durability::Aof,
        prefix: format!("f{}", COUNT.fetch_add(1, Ordering::Relaxed)).into(),
    }
}

pub(crate) fn limits() -> Limits {
    Limits { call: CALL, claim: CALL, ..Limits::default() }
}

pub(crate) fn retention() -> Retention {
    Retention::unchecked(Duration::from_hours(1), Duration::from_hours(2))
}

/// The wall clock, as a balancer reads it.
#[expect(clippy::disallowed_methods, reason = "a test stands where the balancer's clock is")]
pub(crate) fn clock() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A key that no other case has.
pub(crate) fn key() -> FenceKey {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 32];
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let parts = [Fence::incarnation().0, u64::from(std::process::id()), count, 0];
    for (place, part) in bytes.chunks_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_be_bytes());
    }
    FenceKey(bytes)
}

pub(crate) fn ask() -> Ask {
    Ask {
        fingerprint: Some(Fingerprint([1; 16])),
        epoch: Epoch(3),
        lease: Duration::from_mins(10),
        retention: retention(),
        is_repeatable: false,
        is_degraded: false,
        charge: None,
        coalesce_wait: Duration::ZERO,
    }
}

/// A lease that is over as soon as it has begun.
pub(crate) fn brief() -> Ask {
    Ask { lease: Duration::ZERO, ..ask() }
}

pub(crate) fn answer(status: u16, body: &[u8]) -> Answer {
    let headers = vec![("content-type".into(), b"text/plain"[..].into())];
    Answer { status, headers, body: Body::Whole(body.into()) }
}

pub(crate) async fn win(fence: &Fence, key: FenceKey, ask: &Ask) -> Ticket {
    match fence.claim(key, ask).await.expect("the store answers") {
        Claim::Won(ticket) => ticket,
        Claim::Lost { claimed, .. } => panic!("lost: {claimed:?}"),
    }
}

pub(crate) async fn begin(fence: &Fence, key: FenceKey, ask: &Ask) -> Sending {
    win(fence, key, ask).await.begin().expect("in time")
}

pub(crate) async fn lose(fence: &Fence, key: FenceKey, ask: &Ask) -> Claimed {
    match fence.claim(key, ask).await.expect("the store answers") {
        Claim::Won(ticket) => panic!("won: {ticket:?}"),
        Claim::Lost { claimed, .. } => claimed,
    }
}

/// What a claim is told, in one word.
pub(crate) async fn told(fence: &Fence, key: FenceKey, ask: &Ask) -> &'static str {
    match lose(fence, key, ask).await {
        Claimed::Won { .. } => "won",
        Claimed::Busy { .. } => "busy",
        Claimed::Done(_) => "done",
        Claimed::Clash => "clash",
        Claimed::InDoubt(_) => "in doubt",
    }
}

/// Waits until what is remembered of a key is as it should be.
pub(crate) async fn until(fence: &Fence, key: FenceKey, holds: impl Fn(Option<&Record>) -> bool) {
    loop {
        let held = fence.show(key).await.expect("the store answers");
        if holds(held.as_ref()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
