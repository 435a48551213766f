//! Stopping: not ready first, then as soon as nothing is open, and at once when told twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tidegate_control::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

/// Longest time that open requests are waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often we look whether something is still open.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What finished requests get to flush their last bytes.
const LINGER: Duration = Duration::from_millis(100);

/// Decides when the process ends.
#[derive(Debug)]
pub(crate) struct Stop {
    handle: Handle,
    stopping: Arc<AtomicBool>,
}

impl Stop {
    /// A process that runs until it is told to stop.
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, stopping: Arc::new(AtomicBool::new(false)) }
    }

    /// A flag that is set once the process is told to stop.
    pub(crate) fn readiness(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    fn open(&self) -> u64 {
        self.handle.world().regions.iter().map(|it| it.open.count()).sum()
    }

    async fn until_idle(&self) {
        while self.open() > 0 {
            sleep(LOOK_EVERY).await;
        }
        sleep(LINGER).await;
    }
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut term), Ok(mut int)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be watched");
            return ShutdownSignal::FastShutdown;
        };
        told(&mut term, &mut int).await;
        self.stopping.store(true, Ordering::Relaxed);
        tracing::info!(open = self.open(), "stopping");
        tokio::select! {
            ended = timeout(WAIT_MAX, self.until_idle()) => {
                if ended.is_err() {
                    tracing::warn!(open = self.open(), "stopped with requests open");
                }
            }
            () = told(&mut term, &mut int) => {
                tracing::warn!(open = self.open(), "told to stop twice");
            }
        }
        ShutdownSignal::FastShutdown
    }
}

async fn told(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
