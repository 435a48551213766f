//! Every metric of the control plane, each a typed family.
//!
//! What happens is counted here. What is, like a verdict, is read from the world when somebody
//! asks for it, so it can never disagree with the world.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tidegate_core::contract::Mismatch;
use tidegate_core::drain::{Flip, Outcome};
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;
use tidegate_core::snapshot::Verdict;

use crate::World;
use crate::ledger::Ledger;

pub use histogram::Histogram;
pub use labels::{LABEL_BYTES_MAX, said};
pub use policy::{PolicyFacts, ReloadResult};
pub use sources::{EndpointMetrics, RetryCause, SOURCES_PER_REGION_MAX};

mod fenced;
mod histogram;
mod labels;
pub mod ownership;
mod policy;
mod scrape;
mod sources;

use labels::{
    Build, DrainCause, DrainEnd, DrainOutcome, OfRegion, OfRoute, ProbeOutcome, Pulse, RegionKey,
    Source, Turn, Upgrade,
};
use ownership::OwnershipMetrics;
use policy::PolicyMetrics;
use scrape::Scrape;
use sources::Sources;

/// What `Content-Type` says about [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the control plane, and the registry that other crates add theirs to.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    sources: Mutex<Sources>,
    scrape: Scrape,
    counts: Counts,
    policy: PolicyMetrics,
    ownership: OwnershipMetrics,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    mismatches: Family<RegionKey, Counter>,
    probes: Family<ProbeOutcome, Counter>,
    probe_seconds: Family<OfRegion, Histogram>,
    ejections: Family<OfRegion, Counter>,
    turns: Family<Turn, Counter>,
    drains: Family<DrainEnd, Counter>,
    drains_overdue: Family<DrainCause, Counter>,
    drain_outcomes: Family<DrainOutcome, Counter>,
    file_errors: Family<OfRegion, Counter>,
    events_refused: Counter,
    route_requests: Family<OfRoute, Counter>,
    upgrades: Family<Upgrade, Counter>,
    pulses: Family<Pulse, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All families, empty.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let sources = Sources::default();
        let scrape = Scrape::default();
        let counts = Counts::default();
        let policy = PolicyMetrics::register(&mut registry);
        let ownership = OwnershipMetrics::register(&mut registry);
        sources.register(&mut registry);
        counts.register(&mut registry);
        registry.register_collector(Box::new(scrape.clone()));
        let version = Build { version: env!("CARGO_PKG_VERSION") };
        registry.register("tidegate_build", "What is running here", Info::new(version));
        Self {
            registry: Mutex::new(registry),
            sources: Mutex::new(sources),
            scrape,
            counts,
            policy,
            ownership,
        }
    }

    /// The families about ownership.
    pub fn ownership(&self) -> OwnershipMetrics {
        self.ownership.clone()
    }

    /// Lets another crate add its families, once, before the server runs.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut locked(&self.registry));
    }

    /// Everything as text, in the format that [`CONTENT_TYPE`] names.
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        match text::encode(&mut encoded, &locked(&self.registry)) {
            Ok(()) => encoded,
            // Nothing that writes to a string fails; a scrape without `# EOF` is told as broken.
            Err(std::fmt::Error) => String::new(),
        }
    }

    /// Counts an attempt to put a policy in force.
    pub fn reloaded(&self, result: ReloadResult) {
        self.policy.reloaded(result);
    }

    /// Shows the policy in force.
    pub fn policy_in_force(&self, facts: &PolicyFacts<'_>) {
        self.policy.in_force(facts);
    }

    /// Counts an upgrade: `done` by the process that serves then, `failed` by the one that goes on.
    pub fn upgraded(&self, result: &'static str) {
        self.counts.upgrades.get_or_create(&Upgrade { result }).inc();
    }

    /// Counts a request of the process to itself, on which its watchdog depends.
    pub fn pulsed(&self, answered: bool) {
        let result = if answered { "answered" } else { "missed" };
        self.counts.pulses.get_or_create(&Pulse { result }).inc();
    }

    /// The handles for what a release and revision of a region answers.
    ///
    /// Both are what an endpoint said, and are cleaned by [`said`].
    pub fn of_source(
        &self,
        region: &Name,
        release: Option<&str>,
        revision: Option<&str>,
    ) -> Arc<EndpointMetrics> {
        let region = Arc::clone(region);
        let source = Source { region, release_id: said(release), revision: said(revision) };
        locked(&self.sources).of(source)
    }

    /// The counter of a route; equal names share it.
    pub(crate) fn of_route(&self, route: &Name) -> Counter {
        self.counts.route_requests.get_or_create_owned(&OfRoute { route: Arc::clone(route) })
    }

    /// Takes away the series of a route that is gone.
    pub(crate) fn forget_route(&self, route: &Name) {
        self.counts.route_requests.remove(&OfRoute { route: Arc::clone(route) });
    }

    /// Takes away the series of a region that is gone, unless a request still counts in them.
    ///
    /// Answers whether they are gone. `keys` are the contract keys that its reports had.
    pub(crate) fn forget_region(&self, region: &Name, keys: &[Name]) -> bool {
        let forgotten = locked(&self.sources).forget(region);
        if forgotten {
            self.counts.forget(region, keys);
        }
        forgotten
    }

    /// From now on gauges show this world. Only the first one that is given counts.
    pub(crate) fn watch(&self, world: &Arc<ArcSwap<World>>, ledger: &Arc<Ledger>) {
        self.scrape.0.get_or_init(|| (Arc::clone(world), Arc::clone(ledger)));
    }

    pub(crate) fn probe_took(&self, region: &Name, took: Duration) {
        self.counts.probe_seconds.get_or_create(&of(region)).observe(took);
    }

    pub(crate) fn probed(&self, region: &Name, outcome: Result<(), ProbeFailure>) {
        let outcome = outcome.map_or_else(ProbeFailure::word, |()| "ok");
        let labels = ProbeOutcome { region: Arc::clone(region), outcome };
        self.counts.probes.get_or_create(&labels).inc();
    }

    pub(crate) fn mismatched(&self, region: &Name, mismatch: &Mismatch) {
        let labels = RegionKey { region: Arc::clone(region), key: Arc::clone(&mismatch.name) };
        self.counts.mismatches.get_or_create(&labels).inc();
    }

    pub(crate) fn ejected(&self, region: &Name) {
        self.counts.ejections.get_or_create(&of(region)).inc();
    }

    pub(crate) fn turned(&self, region: &Name, from: Verdict, to: Verdict) {
        let labels = Turn { region: Arc::clone(region), from: from.word(), to: to.word() };
        self.counts.turns.get_or_create(&labels).inc();
    }

    /// A drain has ended: how, and how what was open has.
    pub(crate) fn drain_ended(&self, flip: &Flip, end: &'static str) {
        let (region, cause) = (Arc::clone(&flip.region), flip.drain.cause.word());
        self.counts.drains.get_or_create(&DrainEnd { region, cause, end }).inc();
        for outcome in Outcome::ALL {
            let region = Arc::clone(&flip.region);
            let labels = DrainOutcome { region, cause, outcome: outcome.word() };
            let counter = self.counts.drain_outcomes.get_or_create(&labels);
            counter.inc_by(flip.drain.outcomes.of(outcome));
        }
    }

    pub(crate) fn drain_overdue(&self, flip: &Flip) {
        let (region, cause) = (Arc::clone(&flip.region), flip.drain.cause.word());
        self.counts.drains_overdue.get_or_create(&DrainCause { region, cause }).inc();
    }

    pub(crate) fn endpoint_file_failed(&self, region: &Name) {
        self.counts.file_errors.get_or_create(&of(region)).inc();
    }

    pub(crate) fn event_refused(&self) {
        self.counts.events_refused.inc();
    }
}

