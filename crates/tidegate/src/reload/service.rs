//! The task that waits for reasons to load the policy: orders, SIGHUP, the file, a deadline.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::clock;
use tidegate_core::Moment;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::reloader::Reloader;
use super::{Options, Order, Request, Trigger};

/// The reloader as a service of the server.
pub(crate) struct ReloadService(Mutex<Option<Reloader>>);

impl ReloadService {
    /// A service that starts with the server.
    pub(crate) fn new(reloader: Reloader) -> Self {
        Self(Mutex::new(Some(reloader)))
    }
}

#[async_trait]
impl BackgroundService for ReloadService {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let reloader = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reloader) = reloader {
            Box::pin(run(reloader)).await;
        }
    }
}

impl fmt::Debug for ReloadService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadService").finish_non_exhaustive()
    }
}

/// Why the task woke up.
enum Reason {
    Ordered(Request),
    Signalled,
    Due,
    Look,
}

/// Takes SIGHUP from the system, which would end the process, before anything else is done.
///
/// What comes before the service runs is not lost: the policy is read about then anyway.
///
/// # Errors
/// When the system gives no descriptors for it.
pub(crate) fn heed_hangup() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    // The handler stays when the runtime goes.
    runtime.block_on(async {
        // The other one asks for an upgrade, and would end the process just as well.
        drop(signal(SignalKind::user_defined2())?);
        signal(SignalKind::hangup()).map(drop)
    })
}

async fn run(mut reloader: Reloader) {
    let _guard = ToldOnPanic;
    let mut hangup = signal(SignalKind::hangup()).ok();
    if hangup.is_none() {
        tracing::error!("SIGHUP cannot be watched");
    }
    reloader.begin().await;
    let mut looked = clock::now();
    loop {
        let deadline = reloader.deadline();
        let next_look = reloader.watches_every().map(|every| looked.plus(every));
        let reason = tokio::select! {
            Some(request) = reloader.orders.recv() => Reason::Ordered(request),
            () = signalled(&mut hangup) => Reason::Signalled,
            () = until(deadline) => Reason::Due,
            () = until(next_look) => Reason::Look,
        };
        match reason {
            Reason::Ordered(Request { order, answer }) => {
                let done = reloader.carry_out(Trigger::Operator, &order).await;
                // Who asked may have gone; what was asked is done all the same.
                drop(answer.send(done));
            }
            Reason::Signalled => load(&mut reloader, Trigger::Signal).await,
            Reason::Due => {
                let rolled_back = reloader.carry_out(Trigger::Deadline, &Order::RollBack).await;
                // It has been told.
                drop(rolled_back);
            }
            Reason::Look => {
                looked = clock::now();
                // What was seen with the last attempt is not tried again, be it good or bad.
                let seen = reloader.seen.clone();
                let present = spawn_blocking(move || seen.again()).await;
                // Who leaves does not load anything; who comes reads the file anyway.
                let is_new = present.is_ok_and(|it| it != reloader.seen);
                if is_new && !reloader.is_leaving() {
                    load(&mut reloader, Trigger::Watch).await;
                }
            }
        }
    }
}

/// A task that is gone cannot say that nobody loads the policy any more.
struct ToldOnPanic;

impl Drop for ToldOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("reloading panicked, the policy in force stays until a restart");
        }
    }
}

async fn load(reloader: &mut Reloader, trigger: Trigger) {
    let loaded = reloader.carry_out(trigger, &Order::Reload(Options::default())).await;
    // It has been told.
    drop(loaded);
}

async fn signalled(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits for a moment; for ever without one.
async fn until(moment: Option<Moment>) {
    match moment {
        Some(moment) => sleep(moment.since(clock::now())).await,
        None => std::future::pending().await,
    }
}
