//! Gates at work: brings evidence into the book, and judges it all the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::http::Connector;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use prometheus_client::registry::Registry;
use tidegate_core::contract::Queue;
use tidegate_core::gate::book::{Book, FenceChecks, Figures};
use tidegate_core::gate::evidence::{Condition, Light, Seen};
use tidegate_core::gate::rules::GateRules;
use tidegate_core::gate::verdict::{Gate, Kind, Move};
use tidegate_core::id::Name;
use tidegate_core::policy::Policy;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::handle::Handle;
use crate::tasks::Tasks;
use collectors::{Collector, Kind as Brings};

mod answers;
mod collectors;
mod errand;
mod metrics;

/// Time from one look at everything to the next.
const TICK: Duration = Duration::from_millis(500);

/// The gates of this process: whoever has it may look, and bring what only the binary knows.
#[derive(Clone)]
pub struct Gates {
    book: Arc<Mutex<Book>>,
    handle: Handle,
}

/// Keeps the book up to date, as a background service of the server.
pub struct GateKeeper {
    gates: Gates,
}

impl Gates {
    /// Gates that nobody has brought anything to yet, and who will.
    pub fn new(handle: Handle) -> (Self, GateKeeper) {
        let gates = Self { book: Arc::default(), handle };
        (gates.clone(), GateKeeper { gates })
    }

    /// The rules of the policy in force; `None` where it has no gates.
    pub fn rules(&self) -> Option<Arc<GateRules>> {
        self.policy().gates.clone()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.handle.world().snapshot.policy)
    }

    /// Shows the gates among the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(metrics::GateMetrics(self.clone())));
    }

    /// Takes note of what the board knows at this moment, for whoever wants to judge by it.
    pub async fn refresh(&self) {
        if self.rules().is_some()
            && let Ok(memory) = self.handle.memory().await
        {
            locked(&self.book).heard(&memory);
        }
    }

    /// A gate as it is at this moment; `None` where the policy has no gates.
    pub fn judge(&self, kind: Kind, of: &Move) -> Option<Gate> {
        let policy = self.policy();
        let rules = policy.gates.as_ref()?;
        let (mut book, now) = (locked(&self.book), clock::now());
        if !Arc::ptr_eq(book.rules(), rules) {
            // The keeper has not noticed yet, and nothing is judged by rules that are over.
            book.install(Arc::clone(rules), &policy);
        }
        Some(match kind {
            Kind::Planned => book.planned(of, now),
            Kind::Emergency => book.emergency(of, now),
        })
    }

    /// The figures of what each region answered last to the probe set.
    pub fn figures(&self) -> Vec<(Name, Figures)> {
        let book = locked(&self.book);
        let of = |region: &Name| Some((Name::clone(region), book.figures(region)?));
        book.regions().filter_map(of).collect()
    }

    /// Takes note of how long the queue of a region is now, or why nobody knows.
    pub fn counted(&self, region: &Name, source: &Name, queue: Result<Queue, String>) {
        let (at, source) = (clock::now(), Name::clone(source));
        match queue {
            Ok(what) => locked(&self.book).counted(region, Seen { at, source, what }),
            Err(what) => locked(&self.book).uncounted(region, Seen { at, source, what }),
        }
    }

    /// Takes note of what a memory of writes says of itself now.
    pub fn warmed(&self, fence: &Name, checks: FenceChecks) {
        let seen = Seen { at: clock::now(), source: "fence checks".into(), what: checks };
        locked(&self.book).warmed(fence, seen);
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").finish_non_exhaustive()
    }
}

impl fmt::Debug for GateKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateKeeper").finish_non_exhaustive()
    }
}

/// Holding it never waits for anything but memory.
fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl BackgroundService for GateKeeper {
    async fn start(&self, _shutdown: ShutdownWatch) {
        Keeping::new(self.gates.clone()).run().await;
    }
}

