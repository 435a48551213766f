//! Connections to an endpoint that can be closed from outside, for drains with a hard deadline.
//!
//! A stream that is silent waits in a read that nobody interrupts. So its connection is made here,
//! and a second handle of it lies with the endpoint's counters as long as the connection lives:
//! shutting that down ends the wait. The pool must not mix such connections with others, which is
//! what their group is for.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::{HttpPeer, Tracer, Tracing};
use pingora::{Error, ErrorType, Result};
use tidegate_control::traffic::Traffic;
use tokio::net::TcpStream;

/// What tells the connections of this file apart in [`HttpPeer::group_key`].
const CLOSABLE: u64 = 2;

/// Makes sure that whatever connection this attempt makes can be closed.
pub(crate) fn make_closable(peer: &mut HttpPeer, traffic: &Arc<Traffic>) {
    let line = Line { traffic: Arc::clone(traffic), number: Arc::default() };
    peer.group_key |= CLOSABLE;
    peer.options.tracer = Some(Tracer(Box::new(line.clone())));
    peer.options.custom_l4 = Some(Arc::new(line));
}

/// One connection, once it is made: its number among those of the endpoint, or 0.
#[derive(Clone, Debug)]
struct Line {
    traffic: Arc<Traffic>,
    number: Arc<AtomicU64>,
}

#[async_trait]
impl Connect for Line {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::InternalError, "an endpoint that has no port");
        };
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|error| {
            let is_refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
            let kind = if is_refused { ErrorType::ConnectRefused } else { ErrorType::ConnectError };
            Error::because(kind, "connect to an endpoint", error)
        })?;
        match stream.as_fd().try_clone_to_owned() {
            Ok(second) => {
                let number = self.traffic.keep(second.into());
                self.number.store(number, Ordering::Relaxed);
            }
            // Out of descriptors: the request goes on, and only its hard deadline is lost.
            Err(error) => tracing::warn!(%error, "a connection cannot be closed from outside"),
        }
        Ok(stream.into())
    }
}

impl Tracing for Line {
    fn on_connected(&self) {}

    /// The second handle goes before the first one does, or the endpoint would never see the end.
    fn on_disconnected(&self) {
        self.traffic.forget(self.number.swap(0, Ordering::Relaxed));
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    use tidegate_control::ledger::Ledger;

    #[tokio::test]
    async fn a_connection_is_closed_from_outside_and_forgotten_when_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let traffic = Ledger::default().trial(address);
        let line = Line { traffic: Arc::clone(&traffic), number: Arc::default() };
        let stream = line.connect(&SocketAddr::Inet(address)).await.unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(traffic.lines(), 1);
        traffic.close();
        assert_eq!(accepted.read(&mut [0; 8]).unwrap(), 0, "its other side sees the end");
        line.on_disconnected();
        drop(stream);
        assert_eq!(traffic.lines(), 0);
        let other = line.connect(&SocketAddr::Inet(address)).await.unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        line.on_disconnected();
        drop(other);
        assert_eq!(accepted.read(&mut [0; 8]).unwrap(), 0, "no handle is left behind");
        drop(listener);
        let refused = line.connect(&SocketAddr::Inet(address)).await.unwrap_err();
        assert_eq!(*refused.etype(), ErrorType::ConnectRefused);
    }
}
