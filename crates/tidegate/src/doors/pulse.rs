//! A request of this process to itself, through its own doors: when it is answered, so is everybody.
//!
//! It takes the way of every request: the system's queue, the task that takes connections, Pingora's
//! HTTP code, our hooks. Only the last one of them recognises it, by the connection on which it came.
//! So there is no path to guard: a stranger cannot send it, and another process that has the same
//! sockets never gets to see it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::protocols::SocketDigest;
use rustix::io::Errno;
use tidegate_proxy::connection::{ClientStream, Connection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::TcpSocket;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::{Address, Doors};

/// What is asked. Nobody looks at it but Pingora.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: tidegate\r\nconnection: close\r\n\r\n";
/// How the answer begins, which nobody else gives.
const ANSWER: &[u8] = b"HTTP/1.1 204 ";
/// Bytes that may be on their way where there is no socket.
const ROOM_BYTES: usize = 1024;
/// The number of what is no socket.
const NO_SOCKET: i32 = -1;

/// Why this process does not answer itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nobody listens there, or something is in between.
    #[error("{0} cannot be reached from here: {1}")]
    Unreached(SocketAddr, io::Error),
    /// The connection waits in the system's queue.
    #[error("a connection to {0} is not taken")]
    Untaken(SocketAddr),
    /// The connection broke, or something else came.
    #[error("what came is no answer")]
    Garbled,
    /// Nothing came.
    #[error("no answer came in time")]
    Late,
}

/// What came of one door.
enum Came {
    /// The answer.
    Answered,
    /// Its address belongs to another machine now, as a floating address may.
    Elsewhere,
    /// The process, or the system, has no room for one more connection.
    Full,
}

impl<A: ServerApp + Send + Sync + 'static> Doors<A> {
    /// Whether it is time to expect answers: the server runs, and may take connections.
    pub(crate) fn may_answer(&self) -> bool {
        let state = self.state();
        state.runtime.is_some() && !state.held
    }

    /// Asks itself through every door that is open, one after another.
    ///
    /// Behind the doors it asks when none is open any more, and when there is no room for one more
    /// connection: who is full is not stuck, and what carries the streams that are left can tell.
    ///
    /// # Errors
    /// When an answer does not come in time.
    pub(crate) async fn pulse(&self, within: Duration) -> Result<(), Unanswered> {
        timeout(within, self.ask_all(within / 2)).await.unwrap_or(Err(Unanswered::Late))
    }

    async fn ask_all(&self, patience: Duration) -> Result<(), Unanswered> {
        let mut answered = false;
        for address in self.open_ports() {
            match self.through(address, patience).await {
                Ok(Came::Answered) => answered = true,
                Ok(Came::Elsewhere) => {}
                Ok(Came::Full) => {
                    answered = false;
                    break;
                }
                // It may have been closed just now, by a reload or because the process leaves.
                Err(_) if !self.open_ports().contains(&address) => {}
                Err(unanswered) => return Err(unanswered),
            }
        }
        if answered { Ok(()) } else { self.behind().await }
    }

    fn open_ports(&self) -> Vec<SocketAddr> {
        let state = self.state();
        let open = state.doors.iter().filter(|it| !it.is_shut());
        let ports = open.filter_map(|it| match it.address() {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        });
        ports.collect()
    }

    /// Asks through one door.
    async fn through(&self, address: SocketAddr, patience: Duration) -> Result<Came, Unanswered> {
        let unreached = |error| Unanswered::Unreached(address, error);
        let refused_before = self.0.metrics.refused.get();
        let (socket, to) = match socket_to(address) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Came::Elsewhere),
            Err(error) if is_lack(&error) => return Ok(Came::Full),
            Err(error) => return Err(unreached(error)),
        };
        let from = socket.local_addr().map_err(unreached)?;
        let (expecting, taken) = self.0.expected.expect(from);
        let connected = match socket.connect(to).await {
            Ok(connected) => connected,
            Err(error) if is_lack(&error) => return Ok(Came::Full),
            Err(error) => return Err(unreached(error)),
        };
        let taken = timeout(patience, taken).await;
        drop(expecting);
        match taken {
            // Nothing is said before, so whoever else may take the connection has nothing to answer.
            Ok(Ok(())) => ask(connected).await.map(|()| Came::Answered),
            Ok(Err(_)) | Err(_) if self.0.metrics.refused.get() != refused_before => Ok(Came::Full),
            Ok(Err(_)) | Err(_) => Err(Unanswered::Untaken(address)),
        }
    }

    /// Asks what is behind the doors: the same code in the same runtime, without a connection.
    async fn behind(&self) -> Result<(), Unanswered> {
        let Some(runtime) = self.state().runtime.clone() else { return Err(Unanswered::Late) };
        let (own, other) = duplex(ROOM_BYTES);
        let digest = SocketDigest::from_raw_fd(NO_SOCKET);
        // The digest was made just now, so nobody else has set it.
        drop(digest.peer_addr.set(None));
        let connection = Arc::new(Connection::own(Arc::default()));
        let stream = ClientStream::new(other, NO_SOCKET, digest, connection);
        let stream = stream.map_err(|_impossible| Unanswered::Garbled)?;
        let app = Arc::clone(&self.0.app);
        // It ends with our side of the pipe, if not with its answer.
        drop(runtime.spawn(async move {
            let (_parting, parting_seen) = watch::channel(true);
            drop(app.process_new(Box::new(stream), &parting_seen).await);
        }));
        ask(own).await
    }
}

