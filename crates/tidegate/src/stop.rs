//! Stopping: not ready, lame duck, no new connections, then as soon as nothing is open any more;
//! and at once when told twice.

use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tidegate_control::Handle;
use tidegate_core::drain;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{interval, sleep, timeout};

use crate::admin::Admin;
use crate::doors::Doors;
use crate::ending::{Cause, Ending};
use crate::notify;
use crate::upgrade::Elders;

/// How often we look whether something is still open.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often we say what we are waiting for.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// What the service manager gives us until we say it again.
const EXTENSION: Duration = Duration::from_secs(30);
/// How long answers to operators may take when another process has taken over.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Decides when the process ends.
pub(crate) struct Stop<A> {
    pub(crate) handle: Handle,
    pub(crate) doors: Doors<A>,
    /// Where operators come in.
    pub(crate) admin: Vec<Doors<Admin>>,
    pub(crate) elders: Elders,
    pub(crate) ending: Ending,
}

impl<A: ServerApp + Send + Sync + 'static> Stop<A> {
    fn open(&self) -> u64 {
        self.handle.ledger().open()
    }

    /// Everything between the first word and the end.
    async fn end(&self) {
        if self.ending.began().await == Cause::Succeeded {
            self.leave().await;
            tokio::select! {
                // What is open has all the time that it needs: nobody waits for the end.
                () = self.until_empty(Cause::Succeeded) => {
                    self.has_left(drain::Cause::Upgrade).await;
                    return self.until_answered().await;
                }
                () = self.ending.told() => self.stop(Duration::ZERO).await,
            }
        } else {
            let lame_duck = self.handle.world().snapshot.policy.stop.lame_duck;
            self.stop(lame_duck).await;
        }
    }

    /// The way of a process that was told to stop.
    async fn stop(&self, lame_duck: Duration) {
        tracing::info!(open = self.open(), "stopping");
        notify::stopping("stopping");
        self.empties(drain::Cause::Stop);
        self.elders.stop();
        self.doors.send_off();
        if !lame_duck.is_zero() {
            let lame_duck_ms = lame_duck.as_millis();
            tracing::info!(lame_duck_ms, "not ready any more, connections are still taken");
            notify::still_stopping(lame_duck + EXTENSION, "lame duck");
            sleep(lame_duck).await;
        }
        self.close();
        match self.handle.world().snapshot.policy.stop.within {
            None => self.until_empty(Cause::Told).await,
            Some(within) if timeout(within, self.until_empty(Cause::Told)).await.is_ok() => {}
            Some(_) => {
                let what = self.handle.ledger().summary();
                tracing::warn!(open = self.open(), %what, "the time to stop is over, requests are cut");
                self.ending.ends_unclean();
            }
        }
        self.has_left(drain::Cause::Stop).await;
    }

    /// Leaves every listener to the process that has taken over.
    async fn leave(&self) {
        self.empties(drain::Cause::Upgrade);
        self.close();
        self.admin.iter().for_each(Doors::close);
        while !(self.doors.is_shut() && self.admin.iter().all(Doors::is_shut)) {
            sleep(LOOK_EVERY / 4).await;
        }
        self.ending.has_left();
    }

    /// Every region counts from now on how what is open ends.
    fn empties(&self, cause: drain::Cause) {
        if let Err(busy) = self.handle.leave(Some(cause)) {
            tracing::warn!(%busy, "how requests end is not counted");
        }
    }

    /// Tells how everything has ended since then, before the process does.
    async fn has_left(&self, cause: drain::Cause) {
        if timeout(ANSWERED_WITHIN, self.handle.has_left(cause)).await.is_err() {
            tracing::warn!("how requests ended is not counted");
        }
    }

    fn close(&self) {
        self.doors.close();
        let (open, connections) = (self.open(), self.doors.connections());
        tracing::info!(open, connections, "no connections are taken any more");
    }

    /// Waits until nothing is open here, and, when the whole service stops, nowhere else.
    async fn until_empty(&self, cause: Cause) {
        let mut said = interval(SAY_EVERY);
        loop {
            let connections = self.doors.connections();
            let elders = if cause == Cause::Told { self.elders.pids().len() } else { 0 };
            // A write may go on when its client is gone, and who has connected last may not be
            // inside yet.
            let is_empty = connections == 0 && self.doors.is_shut();
            if is_empty && elders == 0 && self.open() == 0 {
                return;
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                _ = said.tick() => {
                    let open = self.open();
                    let what = self.handle.ledger().summary();
                    tracing::info!(open, %what, connections, elders, "waiting for what is open");
                    if cause == Cause::Told {
                        let status =
                            format!("open: {connections} connections, {elders} processes before");
                        notify::still_stopping(EXTENSION, &status);
                    }
                }
            }
        }
    }

    /// Waits until operators have their answers, the one who asked for a successor among them.
    async fn until_answered(&self) {
        let answered = async {
            while self.admin.iter().any(|it| 0 < it.connections()) {
                sleep(LOOK_EVERY).await;
            }
        };
        drop(timeout(ANSWERED_WITHIN, answered).await);
    }

    /// Hears signals until one says that the process is to end at once.
    async fn hear(&self, term: &mut Signal, int: &mut Signal) {
        loop {
            tokio::select! {
                () = told(term, int) => {
                    if !self.ending.begin(Cause::Told) {
                        self.ending.at_once();
                    }
                }
                () = self.ending.told_again() => break,
            }
        }
        tracing::warn!(open = self.open(), "told to stop again: at once");
        self.elders.end();
        self.ending.ends_unclean();
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
            () = self.end() => {}
            () = self.hear(&mut term, &mut int) => {}
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
