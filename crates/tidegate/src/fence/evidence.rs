//! Tells the gates again and again how the memory of writes is.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::Gates;
use tidegate_core::id::Name;
use tidegate_core::policy::fencing::FenceStore;
use tokio::time::{MissedTickBehavior, interval};

use super::desk::Desk;

/// Time from one look at the store to the next.
const EVERY: Duration = Duration::from_secs(2);

/// Looks at the store for the gates, where the policy asks for that.
pub(crate) struct FenceEvidence {
    gates: Gates,
    desk: Desk,
}

impl FenceEvidence {
    pub(crate) fn new(gates: Gates, desk: Desk) -> Self {
        Self { gates, desk }
    }

    async fn look(&self) {
        let is_asked = self.gates.rules().is_some_and(|it| it.fence_age_max.is_some());
        let policy = self.gates.policy();
        let Some(rules) = policy.fence.as_ref().filter(|_| is_asked) else { return };
        let name = Name::from(match rules.store {
            FenceStore::Embedded { .. } => "fence (embedded)",
            FenceStore::Redis(_) => "fence (redis)",
        });
        let checks = self.desk.warm(rules).await;
        let checks = checks.into_iter().map(|it| (it.name, it.holds, it.detail)).collect();
        self.gates.warmed(&name, checks);
    }
}

#[async_trait]
impl BackgroundService for FenceEvidence {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }
}

impl fmt::Debug for FenceEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceEvidence").finish_non_exhaustive()
    }
}