/// What the keeper has at hand while it runs.
struct Keeping {
    gates: Gates,
    connector: Arc<Connector>,
    policy: Option<Arc<Policy>>,
    tasks: Tasks<(Name, Brings)>,
    told: Told,
}

/// What was told last of each condition, and of each gate for reads and for writes.
#[derive(Default)]
struct Told {
    lights: BTreeMap<(&'static str, Condition, Name), Light>,
    opens: BTreeMap<&'static str, (bool, bool)>,
}

impl Keeping {
    fn new(gates: Gates) -> Self {
        let connector = Arc::new(Connector::new(None));
        Self { gates, connector, policy: None, tasks: Tasks::default(), told: Told::default() }
    }

    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick().await,
                (region, brings) = self.tasks.panicked() => {
                    tracing::error!(%region, ?brings, "a collector of evidence panicked");
                    self.start(region, brings);
                }
            }
        }
    }

    async fn tick(&mut self) {
        let policy = self.gates.policy();
        if self.policy.as_ref().is_none_or(|it| !Arc::ptr_eq(it, &policy)) {
            self.install(policy);
        }
        if self.gates.rules().is_none() {
            return;
        }
        self.gates.refresh().await;
        for kind in [Kind::Planned, Kind::Emergency] {
            if let Some(gate) = self.gates.judge(kind, &Move::default()) {
                self.told.tell(&gate);
            }
        }
    }

    /// Goes by a new policy. Tasks whose rules are the same run on.
    fn install(&mut self, policy: Arc<Policy>) {
        let before = self.policy.take();
        let had = before.as_ref().and_then(|it| it.gates.clone());
        let rules = policy.gates.clone().unwrap_or_default();
        locked(&self.gates.book).install(Arc::clone(&rules), &policy);
        let wanted: Vec<(Name, Brings)> = match &policy.gates {
            None => Vec::new(),
            Some(rules) => {
                let manifest = rules.blobs.as_ref().and_then(|it| it.asking.as_ref());
                let kinds = manifest.map(|_| Brings::Manifest).into_iter();
                let kinds = kinds.chain(rules.probes.as_ref().map(|_| Brings::Probes));
                let kinds: Vec<_> = kinds.collect();
                let regions = policy.regions.iter().map(|it| Name::clone(&it.name));
                regions
                    .flat_map(|name| kinds.iter().map(move |it| (Name::clone(&name), *it)))
                    .collect()
            }
        };
        let is_same = had == policy.gates;
        if !is_same {
            self.told = Told::default();
        }
        self.policy = Some(policy);
        self.tasks.keep(|it| is_same && wanted.contains(it));
        for (region, brings) in wanted {
            if !self.tasks.is_running(&(Name::clone(&region), brings)) {
                self.start(region, brings);
            }
        }
    }

    fn start(&mut self, region: Name, brings: Brings) {
        let Some(rules) = self.gates.rules() else { return };
        let (gates, connector) = (self.gates.clone(), Arc::clone(&self.connector));
        let collector = Collector { gates, connector, rules, region: Name::clone(&region) };
        self.tasks.start((region, brings), collector.run(brings));
    }
}

impl Told {
    /// Tells what has turned since the last time; the first time nothing has.
    fn tell(&mut self, gate: &Gate) {
        let kind = gate.kind.word();
        let opens = (gate.opens_reads(), gate.opens_writes());
        for it in &gate.evidence {
            let key = (kind, it.condition, Name::clone(&it.owner));
            let before = self.lights.insert(key, it.light);
            if before.is_some_and(|before| before != it.light) {
                tracing::info!(
                    gate = kind,
                    condition = it.condition.word(),
                    owner = &*it.owner,
                    light = it.light.word(),
                    code = it.code,
                    reason = it.reason,
                    "a condition of a gate turned"
                );
            }
        }
        let before = self.opens.insert(kind, opens);
        if before.is_some_and(|before| before != opens) {
            let (reads, writes) = opens;
            tracing::info!(gate = kind, reads, writes, "a gate turned");
        }
    }
}
