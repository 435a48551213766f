//! Free loopback ports that stay free until their server binds them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use tokio::net::TcpSocket;

use crate::runtime::{lock, runtime};

/// A bound socket that does not listen.
///
/// While it lives, the kernel gives its port to nobody who asks for any port, neither for a
/// listener nor for an outgoing connection. Who names the port and sets `SO_REUSEADDR`, as
/// servers do, can still bind it and listen. So tests that run side by side in many processes
/// cannot steal each other's ports.
#[derive(Debug)]
pub(crate) struct Reservation {
    socket: TcpSocket,
}

impl Reservation {
    pub(crate) fn new(address: SocketAddr) -> std::io::Result<Self> {
        let _inside = runtime().enter();
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { socket })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }
}

/// A loopback port that nobody uses, kept for this process until it ends.
pub fn free_port() -> u16 {
    free_address().port()
}

/// A loopback address that nobody uses, kept for this process until it ends.
pub fn free_address() -> SocketAddr {
    static KEPT: Mutex<Vec<Reservation>> = Mutex::new(Vec::new());
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let reservation = Reservation::new(any).expect("the loopback has a free port");
    let address = reservation.address();
    lock(&KEPT).push(reservation);
    address
}

/// The first of so many loopback ports in a row that nobody uses, kept until this process ends.
pub fn free_ports(count: u16) -> u16 {
    static KEPT: Mutex<Vec<Reservation>> = Mutex::new(Vec::new());
    let reserve = |port| Reservation::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    loop {
        let first = reserve(0).expect("the loopback has a free port");
        let from = first.address().port();
        let rest = (1..count).map(|nth| from.checked_add(nth).and_then(|it| reserve(it).ok()));
        // Somebody else's port may follow ours; then the next try begins elsewhere.
        if let Some(rest) = rest.collect::<Option<Vec<_>>>() {
            lock(&KEPT).extend(rest.into_iter().chain([first]));
            return from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_free_port_refuses_and_can_then_be_listened_on_twice_in_a_row() {
        let address = free_address();
        assert!(TcpStream::connect(address).is_err(), "nobody listens yet");
        for _ in 0..2 {
            let listener = TcpListener::bind(address).unwrap();
            TcpStream::connect(address).unwrap();
            drop(listener);
        }
    }

    #[test]
    fn ports_in_a_row_are_free() {
        let first = free_ports(4);
        for nth in 0..4 {
            drop(TcpListener::bind(("127.0.0.1", first + nth)).unwrap());
        }
    }
}
