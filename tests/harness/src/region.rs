//! A region that is a real server on the loopback, and can be told to misbehave.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod book;
mod chat;
mod contract;
pub(crate) mod effects;
pub(crate) mod evidence;
pub(crate) mod faults;
pub(crate) mod flow;
pub(crate) mod grpc;
mod query;
mod sse;
mod websocket;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http::HeaderMap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};

use self::answer::Call;
use self::book::{Book, Written};
use self::contract::Contract;
use self::effects::{Effect, Effects};
use self::evidence::Evidence;
use self::faults::Fault;
use self::wire::{Ending, Link, Links, Wire};
use crate::ports::Reservation;
use crate::runtime::{lock, runtime};
use crate::wait::wait_until;

const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What the handle and the server's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    contract: Contract,
    effects: Effects,
    book: Book,
    evidence: Evidence,
    fault: Mutex<Option<Fault>>,
    latency: Mutex<Duration>,
    contract_latency: Mutex<Duration>,
    links: Arc<Links>,
    /// The crowds whose flows are to end.
    flows: watch::Sender<BTreeSet<u64>>,
}

/// The task that accepts connections, and how to end it.
#[derive(Debug)]
struct Listening {
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

/// A running fake region. Dropping it stops it and closes its connections.
///
/// It speaks HTTP/1.1 and HTTP/2 with prior knowledge on one port, and runs on a runtime of the
/// harness, so plain test functions can hold it.
#[derive(Debug)]
pub struct FakeRegion {
    shared: Arc<Shared>,
    reservation: Reservation,
    listening: Mutex<Option<Listening>>,
}

impl FakeRegion {
    /// Starts on a free loopback port.
    pub fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
    }

    /// Starts on a given address, to come back on the port of a region that was dropped.
    pub fn start_at(name: &str, address: SocketAddr) -> Self {
        Self::try_start_at(name, address)
            .unwrap_or_else(|error| panic!("start the fake region {name} on {address}: {error}"))
    }

