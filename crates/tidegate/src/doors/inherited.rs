//! Listening sockets that somebody else had open before: the process before this one, or the service
//! manager, which keeps them open for ever.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::socket::Address;

/// The environment variable that says for which process the sockets are.
const FOR_PROCESS: &str = "LISTEN_PID";
/// Names of the sockets, separated by colons, for people.
const NAMES: &str = "LISTEN_FDNAMES";

/// Listening sockets of the process before this one, by their address.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<(String, OwnedFd)>);

impl Inherited {
    /// Sockets by the names that `Doors::sockets` gave them.
    pub(crate) fn new(sockets: Vec<(String, OwnedFd)>) -> Self {
        Self(sockets)
    }

    /// Closes those that nobody has taken.
    pub(crate) fn close(self) {
        for (address, _) in self.0 {
            tracing::info!(address, "a listener that the policy does not name is closed");
        }
    }

    pub(super) fn take(&mut self, address: &Address) -> Option<OwnedFd> {
        let name = address.to_string();
        let place = self.0.iter().position(|(it, _)| *it == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

/// Listening sockets that the service manager has open as well. All copies are one.
///
/// Who connects waits in their queue while no process is there, and while the policy has no listener
/// at their address. So they are kept as long as the process lives, and handed on to the next one:
/// bound a second time they cannot be.
#[derive(Clone, Default)]
pub(crate) struct Lent(Arc<Vec<(Address, OwnedFd)>>);

impl Lent {
    /// What the service manager has given this process. It is to be asked once, before anything else
    /// is done: a number of a descriptor means something else afterwards.
    pub(crate) fn by_manager() -> Self {
        // Without it nobody knows whether they are meant for this process.
        if std::env::var_os(FOR_PROCESS).is_none() {
            return Self::default();
        }
        let names = std::env::var_os(NAMES).and_then(|it| it.into_string().ok());
        let mut names = names.as_deref().unwrap_or_default().split(':');
        let mut given = ListenFd::from_env();
        let mut lent = Vec::new();
        for place in 0..given.len() {
            let name = names.next().unwrap_or_default();
            if let Some((address, socket)) = listener(&mut given, place) {
                tracing::info!(%address, name, "the service manager has opened a listener");
                lent.push((address, socket));
            } else {
                tracing::warn!(place, name, "what the service manager has opened is no listener");
            }
        }
        Self(Arc::new(lent))
    }

    /// What the process before this one says that the service manager has open.
    pub(crate) fn by_predecessor(sockets: Vec<(String, OwnedFd)>) -> Self {
        let named = sockets.into_iter().map(|(name, socket)| (Address::named(&name), socket));
        Self(Arc::new(named.collect()))
    }

    /// Another hold on each of them, for a successor, by the name of its address.
    ///
    /// # Errors
    /// When the process has as many files open as it may have.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let sockets = self.0.iter();
        sockets.map(|(address, it)| Ok((address.to_string(), it.try_clone()?))).collect()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the service manager listens at this address.
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.0.iter().any(|(it, _)| it.is(address))
    }

    /// Tells which of them are of no use.
    pub(crate) fn tell_unused(&self, used: &[Address]) {
        for (address, _) in &*self.0 {
            if !used.iter().any(|it| address.is(it)) {
                tracing::warn!(
                    %address,
                    "the service manager listens where the policy has no listener: who connects waits"
                );
            }
        }
    }

    /// The socket that listens at this address.
    pub(super) fn find(&self, address: &Address) -> Option<io::Result<OwnedFd>> {
        let (_, socket) = self.0.iter().find(|(it, _)| it.is(address))?;
        Some(socket.try_clone())
    }

    /// What listens at the same port of another address, and so may be in the way.
    pub(super) fn beside(&self, address: &Address) -> Option<&Address> {
        let Address::Tcp(wanted) = address else { return None };
        let mut lent = self.0.iter().map(|(it, _)| it);
        lent.find(|it| matches!(it, Address::Tcp(it) if it.port() == wanted.port()))
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(it, _)| it)).finish()
    }
}

impl Address {
    /// The address with this name, which is what it displays.
    fn named(name: &str) -> Self {
        name.parse::<SocketAddr>().map_or_else(|_| Self::Unix(name.into()), Self::Tcp)
    }

    /// Whether both are the same place: a policy may say where a file is in its own way.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => one == other,
            (Self::Unix(one), Self::Unix(other)) => absolute(one) == absolute(other),
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The listener at a place among what was given, if it is one.
fn listener(given: &mut ListenFd, place: usize) -> Option<(Address, OwnedFd)> {
    let (address, socket) = if let Ok(socket) = given.take_tcp_listener(place) {
        let socket = socket?;
        (Address::Tcp(socket.local_addr().ok()?), OwnedFd::from(socket))
    } else {
        let socket = given.take_unix_listener(place).ok()??;
        let path = socket.local_addr().ok()?.as_pathname()?.to_owned();
        (Address::Unix(path), OwnedFd::from(socket))
    };
    socket_acceptconn(socket.as_fd()).is_ok_and(|it| it).then_some((address, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_is_lent_is_found_where_it_listens_and_given_again_and_again() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = socket.local_addr().unwrap().to_string();
        let lent = Lent::by_predecessor(vec![(name.clone(), socket.into())]);
        let address = Address::named(&name);
        assert!(lent.has(&address));
        for _ in 0..2 {
            let found = TcpListener::from(lent.find(&address).unwrap().unwrap());
            assert_eq!(found.local_addr().unwrap().to_string(), name);
        }
        let other = Address::named(&name.replace("127.0.0.1", "127.0.0.2"));
        assert!(lent.find(&other).is_none());
        assert_eq!(lent.beside(&other), Some(&address));
        assert_eq!(lent.sockets().unwrap().len(), 1);
    }

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        let here = std::env::current_dir().unwrap().join("admin.sock");
        assert!(Address::Unix(here).is(&Address::named("admin.sock")));
        assert!(!Address::named("/run/a").is(&Address::named("/run/b")));
        assert!(!Address::named("/run/a").is(&Address::named("127.0.0.1:1")));
    }
}
