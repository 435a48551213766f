//! A fence on a Redis, and words for what it says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tidegate_core::Moment;
use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Answer, Body};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{Claimed, Settled};
use tidegate_core::id::Epoch;
use tidegate_core::policy::fencing::{Durability, RedisNode, RedisRules, RedisTopology, RedisWait};
use tidegate_fence::embedded::{self, Embedded};
use tidegate_fence::fence::Keeper;
use tidegate_fence::redis::{FoundError, Founded, How, Redis, Settings};
use tidegate_fence::store::{Check, Failure, Finding, Store};
use tidegate_fence::ticket::Settlement;
use tidegate_fence::{Ask, Claim, Fence, Limits, Refusal, Ticket};
use tokio::task::JoinHandle;

/// What happens sooner or later happens by then, however busy the machine is.
pub(crate) const EVENTUALLY: Duration = Duration::from_mins(1);
/// A call that has a limit of 250 ms has come back by then, however busy the machine is.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(5);

/// Runs a test with a deadline.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(2 * EVENTUALLY, test).await.expect("the test ends");
    });
}

/// One process with a fence.
pub(crate) struct Rig {
    pub(crate) fence: Fence,
    keeper: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test stands where the balancer's clock is")]
pub(crate) fn clock() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock, to see that nothing takes much too long.
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn node(at: SocketAddr) -> RedisNode {
    RedisNode { host: at.ip().to_string().into(), port: at.port() }
}

pub(crate) fn rules(topology: RedisTopology, nodes: &[SocketAddr]) -> RedisRules {
    RedisRules {
        topology,
        nodes: nodes.iter().copied().map(node).collect(),
        user: None,
        password: None,
        tls: None,
        wait: None,
        durability: Durability::Aof,
        prefix: "fence".into(),
    }
}

pub(crate) fn standalone(server: &tidegate_harness::Redis) -> RedisRules {
    rules(RedisTopology::Standalone, &[server.address()])
}

pub(crate) fn waiting(rules: RedisRules, timeout: Duration) -> RedisRules {
    RedisRules { wait: Some(RedisWait { replicas: 1, timeout }), ..rules }
}

/// A store whose calls may take so long.
pub(crate) fn open(rules: &RedisRules, call: Duration) -> Redis {
    let settings = Settings { rules: rules.clone(), call, grace: Duration::from_hours(1), clock };
    Redis::open(&settings).expect("it can be opened")
}

/// Founds the store.
pub(crate) async fn found(rules: &RedisRules, how: How) -> Result<Founded, FoundError> {
    open(rules, AT_ONCE).found(how).await
}

impl Rig {
    /// A fence with the limits that a balancer has.
    pub(crate) fn new(rules: &RedisRules) -> Self {
        Self::with(rules, Limits::default())
    }

    /// A fence that is patient, for tests that are about something else.
    pub(crate) fn patient(rules: &RedisRules) -> Self {
        Self::with(rules, Limits { call: AT_ONCE, claim: AT_ONCE, ..Limits::default() })
    }

    /// A patient fence whose store is a file.
    pub(crate) fn embedded(path: &Path) -> Self {
        let limits = Limits { call: AT_ONCE, claim: AT_ONCE, ..Limits::default() };
        let settings = embedded::Settings {
            path: path.to_owned(),
            bytes_max: 0,
            retention: ask().retention,
            clock,
            incarnation: Fence::incarnation(),
        };
        let store = Embedded::open(&settings).expect("a new file");
        Self::on(Store::Embedded(store), limits)
    }

    fn with(rules: &RedisRules, limits: Limits) -> Self {
        Self::on(Store::Redis(open(rules, limits.call)), limits)
    }

    fn on(store: Store, limits: Limits) -> Self {
        let (fence, keeper): (Fence, Keeper) =
            Fence::new(store, Fence::incarnation(), limits, clock);
        let keeper = tokio::runtime::Handle::current().spawn(keeper.run(std::future::pending()));
        Self { fence, keeper }
    }

    /// A store that is founded, and a patient fence on it.
    pub(crate) async fn founded(rules: &RedisRules) -> Self {
        found(rules, How::First).await.expect("it can be founded");
        Self::patient(rules)
    }

