//! How an endpoint is reached: one peer per attempt, with the route's deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tidegate_control::ledger::Kind;
use tidegate_core::Moment;
use tidegate_core::policy::{Protocol, Timeouts};

pub(crate) mod line;

/// Requests that share one HTTP/2 connection to an endpoint.
const H2_STREAMS_MAX: usize = 100;
/// Time after which an unused connection to an endpoint is given up; below what servers allow, so
/// that seldom does an endpoint close a connection just as it is used again.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// What timers of Pingora that last for long are rounded up to.
const STEP: Duration = Duration::from_secs(1);
/// Limits shorter than this are kept as they are.
const ROUNDED_MIN: Duration = Duration::from_secs(30);

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

/// A limit that ends with a second of the clock, as far as that makes it little longer.
///
/// Pingora keeps timers by the moment at which they end, and takes none out before that: without
/// this, a busy minute would leave thousands of moments to be searched for each request.
pub(crate) fn in_step(limit: Duration, now: Moment) -> Duration {
    if limit < ROUNDED_MIN {
        return limit;
    }
    let step_ms = STEP.as_millis();
    let over_ms = (u128::from(now.0) + limit.as_millis()) % step_ms;
    let missing_ms = u64::try_from((step_ms - over_ms) % step_ms).unwrap_or_default();
    limit.saturating_add(Duration::from_millis(missing_ms))
}

/// How long the parts of one attempt may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For a connection to be made.
    pub(crate) connect: Duration,
    /// For which the endpoint may be silent.
    pub(crate) silence: Duration,
}

/// The peer for one attempt, which begins now.
pub(crate) fn peer(
    address: SocketAddr,
    (region, carriage): (Protocol, Carriage),
    limits: Limits,
    has_body: bool,
    now: Moment,
) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    let h2 = match carriage {
        Carriage::Grpc => true,
        Carriage::Upgrade => false,
        Carriage::Plain => region == Protocol::H2c,
    };
    let silence = in_step(limits.silence, now);
    peer.options.connection_timeout = Some(limits.connect);
    peer.options.total_connection_timeout = Some(limits.connect);
    peer.options.read_timeout = Some(silence);
    // An endpoint that stops reading in the middle of a body would otherwise never be given up:
    // nobody listens for its answer while a piece of the body waits to be taken.
    peer.options.write_timeout = has_body.then_some(silence);
    peer.options.idle_timeout = Some(in_step(POOL_IDLE, now));
    peer.options.max_h2_streams = H2_STREAMS_MAX;
    peer.options.alpn = if h2 { ALPN::H2 } else { ALPN::H1 };
    // The pool does not tell protocols apart by itself.
    peer.group_key = u64::from(h2);
    Box::new(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_limits_end_with_a_second_and_short_ones_as_they_are() {
        let rounded = |ms, now| in_step(Duration::from_millis(ms), Moment(now)).as_millis();
        assert_eq!(rounded(60_000, 1_000), 60_000);
        assert_eq!(rounded(60_000, 1_001), 60_999);
        assert_eq!(rounded(60_001, 1_999), 60_001);
        assert_eq!(rounded(29_999, 1_001), 29_999);
        assert_eq!(in_step(Duration::MAX, Moment(1)), Duration::MAX);
    }
}