    /// Starts on a given address, or tells why that is not possible.
    ///
    /// # Errors
    /// The address is taken, or not one of this machine.
    pub fn try_start_at(name: &str, address: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            contract: Contract::new(name, &Evidence::default().summary()),
            effects: Effects::default(),
            book: Book::default(),
            evidence: Evidence::default(),
            fault: Mutex::new(None),
            latency: Mutex::new(Duration::ZERO),
            contract_latency: Mutex::new(Duration::ZERO),
            links: Arc::default(),
            flows: watch::Sender::default(),
        });
        let reservation = Reservation::new(address)?;
        let listening = listen(reservation.address(), &shared)?;
        Ok(Self { shared, reservation, listening: Mutex::new(Some(listening)) })
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The address it listens on. It stays the same over [`FakeRegion::stop`] and
    /// [`FakeRegion::resume`].
    pub fn address(&self) -> SocketAddr {
        self.reservation.address()
    }

    /// `http://ADDRESS` with `path` behind it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Refuses connections from now on, and closes the open ones. Comes back when that is done.
    pub fn stop(&self) {
        self.close_listener();
        self.shared.links.end_all(Ending::Close);
        wait_until(STOP_DEADLINE, "the region's connections close", || {
            self.open_connections() == 0
        });
    }

    /// Refuses connections from now on, and keeps serving the open ones.
    pub fn close_listener(&self) {
        let Some(listening) = lock(&self.listening).take() else {
            return;
        };
        // Either side may be gone already; what counts is that the task has ended.
        listening.stop.send(()).ok();
        let ended = listening.stopped.recv_timeout(STOP_DEADLINE);
        assert!(ended != Err(mpsc::RecvTimeoutError::Timeout), "the listener does not close");
    }

    /// Accepts connections again on the same port. Nothing happens if it already does.
    pub fn resume(&self) {
        let mut listening = lock(&self.listening);
        if listening.is_none() {
            let again = listen(self.address(), &self.shared);
            *listening = Some(again.expect("the port was reserved for us"));
        }
    }

    /// Closes (`FIN`) the open connections, for example the idle ones in a proxy's pool.
    pub fn close_connections(&self) {
        self.shared.links.end_all(Ending::Close);
    }

    /// Resets (`RST`) the open connections.
    pub fn reset_connections(&self) {
        self.shared.links.end_all(Ending::Reset);
    }

    /// Misbehaves from now on. One fault replaces another.
    pub fn set_fault(&self, fault: Fault) {
        *lock(&self.shared.fault) = Some(fault);
        if fault == Fault::Refuse {
            self.stop();
        } else {
            self.resume();
        }
    }

    /// Ends the answers below `/flow` that belong to a crowd, each with its last piece.
    pub(crate) fn end_flows(&self, crowd: u64) {
        self.shared.flows.send_if_modified(|it| it.insert(crowd));
    }

    /// Behaves well again; a region that refused connections accepts them.
    pub fn clear_fault(&self) {
        *lock(&self.shared.fault) = None;
        self.resume();
    }

    /// Delays every ordinary answer, but not the contract.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.shared.latency) = latency;
    }

    /// Delays the contract, and nothing else: the region looks farther away.
    pub fn set_contract_latency(&self, latency: Duration) {
        *lock(&self.shared.contract_latency) = latency;
    }

    /// Replaces the whole contract, also by something that is no object.
    pub fn set_contract(&self, contract: Value) {
        self.shared.contract.set(contract);
    }

    /// Sets one key of the contract.
    pub fn set_key(&self, key: &str, value: impl Into<Value>) {
        self.shared.contract.set_key(key, value.into());
    }

    /// Takes one key out of the contract.
    pub fn remove_key(&self, key: &str) {
        self.shared.contract.remove_key(key);
    }

    /// Goes back to the contract of the start.
    pub fn restore_contract(&self) {
        self.shared.contract.merge(serde_json::Map::new());
    }

    /// Makes the present contract the one that is gone back to.
    pub fn keep_contract(&self) {
        self.shared.contract.keep_as_original();
    }

    /// The contract that is reported now, faults aside.
    pub fn contract(&self) -> Value {
        self.shared.contract.get()
    }

    /// How often the contract was asked for.
    pub fn probes(&self) -> u64 {
        self.shared.contract.probes()
    }

    /// The headers of the last question for the contract.
    pub fn last_probe(&self) -> Option<HeaderMap> {
        self.shared.contract.last_probe()
    }

    /// Stores a blob, or, without bytes, removes it. What the contract says of them stays.
    pub fn set_blob(&self, key: &str, bytes: Option<&[u8]>) {
        self.shared.evidence.set_blob(key, bytes);
    }

    /// What a true contract says of its blobs: count and digest.
    pub fn blob_summary(&self) -> Value {
        self.shared.evidence.summary()
    }

    /// Changes every answer to a probe from now on; what is asked comes first.
    pub fn spoil_probes(&self, spoil: impl Fn(&Value, &mut Value) + Send + 'static) {
        self.shared.evidence.spoil(Some(Box::new(spoil)));
    }

    /// Answers probes well again.
    pub fn answer_probes_well(&self) {
        self.shared.evidence.spoil(None);
    }

    /// How often a probe of the probe set was answered.
    pub fn probes_answered(&self) -> u64 {
        self.shared.evidence.asked()
    }

    /// Everything that was received and executed, except questions for the contract.
    pub fn effects(&self) -> Vec<Effect> {
        self.shared.effects.all()
    }

    /// How often requests with this `Idempotency-Key` or `X-Test-Id` were carried out.
    pub fn effect_count(&self, id: &str) -> u64 {
        self.sum(|it| if it.id.as_deref() == Some(id) { it.executed } else { 0 })
    }

    /// How often the headers of requests with this id arrived.
    pub fn received_count(&self, id: &str) -> u64 {
        self.sum(|it| if it.id.as_deref() == Some(id) { it.received } else { 0 })
    }

    /// How many requests arrived in all, questions for the contract not counted.
    pub fn requests(&self) -> u64 {
        self.sum(|it| it.received)
    }

    fn sum(&self, count: impl Fn(&Effect) -> u64) -> u64 {
        self.effects().iter().map(count).sum()
    }

    /// Forgets all effects.
    pub fn clear_effects(&self) {
        self.shared.effects.clear();
    }

    /// Every write below `/write` that was carried out, in the order of the book.
    ///
    /// Waits first for those whose connections have gone and that are still to come.
    pub fn written(&self) -> Vec<Written> {
        wait_until(STOP_DEADLINE, "late writes are carried out", || self.shared.book.late() == 0);
        self.shared.book.lines()
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> u64 {
        self.shared.links.accepted()
    }

    /// How many connections are open now, upgraded ones included.
    pub fn open_connections(&self) -> usize {
        self.shared.links.open()
    }
}

impl Drop for FakeRegion {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first one's message.
            self.shared.links.end_all(Ending::Close);
            lock(&self.listening).take();
        } else {
            self.stop();
        }
    }
}

fn listen(address: SocketAddr, shared: &Arc<Shared>) -> io::Result<Listening> {
    let _inside = runtime().enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    let (stop, asked) = oneshot::channel();
    let (ended, stopped) = mpsc::channel();
    runtime().spawn(accept(listener, Arc::clone(shared), asked, ended));
    Ok(Listening { stop, stopped })
}

/// Accepts until it is told to stop, or nobody is left who could tell.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut asked: oneshot::Receiver<()>,
    ended: mpsc::Sender<()>,
) {
    loop {
        tokio::select! {
            biased;
            _stop = &mut asked => break,
            // An error concerns one connection (it was reset in the queue), not the listener.
            accepted = listener.accept() => if let Ok((stream, _peer)) = accepted {
                serve(stream, &shared);
            },
        }
    }
    drop(listener);
    drop(ended);
}

fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    // Without this an event could wait in the kernel for the next one.
    stream.set_nodelay(true).ok();
    let (link, wire) = shared.links.take(stream);
    runtime().spawn(converse(wire, link, Arc::clone(shared)));
}

async fn converse(wire: Wire, link: Arc<Link>, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let nth = link.next_request();
        Call { shared: Arc::clone(&shared), link: Arc::clone(&link), nth }.answer(request)
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let conversation = builder.serve_connection_with_upgrades(TokioIo::new(wire), service);
    tokio::select! {
        // Errors are what the faults and the clients' ends look like from here.
        _over = conversation => {}
        () = link.ended() => {}
    }
}
