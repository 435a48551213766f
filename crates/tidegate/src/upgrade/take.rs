//! Taking over: what a successor does until it serves.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tidegate_control::{Handle, clock};
use tidegate_core::board::memory::Memory;
use tidegate_core::policy::StickyKey;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::elders::{Elders, is_there};
use super::line::{Broken, Line};
use super::memory::Remembered;
use super::message::{Knowledge, Lot, PROTOCOL, Said, Told};
use super::successor::start_and_let_go;
use super::{Called, LINE, STARTS};
use crate::doors::{Inherited, Lent};
use crate::notify;
use crate::say::Trouble;
use crate::verbs::VERSION;

/// How often we look whether the process is ready.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a first process lets clients wait until it knows where they may go.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// How long a successor waits for the store to tell who owns what.
const OWNERS_WITHIN: Duration = Duration::from_secs(2);

/// The process that this one is to replace.
#[derive(Debug)]
pub(crate) struct Predecessor {
    line: Line,
    pid: u32,
    was_ready: bool,
    reached: Vec<String>,
}

/// What a process is.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is the first one.
    Nobody,
    /// It replaces this one.
    Predecessor(Predecessor),
    /// It has started somebody who does, and nothing is left to do.
    Started,
}

/// What a process begins with.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Sockets that listen already.
    pub(crate) sockets: Inherited,
    /// Sockets that the service manager has open as well.
    pub(crate) lent: Lent,
    /// What is known.
    pub(crate) memory: Memory,
    /// The processes that still drain.
    pub(crate) elders: Elders,
    /// What signs sessions where the policy has no key.
    pub(crate) process_key: Option<StickyKey>,
}

impl Predecessor {
    /// The predecessor of this process, if it has one.
    ///
    /// # Errors
    /// When there should be a line to one, and standard input is none.
    pub(crate) fn find() -> Result<Found, Trouble> {
        let Some(role) = std::env::var_os(LINE) else { return Ok(Found::Nobody) };
        let trouble = |error: std::io::Error| {
            let why = format!("{LINE} is set, and standard input is no line: {error}");
            Trouble::Doing("find the process before this one", why)
        };
        let line = std::io::stdin().as_fd().try_clone_to_owned().map_err(trouble)?;
        let line = UnixStream::from(line);
        line.peer_addr().map_err(trouble)?;
        if role == STARTS {
            let started = Called::this_process().and_then(|it| start_and_let_go(&it));
            started.map_err(|error| Trouble::doing("start the successor")(&error))?;
            return Ok(Found::Started);
        }
        let (line, reached) = (Line::new(line), Vec::new());
        Ok(Found::Predecessor(Self { line, pid: 0, was_ready: false, reached }))
    }

    /// Says that this process cannot serve, and why.
    pub(crate) fn refuse(&mut self, trouble: &Trouble) {
        // It notices our end all the same.
        drop(self.line.send(&Said::Failed(trouble.to_string())));
    }

    /// Takes everything over; the predecessor goes on serving.
    ///
    /// # Errors
    /// When the predecessor goes away, or says something else.
    pub(crate) fn take_over(&mut self) -> Result<Legacy, Trouble> {
        self.receive().map_err(|error| Trouble::doing("take over")(&error))
    }

    fn receive(&mut self) -> Result<Legacy, Broken> {
        let (pid, version) = (std::process::id(), VERSION.to_owned());
        self.line.send(&Said::Hello { protocol: PROTOCOL, pid, version })?;
        let mut listening: Vec<(String, OwnedFd)> = Vec::new();
        let mut lent: Vec<(String, OwnedFd)> = Vec::new();
        let elders = Elders::default();
        let knowledge = loop {
            match self.line.receive()? {
                Told::Sockets(lots) => {
                    let sockets = self.line.take_sockets(lots.len())?;
                    for (lot, socket) in lots.into_iter().zip(sockets) {
                        match lot {
                            Lot::Listens(name) => listening.push((name, socket)),
                            Lot::Lent(name) => lent.push((name, socket)),
                            Lot::Drains(pid) => elders.add(pid, socket.into()),
                        }
                    }
                }
                Told::Knowledge(knowledge) => break knowledge,
                Told::Serve => return Err(Broken::Sockets),
            }
        };
        let Knowledge { ready, reaches, pid, process_key, board } = knowledge;
        (self.was_ready, self.reached, self.pid) = (ready, reaches, pid);
        let (sockets, memory) = (Inherited::new(listening), memory(board));
        let (lent, process_key) = (Lent::by_predecessor(lent), process_key.map(Into::into));
        Ok(Legacy { sockets, lent, memory, elders, process_key })
    }

    /// Says that a step is done.
    pub(crate) fn step(&mut self, step: &str) {
        // A predecessor that is gone is noticed where it matters.
        drop(self.line.send(&Said::Step(step.to_owned())));
    }

