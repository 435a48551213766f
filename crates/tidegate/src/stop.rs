//! Stopping: not ready, lame duck, no new connections, then as soon as nothing is open any more;
//! and at once when told twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tidegate_control::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use crate::doors::Doors;

/// How often we look whether something is still open.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often we say what we are waiting for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was told to.
    Told,
    /// Another process has taken over.
    #[expect(dead_code, reason = "there is no successor yet")]
    Succeeded,
}

/// What is known about the end of the process; all copies are one.
#[derive(Clone, Debug)]
pub(crate) struct Ending(Arc<State>);

#[derive(Debug)]
struct State {
    cause: watch::Sender<Option<Cause>>,
    unclean: AtomicBool,
}

impl Ending {
    /// The process runs, and nobody has told it to end.
    pub(crate) fn new() -> Self {
        Self(Arc::new(State { cause: watch::Sender::new(None), unclean: AtomicBool::new(false) }))
    }

    /// Begins to end the process, unless it is ending already.
    pub(crate) fn begin(&self, cause: Cause) {
        self.0.cause.send_if_modified(|it| it.is_none() && it.replace(cause).is_none());
    }

    /// Why the process is ending, if it is.
    pub(crate) fn cause(&self) -> Option<Cause> {
        *self.0.cause.borrow()
    }

    /// Whether requests were still open in the end.
    pub(crate) fn was_unclean(&self) -> bool {
        self.0.unclean.load(Ordering::Relaxed)
    }

    async fn began(&self) {
        // Who waits keeps the sender, so the wait cannot fail.
        drop(self.0.cause.subscribe().wait_for(Option::is_some).await);
    }
}

/// Decides when the process ends.
pub(crate) struct Stop<A> {
    handle: Handle,
    doors: Doors<A>,
    ending: Ending,
}

impl<A: ServerApp + Send + Sync + 'static> Stop<A> {
    /// A process that runs until it is told to stop.
    pub(crate) fn new(handle: Handle, doors: Doors<A>, ending: Ending) -> Self {
        Self { handle, doors, ending }
    }

    fn open(&self) -> u64 {
        self.handle.world().regions.iter().map(|it| it.open.count()).sum()
    }

    /// Everything between the first word and the end.
    async fn end(&self, cause: Cause) {
        let rules = self.handle.world().snapshot.policy.stop.clone();
        self.doors.send_off();
        // A successor takes connections already, so nobody has to be warned.
        if cause == Cause::Told && !rules.lame_duck.is_zero() {
            let lame_duck = format!("{:?}", rules.lame_duck);
            tracing::info!(lame_duck, "not ready any more, connections are still taken");
            sleep(rules.lame_duck).await;
        }
        self.doors.close();
        let (open, connections) = (self.open(), self.doors.connections());
        tracing::info!(open, connections, "no connections are taken any more");
        match rules.within {
            None => self.until_empty().await,
            Some(within) if timeout(within, self.until_empty()).await.is_ok() => {}
            Some(_) => {
                tracing::warn!(open = self.open(), "the time to stop is over, requests are cut");
                self.ending.0.unclean.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn until_empty(&self) {
        let mut said = interval(SAY_EVERY);
        said.tick().await;
        while 0 < self.doors.connections() {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                _ = said.tick() => {
                    let (open, connections) = (self.open(), self.doors.connections());
                    tracing::info!(open, connections, "waiting for what is open");
                }
            }
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ShutdownSignalWatch for Stop<A> {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut term), Ok(mut int)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be watched");
            return ShutdownSignal::FastShutdown;
        };
        tokio::select! {
            () = told(&mut term, &mut int) => self.ending.begin(Cause::Told),
            () = self.ending.began() => {}
        }
        let cause = self.ending.cause().unwrap_or(Cause::Told);
        tracing::info!(?cause, open = self.open(), "stopping");
        tokio::select! {
            () = self.end(cause) => {}
            () = told(&mut term, &mut int) => {
                tracing::warn!(open = self.open(), "told to stop again: at once");
                self.ending.0.unclean.store(true, Ordering::Relaxed);
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
