//! Where connections come in: listeners that can be added, changed and removed while all is running.
//!
//! A listener that is removed takes no connection any more; the ones that it took end by themselves,
//! each after the request that it carries. Nothing here ever cuts a request.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tidegate_proxy::connection::ConnectionMetrics;
use tokio::runtime::Handle;

use door::{Door, Place};
pub(crate) use inherited::{Inherited, Lent};
use pulse::Expected;
pub(crate) use socket::Address;
use socket::Socket;

use crate::say::Trouble;

mod door;
mod inherited;
mod janitor;
mod pulse;
mod socket;

/// How often we look whether an address is free again.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How many times we look.
const LOOKS_MAX: u32 = 50;

/// A listener as it is wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Where.
    pub(crate) address: Address,
    /// From the first byte of a request to the end of its head.
    pub(crate) head: Duration,
    /// How long a connection may be idle between two requests.
    pub(crate) keepalive: Duration,
}

/// The listeners of one application.
pub(crate) struct Doors<A>(Arc<Inner<A>>);

impl<A> Clone for Doors<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<A> {
    app: Arc<A>,
    metrics: ConnectionMetrics,
    expected: Arc<Expected>,
    lent: Lent,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where tasks run; `None` before the server starts.
    runtime: Option<Handle>,
    /// Whether nothing is taken yet, although the server runs.
    held: bool,
    doors: Vec<Door>,
    /// Doors that take nothing any more, as long as somebody is inside.
    leaving: Vec<Door>,
}

/// Listeners that were bound and are not in use yet. Dropping them changes nothing.
#[derive(Debug)]
pub(crate) struct Prepared {
    wishes: Vec<Wish>,
    bound: Vec<(Address, Socket)>,
}

impl<A: ServerApp + Send + Sync + 'static> Doors<A> {
    /// An application without any listener; it may listen where the service manager does.
    pub(crate) fn new(app: A, metrics: ConnectionMetrics, lent: Lent) -> Self {
        let (app, expected, state) = (Arc::new(app), Arc::default(), Mutex::default());
        Self(Arc::new(Inner { app, metrics, expected, lent, state }))
    }

    /// Binds what is wished for and not there yet, and changes nothing.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub(crate) fn prepare(
        &self,
        wishes: Vec<Wish>,
        inherited: &mut Inherited,
    ) -> Result<Prepared, Trouble> {
        let mut bound = Vec::new();
        for Wish { address, .. } in &wishes {
            if self.state().doors.iter().any(|it| it.address() == address) {
                continue;
            }
            let there = inherited.take(address).map(Ok).or_else(|| self.0.lent.find(address));
            let socket = match there {
                Some(socket) => socket.and_then(|it| Socket::adopt(address, it)),
                None => self.bind(address),
            };
            bound.push((address.clone(), socket.map_err(|error| self.trouble(address, &error))?));
        }
        Ok(Prepared { wishes, bound })
    }

    fn trouble(&self, address: &Address, error: &io::Error) -> Trouble {
        let beside = self.0.lent.beside(address);
        let hint = beside.map(|it| format!("; the service manager listens at {it}, not there"));
        Trouble::Doing("listen", format!("{address}: {error}{}", hint.unwrap_or_default()))
    }

    fn bind(&self, address: &Address) -> io::Result<Socket> {
        let is_leaving = || {
            let state = self.state();
            state.leaving.iter().any(|it| it.address() == address && !it.is_shut())
        };
        // A listener that was removed just now takes its last connections.
        let mut looks = 0;
        while looks < LOOKS_MAX && is_leaving() {
            std::thread::sleep(LOOK_EVERY);
            looks += 1;
        }
        Socket::bind(address)
    }

    /// Puts in use what was prepared, and lets go what is not wished for any more.
    pub(crate) fn commit(&self, prepared: Prepared) {
        let Prepared { wishes, mut bound } = prepared;
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.doors);
        for wish in wishes {
            let Wish { address, head, keepalive } = wish;
            let known = before.iter().position(|it| *it.address() == address);
            let mut door = if let Some(place) = known {
                before.swap_remove(place)
            } else {
                // Whatever is not known was bound by `prepare`.
                let Some(place) = bound.iter().position(|(it, _)| *it == address) else { continue };
                Door::new(bound.swap_remove(place))
            };
            door.limit(head, keepalive);
            if let Some(runtime) = state.runtime.as_ref().filter(|_| !state.held) {
                door.open(runtime, &self.place());
            }
            state.doors.push(door);
        }
        before.iter_mut().for_each(Door::close);
        state.leaving.append(&mut before);
    }

    /// Takes no connection any more, and lets go the ones there are.
    pub(crate) fn close(&self) {
        self.commit(Prepared { wishes: Vec::new(), bound: Vec::new() });
    }

    /// Connections end after the request that they carry, while new ones are still taken.
    pub(crate) fn send_off(&self) {
        self.state().doors.iter().for_each(Door::send_off);
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> i64 {
        self.0.metrics.open.get()
    }

    /// Another hold on every listening socket, for a successor, by the name of its address.
    ///
    /// # Errors
    /// When the process has as many files open as it may have.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let state = self.state();
        let sockets = state.doors.iter().filter_map(|it| Some((it.address(), it.socket()?)));
        sockets
            .map(|(address, socket)| Ok((address.to_string(), socket.try_clone_to_owned()?)))
            .collect()
    }

    /// Takes nothing until told to, also when the server runs. Whoever connects meanwhile waits,
    /// or is taken by another process that has the same sockets.
    pub(crate) fn hold(&self) {
        self.state().held = true;
    }

    /// Takes connections from now on, or from the start of the server.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.held = false;
        self.open_all(&mut state);
    }

    /// Whether the server runs, so that connections are taken as soon as they may be.
    pub(crate) fn is_running(&self) -> bool {
        self.state().runtime.is_some()
    }

    /// Whether nothing takes connections any more.
    pub(crate) fn is_shut(&self) -> bool {
        let state = self.state();
        state.doors.is_empty() && state.leaving.iter().all(Door::is_shut)
    }

    fn place(&self) -> Place<A> {
        let (app, expected) = (Arc::clone(&self.0.app), Arc::clone(&self.0.expected));
        Place { app, metrics: self.0.metrics.clone(), expected }
    }

    /// Opens every door, in the runtime of the caller.
    fn start(&self) {
        let mut state = self.state();
        state.runtime = Some(Handle::current());
        self.open_all(&mut state);
    }

    fn open_all(&self, state: &mut State) {
        let State { runtime, held, doors, .. } = state;
        if let Some(runtime) = runtime.as_ref().filter(|_| !*held) {
            let place = self.place();
            for door in doors {
                door.open(runtime, &place);
            }
        }
    }

    /// Looks at every connection, and ends those that waited too long.
    fn look(&self) {
        let mut state = self.state();
        let doors = state.doors.iter().chain(&state.leaving);
        doors.for_each(|it| it.look(&self.0.metrics));
        state.leaving.retain(|it| !it.is_empty());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> fmt::Debug for Doors<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

/// Listeners as a service of the server: its threads carry all that comes in.
#[derive(Debug)]
pub(crate) struct DoorService<A> {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) doors: Doors<A>,
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for DoorService<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        self.doors.start();
        janitor::every_so_often(|| self.doors.look()).await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(self.threads)
    }
}