    /// The regions that the predecessor reaches and this process, which has them as well, does not;
    /// without any that both have, one must be reached all the same.
    fn missing(&self, handle: &Handle) -> Vec<String> {
        let reaches = handle.reaches();
        let world = handle.world();
        let has = |name: &String| world.snapshot.regions.iter().any(|it| *it.name == **name);
        let missing = self.reached.iter().filter(|it| has(it) && !reaches.contains(it));
        let missing: Vec<String> = missing.cloned().collect();
        let is_lost = reaches.is_empty() && !self.reached.is_empty();
        if is_lost && missing.is_empty() { vec!["any region".to_owned()] } else { missing }
    }

    /// Whether the predecessor still has its end of the line.
    fn is_there(&self) -> bool {
        self.line.stream().is_ok_and(|it| is_there(&it))
    }

    /// Says that this process is ready, and waits until it may serve.
    ///
    /// Who dies after it has handed everything over leaves a successor that serves all the same.
    fn succeed(mut self, elders: &Elders) {
        // Before it is ready, so that it never serves without knowing whom it has to wait for.
        match self.line.stream() {
            Ok(stream) => elders.add(self.pid, stream),
            Err(error) => tracing::warn!(%error, "the process before this one is not watched"),
        }
        let told = self.line.send(&Said::Ready).and_then(|()| self.line.receive::<Told>());
        match told {
            Ok(Told::Serve) => {}
            told => {
                let why = told.err().map(|error| error.to_string());
                tracing::warn!(why, "the process before this one is gone before its time");
            }
        }
    }
}

/// What the predecessor knew. A memory that cannot be read costs the time of the first probes.
fn memory(board: serde_json::Value) -> Memory {
    let remembered = serde_json::from_value::<Remembered>(board).map_err(|it| it.to_string());
    let memory = remembered.and_then(|it| it.memory(clock::now()).map_err(|it| it.to_string()));
    memory.unwrap_or_else(|error| {
        tracing::warn!(error, "what the process before this one knew cannot be read");
        Memory::default()
    })
}

/// Waits until the process can serve, and tells everybody whom that concerns.
pub(crate) struct Arrival {
    pub(crate) handle: Handle,
    pub(crate) elders: Elders,
    pub(crate) predecessor: Mutex<Option<Predecessor>>,
    /// Whether nothing but permission is missing to take connections.
    pub(crate) is_running: Box<dyn Fn() -> bool + Send + Sync>,
    /// Takes connections from now on.
    pub(crate) open: Box<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl BackgroundService for Arrival {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        match predecessor {
            Some(predecessor) => self.succeed(predecessor).await,
            None => self.begin().await,
        }
        notify::ready("serving");
    }
}

impl Arrival {
    /// The way of a process that nobody was before.
    async fn begin(&self) {
        // Who waits in the manager's queue is answered as soon as there is something to answer.
        drop(timeout(OPENED_WITHIN, self.until_ready()).await);
        (self.open)();
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        while !((self.is_running)() && self.handle.is_ready()) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until writes that somebody owns may be sent, so that none is refused for an upgrade.
    async fn until_owners_are_known(&self) {
        let is_owned = || self.handle.world().snapshot.policy.ownership.is_some();
        while is_owned() && !self.handle.permits().is_leased(clock::now()) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The way of a process that takes over.
    async fn succeed(&self, mut predecessor: Predecessor) {
        self.until_it_may_succeed(&mut predecessor).await;
        // Without its store it serves reads, as the process before it does.
        drop(timeout(OWNERS_WITHIN, self.until_owners_are_known()).await);
        let elders = self.elders.clone();
        let pid = predecessor.pid;
        // The wait is for another process, and must not hold up this runtime.
        drop(spawn_blocking(move || predecessor.succeed(&elders)).await);
        // Not earlier: what crashes on its way here takes no client along, and what knows nothing
        // yet answers none. Who connects in between waits in the queue of the socket.
        (self.open)();
        self.handle.metrics().upgraded("succeeded");
        tracing::info!(before = pid, "this process serves now");
    }

    /// Waits until this process is as good as the one before it, or that one is gone.
    async fn until_it_may_succeed(&self, predecessor: &mut Predecessor) {
        // Who replaces a process that was not ready has nothing to wait for.
        if predecessor.was_ready {
            self.until_ready().await;
        }
        let mut told = Vec::new();
        loop {
            let missing = predecessor.missing(&self.handle);
            if ((self.is_running)() && missing.is_empty()) || !predecessor.is_there() {
                break;
            }
            if told != missing && !missing.is_empty() {
                let names = missing.join(", ");
                predecessor
                    .step(&format!("it waits for {names}, which the process before reaches"));
                told = missing;
            }
            sleep(LOOK_EVERY).await;
        }
        // Alone, it serves with what it has.
        while !(self.is_running)() {
            sleep(LOOK_EVERY).await;
        }
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").finish_non_exhaustive()
    }
}
