//! Listening sockets, and connections that come in through them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::protocols::{SocketDigest, Stream};
use socket2::{Domain, Protocol, Type};
use tidegate_proxy::connection::{ClientStream, Connection};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait to be taken; the system may allow fewer.
const WAITING_MAX: i32 = 65_535;
/// Who may use a unix socket: its owner.
const SOCKET_MODE: u32 = 0o600;

/// Where connections come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A listening socket that belongs to no runtime yet.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// Binds an address and listens there.
    pub(super) fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let domain = Domain::for_address(*address);
                let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(true)?;
                // Connections of a process before us that are still closing are no hindrance.
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(WAITING_MAX)?;
                Ok(Self::Tcp(socket.into()))
            }
            Address::Unix(path) => {
                make_room(path)?;
                let socket = std::os::unix::net::UnixListener::bind(path)?;
                std::fs::set_permissions(path, PermissionsExt::from_mode(SOCKET_MODE))?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
        }
    }

    /// Takes over a socket that listens at an address already.
    pub(super) fn adopt(address: &Address, socket: OwnedFd) -> io::Result<Self> {
        match address {
            Address::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(socket))
            }
            Address::Unix(_) => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
        }
    }

    /// The same socket, in the runtime of the caller.
    pub(super) fn listener(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => Ok(Listener::Tcp(TcpListener::from_std(socket.try_clone()?)?)),
            Self::Unix(socket) => Ok(Listener::Unix(UnixListener::from_std(socket.try_clone()?)?)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Removes a socket that a process left behind which is gone, and nothing else.
fn make_room(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let in_the_way = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !metadata.file_type().is_socket() {
        return in_the_way("something lies there that is not a socket");
    }
    if UnixStream::connect(path).is_ok() {
        return in_the_way("the socket is in use by a running balancer");
    }
    std::fs::remove_file(path)
}

/// A listening socket in a runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was just taken.
#[derive(Debug)]
pub(super) enum Taken {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// The next connection.
    ///
    /// # Cancel safety
    /// No connection is lost when the wait for it is given up.
    pub(super) async fn accept(&self) -> io::Result<Taken> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok(Taken::Tcp(socket, peer))
            }
            Self::Unix(listener) => Ok(Taken::Unix(listener.accept().await?.0)),
        }
    }
}

impl Taken {
    /// Who connected, if that has an address.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }

    /// The bytes of the connection, as Pingora takes them.
    pub(super) fn stream(self, connection: Arc<Connection>) -> pingora::Result<Stream> {
        match self {
            Self::Tcp(socket, peer) => {
                // A client that is gone already is noticed by whoever reads from it.
                drop(socket.set_nodelay(true));
                let id = socket.as_raw_fd();
                let digest = SocketDigest::from_raw_fd(id);
                // The digest was made just now, so nobody else has set it.
                drop(digest.peer_addr.set(Some(peer.into())));
                Ok(Box::new(ClientStream::new(socket, id, digest, connection)?))
            }
            Self::Unix(socket) => {
                let id = socket.as_raw_fd();
                let digest = SocketDigest::from_raw_fd(id);
                drop(digest.peer_addr.set(None));
                Ok(Box::new(ClientStream::new(socket, id, digest, connection)?))
            }
        }
    }
}
