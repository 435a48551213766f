//! How an endpoint is reached: one peer per attempt, with the route's deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tidegate_control::ledger::Kind;
use tidegate_core::policy::{Protocol, Timeouts};

pub(crate) mod line;

/// Requests that share one HTTP/2 connection to an endpoint.
const H2_STREAMS_MAX: usize = 100;
/// Time after which an unused connection to an endpoint is given up; below what servers allow, so
/// that seldom does an endpoint close a connection just as it is used again.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// What a request needs of the connection that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// What the region speaks.
    Plain,
    /// HTTP/1.1, because the connection becomes something else.
    Upgrade,
    /// HTTP/2, because the answer ends in trailers.
    Grpc,
}

impl Carriage {
    /// The kind of an exchange, whose answer is a stream or not.
    pub(crate) fn kind(self, is_stream: bool) -> Kind {
        match self {
            Self::Upgrade => Kind::Websocket,
            Self::Grpc => Kind::Grpc,
            Self::Plain if is_stream => Kind::Stream,
            Self::Plain => Kind::Plain,
        }
    }
}

/// How long one side may be silent.
///
/// A stream may be silent for as long as its idle limit; everything else must be over within its
/// total, so no silence may be longer than that.
pub(crate) fn silence(carriage: Carriage, timeouts: &Timeouts, is_stream: bool) -> Duration {
    match carriage {
        Carriage::Upgrade => timeouts.websocket_idle.max(timeouts.first_byte),
        Carriage::Grpc => timeouts.grpc_idle.max(timeouts.first_byte),
        Carriage::Plain if is_stream => timeouts.idle.max(timeouts.first_byte),
        Carriage::Plain => timeouts.total.unwrap_or(Duration::MAX).min(timeouts.first_byte),
    }
}

/// The peer for one attempt.
pub(crate) fn peer(
    address: SocketAddr,
    (region, carriage): (Protocol, Carriage),
    silence: Duration,
    connect: Duration,
    has_body: bool,
) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    let h2 = match carriage {
        Carriage::Grpc => true,
        Carriage::Upgrade => false,
        Carriage::Plain => region == Protocol::H2c,
    };
    peer.options.connection_timeout = Some(connect);
    peer.options.total_connection_timeout = Some(connect);
    peer.options.read_timeout = Some(silence);
    // An endpoint that stops reading in the middle of a body would otherwise never be given up:
    // nobody listens for its answer while a piece of the body waits to be taken.
    peer.options.write_timeout = has_body.then_some(silence);
    peer.options.idle_timeout = Some(POOL_IDLE);
    peer.options.max_h2_streams = H2_STREAMS_MAX;
    peer.options.alpn = if h2 { ALPN::H2 } else { ALPN::H1 };
    // The pool does not tell protocols apart by itself.
    peer.group_key = u64::from(h2);
    Box::new(peer)
}
