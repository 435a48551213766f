//! Upgrade: another process takes the listening sockets and all that is known, and then serves.
//!
//! The process that serves starts its successor, with its own arguments and a [`line`] as standard
//! input, and goes on as if nothing had happened. Only when the successor says that it is ready
//! does the old process stop to take connections and drain. Whatever the successor does instead
//! ends the successor, and nothing else.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::Handle;
use tidegate_core::policy::StickyKey;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::doors::Lent;
use crate::ending::{Cause, Ending};
use crate::reload::Reloads;
pub(crate) use elders::Elders;
use successor::Successor;
pub(crate) use take::{Arrival, Found, Legacy, Predecessor};

mod elders;
mod give;
mod line;
mod memory;
mod message;
mod successor;
mod take;

/// The environment variable that tells a process that its standard input is the line to its
/// predecessor.
const LINE: &str = "TIDEGATE_LINE";
/// Its value for a process that is to start the successor, and for the successor itself.
const STARTS: &str = "starts";
const SUCCEEDS: &str = "succeeds";

/// How long a successor may take when nobody says otherwise.
pub(crate) const WITHIN: Duration = Duration::from_mins(1);

/// What somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The program; the own one, as it lies there now, when `None`.
    pub(crate) binary: Option<PathBuf>,
    /// How long the successor may take to be ready.
    pub(crate) within: Duration,
    /// Whether it may serve also when it reaches fewer regions than this process.
    pub(crate) force: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { binary: None, within: WITHIN, force: false }
    }
}

/// What is heard of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done.
    Step(String),
    /// The successor serves.
    Done {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// Everything is as it was.
    Failed(String),
}

/// Why an upgrade is not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Another one is under way.
    #[error("an upgrade is under way")]
    UnderWay,
    /// The process ends.
    #[error("this process is ending")]
    Ending,
    /// The process is the first of its container, which ends with it.
    #[error("this is process 1, and its container would end with it; replace the container")]
    First,
    /// The process does more than to serve a policy file.
    #[error("a demonstration has no successor")]
    Demonstration,
    /// The policy in force may be rolled back, and a successor would not do that.
    #[error("a policy waits for its confirmation; confirm it or roll it back first")]
    Unconfirmed,
}

/// How this process was called.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    binary: PathBuf,
    arguments: Vec<OsString>,
}

impl Called {
    /// How this process was called, with the path at which its program lay.
    ///
    /// The path is taken as it was written: a link that points elsewhere later is how many
    /// programs are replaced. A name without a path is looked up as the system did it.
    pub(crate) fn this_process() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let name = words.next().map(PathBuf::from).unwrap_or_default();
        let is_path = name.components().count() > 1;
        let binary = if is_path { std::path::absolute(name)? } else { std::env::current_exe()? };
        Ok(Self { binary, arguments: words.collect() })
    }
}

/// What a successor gets besides what the board knows.
pub(crate) struct Estate {
    /// Where listening sockets come from.
    pub(crate) sockets: Sockets,
    /// What the service manager has open as well.
    pub(crate) lent: Lent,
    /// What signs sessions where the policy has no key: with another one every client would be a
    /// stranger.
    pub(crate) key: StickyKey,
    /// The policy in force: it may be one that the file does not have for good.
    pub(crate) reloads: Reloads,
}

/// Another hold on every listening socket, by the name of its address.
pub(crate) type Sockets = Box<dyn Fn() -> io::Result<Vec<(String, OwnedFd)>> + Send + Sync>;

/// Replaces this process by another one. All copies are one.
#[derive(Clone)]
pub(crate) struct Upgrades(Arc<Inner>);

struct Inner {
    handle: Handle,
    ending: Ending,
    elders: Elders,
    called: Option<Called>,
    estate: OnceLock<Estate>,
    under_way: Mutex<Option<Successor>>,
}

impl Upgrades {
    /// For a process that was called so; `None` for one that cannot be replaced.
    pub(crate) fn new(
        handle: Handle,
        ending: Ending,
        elders: Elders,
        called: Option<Called>,
    ) -> Self {
        Self(Arc::new(Inner {
            handle,
            ending,
            elders,
            called,
            estate: OnceLock::new(),
            under_way: Mutex::default(),
        }))
    }

    /// What a successor gets.
    pub(crate) fn hands_over(&self, estate: Estate) {
        // It is called once, where the process is put together.
        drop(self.0.estate.set(estate));
    }

    /// Ends a successor that does not serve; without one nothing happens.
    pub(crate) fn give_up(&self) {
        if !self.0.ending.was_succeeded()
            && let Some(successor) = &*self.0.under_way()
        {
            successor.end();
        }
    }

    /// What is known about the end of this process.
    pub(crate) fn ending(&self) -> &Ending {
        &self.0.ending
    }

    /// The processes that this one replaced and that still drain.
    pub(crate) fn elders(&self) -> &Elders {
        &self.0.elders
    }

    /// Begins an upgrade, and answers where its progress is heard. Nobody needs to listen.
    ///
    /// # Errors
    /// When the process cannot be replaced, or not now.
    pub(crate) fn begin(
        &self,
        wanted: Wanted,
    ) -> Result<mpsc::UnboundedReceiver<Progress>, Refused> {
        let Some(called) = self.0.called.clone() else { return Err(Refused::Demonstration) };
        if std::process::id() == 1 {
            return Err(Refused::First);
        }
        let mut under_way = self.0.under_way();
        if under_way.is_some() {
            return Err(Refused::UnderWay);
        }
        if self.0.ending.cause().is_some() {
            return Err(Refused::Ending);
        }
        if self.0.estate.get().is_some_and(|it| it.reloads.status().is_pending()) {
            return Err(Refused::Unconfirmed);
        }
        *under_way = Some(Successor::default());
        self.0.ending.hands_over(true);
        drop(under_way);
        let (sender, progress) = mpsc::unbounded_channel();
        let inner = Arc::clone(&self.0);
        let runtime = runtime::Handle::current();
        // A thread of its own, because it waits for another process.
        let thread = thread::Builder::new().name("upgrade".to_owned());
        let failed = sender.clone();
        let begun = thread.spawn(move || {
            let tell = |told: Progress| {
                // Who asked may have gone; the log tells it as well.
                drop(sender.send(told));
            };
            give::upgrade(&inner, &runtime, (&called, &wanted), &tell);
        });
        if let Err(error) = begun {
            self.0.stays();
            drop(failed.send(Progress::Failed(format!("start a thread: {error}"))));
        }
        Ok(progress)
    }
}

impl Inner {
    /// The upgrade is over, and nothing has come of it.
    fn stays(&self) {
        *self.under_way() = None;
        self.ending.hands_over(false);
    }

    fn under_way(&self) -> MutexGuard<'_, Option<Successor>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrades").finish_non_exhaustive()
    }
}

/// Upgrades when SIGUSR2 says so, and ends an upgrade when the process ends.
#[async_trait]
impl BackgroundService for Upgrades {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Ok(mut signals) = signal(SignalKind::user_defined2()) else {
            tracing::error!("SIGUSR2 cannot be watched");
            return;
        };
        loop {
            tokio::select! {
                cause = self.0.ending.began() => {
                    if cause == Cause::Told {
                        self.give_up();
                    }
                    return;
                }
                _ = signals.recv() => {
                    if let Err(refused) = self.begin(Wanted::default()) {
                        tracing::warn!(%refused, "not upgraded");
                    }
                }
            }
        }
    }
}