    pub(crate) async fn claim(&self, key: FenceKey) -> Result<Claim, Refusal> {
        self.fence.claim(key, &ask()).await
    }

    /// What a claim is told, in one word; a claim that wins is given back.
    pub(crate) async fn told(&self, key: FenceKey) -> &'static str {
        match self.claim(key).await {
            Ok(Claim::Won(_ticket)) => "won",
            Ok(Claim::Lost { claimed, .. }) => match claimed {
                Claimed::Won { .. } => "won",
                Claimed::Busy { .. } => "busy",
                Claimed::Done(_) => "done",
                Claimed::Clash => "clash",
                Claimed::InDoubt(_) => "in doubt",
            },
            Err(Refusal::Quota) => "quota",
            Err(Refusal::Store(failure)) => match failure {
                Failure::Unreachable => "unreachable",
                Failure::Uncopied => "uncopied",
                Failure::Down => "down",
                Failure::Unfit(check) => check.word(),
                Failure::Crowded => "crowded",
                Failure::Full => "full",
                Failure::Cold => "cold",
                Failure::Stale(_) => "stale",
            },
        }
    }

    pub(crate) async fn win(&self, key: FenceKey) -> Ticket {
        match self.claim(key).await {
            Ok(Claim::Won(ticket)) => ticket,
            lost => panic!("not won: {lost:?}"),
        }
    }

    /// A claim that wins once the store is there, however slow the machine is.
    pub(crate) async fn win_soon(&self) -> Ticket {
        let began = now();
        loop {
            match self.claim(key()).await {
                Ok(Claim::Won(ticket)) => return ticket,
                lost => assert!(began.elapsed() < EVENTUALLY, "not won: {lost:?}"),
            }
        }
    }

    /// A write that is delivered and answered.
    pub(crate) async fn write(&self, key: FenceKey) {
        let settled = self.win(key).await.begin().expect("in time").complete(answer()).await;
        assert_eq!(settled, Settlement::Done(Settled::Stored));
    }

    /// Claims fresh keys until one is told this.
    pub(crate) async fn until_told(&self, expected: &str) {
        self.until_told_of(expected, key).await;
    }

    /// Claims a key until it is told this, and is told nothing but refusals before.
    pub(crate) async fn until_told_of(&self, expected: &str, key: impl Fn() -> FenceKey) {
        let began = now();
        let mut told = self.told(key()).await;
        while told != expected {
            let findings = || self.fence.findings().into_iter().filter(|it| !it.is_ok);
            assert!(
                began.elapsed() < EVENTUALLY,
                "{told}, and {expected} was awaited: {:?}",
                findings().collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
            told = self.told(key()).await;
        }
    }

    /// Waits until nothing is remembered of a key.
    pub(crate) async fn until_free(&self, key: FenceKey) {
        let began = now();
        while !matches!(self.fence.show(key).await, Ok(None)) {
            assert!(began.elapsed() < EVENTUALLY, "the key is not given back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a check is found as it should be.
    pub(crate) async fn until_found(&self, check: Check, is_ok: bool) {
        self.until_finding(|it| it.check == check && it.is_ok == is_ok).await;
    }

    /// Waits until a check has failed and says this.
    pub(crate) async fn until_seen(&self, check: Check, seen: &str) {
        self.until_finding(|it| it.check == check && !it.is_ok && it.seen.contains(seen)).await;
    }

    async fn until_finding(&self, holds: impl Fn(&Finding) -> bool) {
        let began = now();
        loop {
            let findings = self.fence.findings();
            if findings.iter().any(&holds) {
                return;
            }
            assert!(began.elapsed() < EVENTUALLY, "{findings:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A key that no other has.
pub(crate) fn key() -> FenceKey {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 32];
    let parts = [Fence::incarnation().0, COUNT.fetch_add(1, Ordering::Relaxed), 0, 0];
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
        retention: Retention::unchecked(Duration::from_hours(1), Duration::from_hours(2)),
        is_repeatable: false,
        is_degraded: false,
        charge: None,
        coalesce_wait: Duration::ZERO,
    }
}

pub(crate) fn answer() -> Answer {
    Answer { status: 201, headers: Vec::new(), body: Body::Whole(b"made"[..].into()) }
}
