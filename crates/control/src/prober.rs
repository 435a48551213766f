//! Who is asked for its contract, and when.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use tidegate_core::board::{Event, Target};
use tidegate_core::id::EndpointId;
use tidegate_core::policy::{Policy, Probing};
use tidegate_core::snapshot::Verdict;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::error;

use crate::clock;
use crate::handle::{Handle, Message};
use crate::probe::Asker;
use crate::tasks::Tasks;

/// How much more often an endpoint is asked of which nothing is known.
const HASTE: u32 = 4;

/// Shortest time from one probe to the next while an endpoint is unknown.
const HASTE_MIN: Duration = Duration::from_millis(100);

/// Longest wait before the first probe: everybody is asked at once, but not in the same instant.
const SPREAD_MAX: Duration = Duration::from_millis(50);

/// Most by which a pause is made longer or shorter, in percent.
const JITTER_PERCENT: u32 = 10;

/// One task for each endpoint.
pub(crate) struct Probers {
    template: Prober,
    targets: HashMap<EndpointId, Target>,
    tasks: Tasks<EndpointId>,
}

impl Probers {
    pub(crate) fn new(handle: Handle, policy: watch::Receiver<Arc<Policy>>) -> Self {
        let connector = Arc::new(Connector::new(None));
        let template = Prober { connector, handle, policy };
        Self { template, targets: HashMap::new(), tasks: Tasks::default() }
    }

    /// Probes these endpoints from now on, and no others.
    pub(crate) fn probe(&mut self, targets: Vec<Target>) {
        self.targets = targets.into_iter().map(|it| (it.endpoint, it)).collect();
        self.tasks.keep(|it| self.targets.contains_key(it));
        for target in self.targets.values() {
            if !self.tasks.is_running(&target.endpoint) {
                let prober = self.template.clone();
                self.tasks.start(target.endpoint, prober.run(target.clone(), spread()));
            }
        }
    }

    /// Somebody who is probed.
    pub(crate) fn target(&self, endpoint: EndpointId) -> Option<&Target> {
        self.targets.get(&endpoint)
    }

    /// Waits until a probe has panicked, and goes on probing its endpoint.
    ///
    /// What an endpoint answers must never take more down than the verdict on that endpoint.
    pub(crate) async fn restarted(&mut self) {
        let endpoint = self.tasks.panicked().await;
        let Some(target) = self.targets.get(&endpoint) else { return };
        error!(region = %target.region, endpoint = %target.address, "a probe panicked");
        let pause = self.template.policy.borrow().probing.interval;
        self.tasks.start(endpoint, self.template.clone().run(target.clone(), pause));
    }
}

impl fmt::Debug for Probers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probers").field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// Asks one endpoint again and again.
#[derive(Clone)]
struct Prober {
    connector: Arc<Connector>,
    handle: Handle,
    policy: watch::Receiver<Arc<Policy>>,
}

impl Prober {
    async fn run(mut self, target: Target, first: Duration) {
        let asker = Asker::new(Arc::clone(&self.connector), target.clone());
        let mut pause = first;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.policy.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // A new policy reads other keys: what is known is too little to judge by.
                    sleep(spread()).await;
                }
            }
            let policy = Arc::clone(&self.policy.borrow_and_update());
            let started = clock::instant();
            let (took, outcome) = asker.ask(&policy).await;
            self.handle.metrics().probe_took(&target.region, clock::elapsed_since(started));
            let event = Event::Probed { endpoint: target.endpoint, took, outcome };
            // A report lists what it found in the order of the contract that asked for it.
            let message = Message::under(Arc::clone(&policy), event);
            if self.handle.deliver(message).await.is_err() {
                return;
            }
            let interval = self.interval(&policy.probing, &target);
            // From start to start, so that an endpoint that hangs is not asked less often.
            pause = interval.saturating_sub(clock::elapsed_since(started)).max(interval / 10);
        }
    }

    fn interval(&self, probing: &Probing, target: &Target) -> Duration {
        let is_unknown = self.handle.verdict(target) == Some(Verdict::Unknown);
        jittered(if is_unknown {
            (probing.interval / HASTE).max(HASTE_MIN).min(probing.interval)
        } else {
            probing.interval
        })
    }
}

fn jittered(pause: Duration) -> Duration {
    pause * fastrand::u32(100 - JITTER_PERCENT..=100 + JITTER_PERCENT) / 100
}

fn spread() -> Duration {
    SPREAD_MAX * fastrand::u32(0..=100) / 100
}