/// Asks, and waits for the answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Unanswered> {
    let mut answer = [0; ANSWER.len()];
    let asked = async {
        stream.write_all(REQUEST).await?;
        stream.read_exact(&mut answer).await
    };
    match asked.await {
        Ok(_) if answer == *ANSWER => Ok(()),
        Ok(_) | Err(_) => Err(Unanswered::Garbled),
    }
}

/// A socket that can reach a listener of this machine, and where it is; `None` when the address is
/// not here at present.
fn socket_to(listener: SocketAddr) -> io::Result<Option<(TcpSocket, SocketAddr)>> {
    let candidates: &[IpAddr] = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        // Where IPv6 is turned off it still listens for IPv4.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]
        }
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => &[ip],
    };
    for ip in candidates {
        let mut to = listener;
        if to.ip() != *ip {
            to = SocketAddr::new(*ip, listener.port());
        }
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let mut from = to;
        from.set_port(0);
        match socket.bind(from) {
            Ok(()) if is_here(to)? => return Ok(Some((socket, to))),
            Ok(()) => {}
            Err(error) if is(&error, &[Errno::ADDRNOTAVAIL]) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether what is sent to an address stays on this machine. A process may listen at an address that
/// another machine has, to be there when it gets it.
fn is_here(address: SocketAddr) -> io::Result<bool> {
    if address.ip().is_loopback() {
        return Ok(true);
    }
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent: the system only says from where it would be.
    let socket = UdpSocket::bind((any, 0))?;
    Ok(socket.connect(address).is_ok() && socket.local_addr()?.ip() == address.ip())
}

/// Whether there is no room for one more connection.
fn is_lack(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    is(error, &lacks) || is(error, &[Errno::ADDRINUSE, Errno::ADDRNOTAVAIL])
}

fn is(error: &io::Error, kinds: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|it| kinds.contains(&it))
}

/// The connection of this process to itself that is on its way, if one is.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Its port, or 0. Every connection that is taken is compared with it.
    port: AtomicU16,
    from: Mutex<Option<(SocketAddr, oneshot::Sender<()>)>>,
}

impl Expected {
    /// Whether this connection is the expected one; who expects it hears that it was taken.
    pub(super) fn takes(&self, peer: SocketAddr) -> bool {
        if self.port.load(Ordering::Acquire) != peer.port() {
            return false;
        }
        let is_it = |from: &SocketAddr| {
            from.port() == peer.port() && from.ip().to_canonical() == peer.ip().to_canonical()
        };
        let Some((_, tell)) = self.from().take_if(|(from, _)| is_it(from)) else { return false };
        // Who has given up closes the connection, and it ends.
        tell.send(()).ok();
        true
    }

    /// Expects a connection from there, as long as what is returned lives.
    fn expect(&self, from: SocketAddr) -> (Expecting<'_>, oneshot::Receiver<()>) {
        let (tell, taken) = oneshot::channel();
        *self.from() = Some((from, tell));
        self.port.store(from.port(), Ordering::Release);
        (Expecting(self), taken)
    }

    fn from(&self) -> MutexGuard<'_, Option<(SocketAddr, oneshot::Sender<()>)>> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the expectation, whatever came of it.
struct Expecting<'a>(&'a Expected);

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        self.0.port.store(0, Ordering::Release);
        *self.0.from() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_own_once_and_only_from_where_it_was_expected() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let expected = Expected::default();
        assert!(!expected.takes(at("127.0.0.1:7000")));
        let (expecting, mut taken) = expected.expect(at("127.0.0.1:7000"));
        assert!(!expected.takes(at("127.0.0.1:7001")));
        assert!(!expected.takes(at("127.0.0.2:7000")));
        assert!(taken.try_recv().is_err());
        assert!(expected.takes(at("[::ffff:127.0.0.1]:7000")), "a listener of both families");
        assert!(taken.try_recv().is_ok());
        assert!(!expected.takes(at("127.0.0.1:7000")), "once");
        drop(expecting);
        let (expecting, _taken) = expected.expect(at("[::1]:7000"));
        drop(expecting);
        assert!(!expected.takes(at("[::1]:7000")), "nobody waits for it any more");
    }

    #[tokio::test]
    async fn a_listener_is_reached_where_it_is() {
        for (bound, to) in [
            ("0.0.0.0:7", "127.0.0.1:7"),
            ("127.0.0.3:7", "127.0.0.3:7"),
            ("[::]:7", "[::1]:7 or 127.0.0.1:7"),
        ] {
            let (_, found) = socket_to(bound.parse().unwrap()).unwrap().unwrap();
            assert!(to.split(" or ").any(|it| it == found.to_string()), "{bound}: {found}");
        }
        // An address for documentation, which no machine has.
        assert!(socket_to("192.0.2.1:7".parse().unwrap()).unwrap().is_none());
    }
}
