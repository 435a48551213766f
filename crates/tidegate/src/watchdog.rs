//! The service manager's watchdog: fed only while this process answers itself through its own doors.

use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::Handle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::ending::Ending;
use crate::notify;
use crate::run::Traffic;

/// How often we look whether connections may be taken already.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Shortest time between two pulses, however short the manager's patience is.
const PERIOD_MIN: Duration = Duration::from_millis(10);
/// Pulses within the manager's patience: one may be missed, and the next one is still in time.
const PULSES: u32 = 3;

/// Asks the data plane again and again whether it answers, and tells the manager when it does.
pub(crate) struct Watchdog {
    /// How long the manager waits for a word before it ends the process.
    pub(crate) patience: Duration,
    pub(crate) handle: Handle,
    pub(crate) doors: Traffic,
    pub(crate) ending: Ending,
}

#[async_trait]
impl BackgroundService for Watchdog {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // A successor takes nothing before it may, and until then its predecessor is asked.
        while !self.doors.may_answer() {
            sleep(LOOK_EVERY).await;
        }
        let period = (self.patience / PULSES).max(PERIOD_MIN);
        tracing::info!(period_ms = period.as_millis(), "the watchdog is fed");
        let manager = notify::Pulses::open();
        let mut pulses = interval(period);
        pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pulses.tick().await;
            // The process that has taken over speaks for the service: fed by both, the watchdog
            // would not notice when that one hangs.
            if self.ending.was_succeeded() {
                return;
            }
            let answered = self.doors.pulse(period).await;
            self.handle.metrics().pulsed(answered.is_ok());
            match answered {
                Ok(()) => manager.alive(),
                Err(why) => tracing::error!(%why, "no pulse, the watchdog is not fed"),
            }
        }
    }
}
