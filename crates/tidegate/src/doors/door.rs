//! One listener: it takes connections, and knows each of them until it ends.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tidegate_proxy::connection::{self, Connection, ConnectionMetrics};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use super::janitor::{Ended, Limits, Seen};
use super::pulse::Expected;
use super::socket::{Address, Listener, Socket, Taken};

/// What a listener waits after it could not take a connection: until then one may have ended.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that are still taken when a listener ends: those that were waiting already.
const LAST_TAKEN_MAX: usize = 65_535;

/// What a door needs of the house.
#[derive(Debug)]
pub(super) struct Place<A> {
    pub(super) app: Arc<A>,
    pub(super) metrics: ConnectionMetrics,
    pub(super) expected: Arc<Expected>,
}

impl<A> Clone for Place<A> {
    fn clone(&self) -> Self {
        let (app, expected) = (Arc::clone(&self.app), Arc::clone(&self.expected));
        Self { app, metrics: self.metrics.clone(), expected }
    }
}

/// One listener.
#[derive(Debug)]
pub(super) struct Door {
    address: Address,
    socket: Option<Socket>,
    limits: Limits,
    shared: Arc<Shared>,
}

/// What a listener and its connections have in common.
#[derive(Debug)]
struct Shared {
    /// Told to Pingora: each connection ends after the requests that it carries.
    parting: watch::Sender<bool>,
    parting_seen: ShutdownWatch,
    /// Told to the task that takes connections.
    shut: watch::Sender<bool>,
    /// Whether that task is gone.
    is_shut: AtomicBool,
    state: Arc<connection::Door>,
    inside: Mutex<Inside>,
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Inside {
    next: u64,
    connections: HashMap<u64, (Arc<Connection>, Seen)>,
}

impl Door {
    pub(super) fn new((address, socket): (Address, Socket)) -> Self {
        let (parting, parting_seen) = watch::channel(false);
        let shared = Arc::new(Shared {
            parting,
            parting_seen,
            shut: watch::Sender::new(false),
            is_shut: AtomicBool::new(true),
            state: Arc::default(),
            inside: Mutex::default(),
        });
        let limits = Limits { head: Duration::MAX, keepalive: Duration::MAX };
        Self { address, socket: Some(socket), limits, shared }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn limit(&mut self, head: Duration, keepalive: Duration) {
        self.limits = Limits { head, keepalive };
    }

    /// Takes connections from now on; nothing changes when it does so already.
    pub(super) fn open<A>(&mut self, runtime: &Handle, place: &Place<A>)
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let Some(socket) = &self.socket else { return };
        if !self.shared.is_shut.swap(false, Ordering::Relaxed) {
            return;
        }
        let _entered = runtime.enter();
        match socket.listener() {
            Ok(listener) => {
                let taking = take(listener, Arc::clone(&self.shared), place.clone());
                drop(runtime.spawn(taking));
            }
            Err(error) => {
                self.shared.is_shut.store(true, Ordering::Relaxed);
                tracing::error!(listener = %self.address, %error, "a listener cannot be used");
            }
        }
    }

    /// Connections end after the request that they carry, while new ones are still taken.
    pub(super) fn send_off(&self) {
        self.shared.state.close();
        self.shared.parting.send_replace(true);
    }

    /// Takes no connection any more.
    pub(super) fn close(&mut self) {
        self.send_off();
        self.shared.shut.send_replace(true);
        self.socket = None;
    }

    /// Whether its address is free again.
    pub(super) fn is_shut(&self) -> bool {
        self.shared.is_shut.load(Ordering::Relaxed)
    }

    /// Whether nobody is inside and nobody can come in.
    pub(super) fn is_empty(&self) -> bool {
        self.is_shut() && self.shared.inside().connections.is_empty()
    }

    /// Looks at each connection, and ends those that waited too long.
    pub(super) fn look(&self, metrics: &ConnectionMetrics) {
        for (connection, seen) in self.shared.inside().connections.values_mut() {
            match seen.again(connection, self.limits) {
                Some(Ended::Idle) => drop(metrics.idle.inc()),
                Some(Ended::Late) => drop(metrics.late.inc()),
                Some(Ended::Parted) | None => {}
            }
        }
    }

    /// The listening socket.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one connection after another, until the listener is shut.
async fn take<A>(listener: Listener, shared: Arc<Shared>, place: Place<A>)
where
    A: ServerApp + Send + Sync + 'static,
{
    let mut shut = shared.shut.subscribe();
    loop {
        let taken = tokio::select! {
            biased;
            taken = listener.accept() => taken,
            _ = shut.wait_for(|it| *it) => break,
        };
        if let Err(error) = taken.map(|it| receive(it, &shared, &place)) {
            place.metrics.refused.inc();
            tracing::warn!(%error, "a connection cannot be taken");
            // Without the pause an error that lasts, such as too many open files, would be all
            // that this thread does.
            sleep(PAUSE).await;
        }
    }
    // Who has connected was promised an answer by the system.
    for _ in 0..LAST_TAKEN_MAX {
        let mut accepting = pin!(listener.accept());
        let taken = poll_fn(|context| match accepting.as_mut().poll(context) {
            Poll::Ready(taken) => Poll::Ready(taken.ok()),
            Poll::Pending => Poll::Ready(None),
        });
        let Some(taken) = taken.await else { break };
        receive(taken, &shared, &place);
    }
    drop(listener);
    shared.is_shut.store(true, Ordering::Relaxed);
}

/// Gives a connection a task of its own.
#[expect(clippy::disallowed_methods, reason = "it runs in the listeners' service, like its caller")]
fn receive<A>(taken: Taken, shared: &Arc<Shared>, place: &Place<A>)
where
    A: ServerApp + Send + Sync + 'static,
{
    let state = Arc::clone(&shared.state);
    let guest = if taken.peer().is_some_and(|peer| place.expected.takes(peer)) {
        // Nobody waits for it, and nobody counts it.
        Guest::enter(Connection::own(state), shared, ConnectionMetrics::default())
    } else {
        let peer = taken.peer().map(|it| it.ip());
        Guest::enter(Connection::new(state, peer), shared, place.metrics.clone())
    };
    drop(tokio::spawn(serve(taken, guest, Arc::clone(&place.app))));
}

/// Carries a connection to its end.
async fn serve<A>(taken: Taken, guest: Guest, app: Arc<A>)
where
    A: ServerApp + Send + Sync + 'static,
{
    let Ok(stream) = taken.stream(Arc::clone(&guest.connection)) else { return };
    let parting = guest.shared.parting_seen.clone();
    let mut serving = pin!(app.process_new(stream, &parting));
    poll_fn(|context| {
        if serving.as_mut().poll(context).is_ready() || guest.connection.is_cut(context.waker()) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// A connection that is counted as long as it is open, whatever ends it.
#[derive(Debug)]
struct Guest {
    connection: Arc<Connection>,
    number: u64,
    shared: Arc<Shared>,
    metrics: ConnectionMetrics,
}

impl Guest {
    fn enter(connection: Connection, shared: &Arc<Shared>, metrics: ConnectionMetrics) -> Self {
        metrics.taken.inc();
        metrics.open.inc();
        let connection = Arc::new(connection);
        let mut inside = shared.inside();
        let number = inside.next;
        inside.next += 1;
        let entry = (Arc::clone(&connection), Seen::now(&connection));
        inside.connections.insert(number, entry);
        drop(inside);
        Self { connection, number, shared: Arc::clone(shared), metrics }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.metrics.open.dec();
        self.shared.inside().connections.remove(&self.number);
    }
}