impl Counts {
    fn forget(&self, region: &Name, keys: &[Name]) {
        let labels = of(region);
        self.probe_seconds.remove(&labels);
        self.ejections.remove(&labels);
        self.file_errors.remove(&labels);
        for outcome in ProbeFailure::WORDS.into_iter().chain(["ok"]) {
            self.probes.remove(&ProbeOutcome { region: Arc::clone(region), outcome });
        }
        for key in keys {
            self.mismatches.remove(&RegionKey { region: Arc::clone(region), key: Arc::clone(key) });
        }
        for (from, to) in Verdict::ALL.into_iter().flat_map(|it| Verdict::ALL.map(|to| (it, to))) {
            let (from, to) = (from.word(), to.word());
            self.turns.remove(&Turn { region: Arc::clone(region), from, to });
        }
    }

    fn register(&self, registry: &mut Registry) {
        let counts = self.clone();
        let help = "Reports of a region that differed from the contract on a key";
        registry.register("tidegate_contract_mismatches", help, counts.mismatches);
        registry.register("tidegate_probes", "Probes of a region by outcome", counts.probes);
        let help = "Time that a whole probe took";
        let seconds = Unit::Seconds;
        registry.register_with_unit("tidegate_probe", help, seconds, counts.probe_seconds);
        let help = "Endpoints that traffic took out";
        registry.register("tidegate_ejections", help, counts.ejections);
        let help = "Changes of the verdict on a region";
        registry.register("tidegate_verdict_turns", help, counts.turns);
        let help = "Drains of regions and endpoints that have ended";
        registry.register("tidegate_drains", help, counts.drains);
        let help = "Drains that took longer than they should";
        registry.register("tidegate_drains_overdue", help, counts.drains_overdue);
        let help = "Exchanges that ended while their region or endpoint was being drained";
        registry.register("tidegate_drain_outcomes", help, counts.drain_outcomes);
        let help = "Readings of a region's endpoint file that failed";
        registry.register("tidegate_endpoint_file_errors", help, counts.file_errors);
        let help = "Events that found the controller's queue full";
        registry.register("tidegate_events_refused", help, counts.events_refused);
        let help = "Requests by route";
        registry.register("tidegate_route_requests", help, counts.route_requests);
        let help = "Upgrades by result; the process that serves afterwards counts";
        registry.register("tidegate_upgrades", help, counts.upgrades);
        let help = "Requests of the process to itself, which feed its watchdog, by result";
        registry.register("tidegate_pulses", help, counts.pulses);
    }
}

fn of(region: &Name) -> OfRegion {
    OfRegion { region: Arc::clone(region) }
}

/// Nothing here is left half done by a panic, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
