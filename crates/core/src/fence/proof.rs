//! Proof that a write was not delivered: the only thing that gives a claim back.

use std::fmt;

/// Why it is certain that the endpoint did not execute the write.
///
/// There is no variant for "some error", on purpose: whoever cannot name one of these has to say
/// that the outcome is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonDelivery {
    /// The exchange was given up before anything of it could leave.
    NeverBegun,
    /// No endpoint could be chosen.
    NoEndpoint,
    /// No connection was made: refused, unreachable, or not in time. This needs TCP Fast Open off.
    ConnectFailed,
    /// The TLS handshake failed. This needs early data off.
    TlsFailed,
    /// The connection broke before all of an HTTP/1.1 head was handed to the system: half a head
    /// cannot be executed.
    HeadNotSent,
    /// HTTP/2 said `REFUSED_STREAM` (RFC 9113, 8.7).
    H2RefusedStream,
    /// HTTP/2 said GOAWAY, and this stream is above the last one it will look at (RFC 9113, 6.8).
    H2GoawayAbove,
    /// The endpoint itself answered, with a status that means "not executed" on this route.
    EndpointDeclared(u16),
}

impl NonDelivery {
    /// The proof as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::NeverBegun => "never_begun",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::HeadNotSent => "head_not_sent",
            Self::H2RefusedStream => "h2_refused_stream",
            Self::H2GoawayAbove => "h2_goaway_above",
            Self::EndpointDeclared(_) => "endpoint_declared",
        }
    }
}

impl fmt::Display for NonDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndpointDeclared(status) => write!(f, "{}({status})", self.word()),
            Self::NeverBegun
            | Self::NoEndpoint
            | Self::ConnectFailed
            | Self::TlsFailed
            | Self::HeadNotSent
            | Self::H2RefusedStream
            | Self::H2GoawayAbove => f.write_str(self.word()),
        }
    }
}
