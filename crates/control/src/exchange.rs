//! One exchange with a server that tidegate asks by itself: a request, and its whole answer, within
//! a deadline.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tidegate_core::health::ProbeFailure;
use tidegate_core::policy::Protocol;
use tokio::time::{Instant, timeout_at};

use crate::clock;

/// What tidegate calls itself.
pub(crate) const USER_AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));

/// Most informational heads that are read before the head of the answer.
const INFORMATIONAL_MAX: usize = 8;

/// A request, and what its answer may take.
pub(crate) struct Exchange<'c> {
    pub(crate) connector: &'c Connector,
    pub(crate) peer: HttpPeer,
    pub(crate) request: RequestHeader,
    /// Posted if there is one.
    pub(crate) body: Option<Bytes>,
    pub(crate) deadline: Instant,
    pub(crate) body_bytes_max: usize,
    /// How long the connection outlives it.
    pub(crate) idle: Duration,
}

/// Why an exchange gave no answer.
enum Unanswered {
    /// A connection that had been idle was not there any more; a fresh one may do.
    Stale,
    /// This is how it is.
    Failed(ProbeFailure),
}

impl From<ProbeFailure> for Unanswered {
    fn from(failure: ProbeFailure) -> Self {
        Self::Failed(failure)
    }
}

impl Exchange<'_> {
    /// Asks, and answers what is `read` in a 200; the connection is kept if that is good.
    pub(crate) async fn run<T>(
        &self,
        took: &mut Took,
        read: impl Fn(&HeaderMap, Vec<u8>) -> Result<T, ProbeFailure>,
    ) -> Result<T, ProbeFailure> {
        let answer = match self.once(took, &read).await {
            // What is asked changes nothing, so it may be asked twice.
            Err(Unanswered::Stale) => self.once(took, &read).await,
            answer => answer,
        };
        answer.map_err(|unanswered| match unanswered {
            Unanswered::Stale => ProbeFailure::Broken,
            Unanswered::Failed(failure) => failure,
        })
    }

    async fn once<T>(
        &self,
        took: &mut Took,
        read: &impl Fn(&HeaderMap, Vec<u8>) -> Result<T, ProbeFailure>,
    ) -> Result<T, Unanswered> {
        let connecting = timeout_at(self.deadline, self.connector.get_http_session(&self.peer));
        let Ok(Ok((mut session, reused))) = connecting.await else {
            return Err(ProbeFailure::Connect.into());
        };
        *took = Took::since_now();
        match timeout_at(self.deadline, self.head(&mut session)).await {
            Ok(Ok(())) => took.stop(),
            Ok(Err(_)) if reused => return Err(Unanswered::Stale),
            Ok(Err(_)) => return Err(ProbeFailure::Broken.into()),
            Err(_) => return Err(ProbeFailure::Timeout.into()),
        }
        let body = timeout_at(self.deadline, self.rest(&mut session));
        let (headers, body) = body.await.unwrap_or(Err(ProbeFailure::Timeout))?;
        let answer = read(&headers, body)?;
        self.connector.release_http_session(session, &self.peer, Some(self.idle)).await;
        Ok(answer)
    }

    /// Sends the request and reads the head of its answer.
    async fn head(&self, session: &mut HttpSession) -> pingora::Result<()> {
        let request = Box::new(self.request.clone());
        match session {
            // An end that comes after the head, as `finish_request_body` would send it, may find
            // the stream answered and reset already, and then the body cannot be read any more.
            HttpSession::H2(stream) => {
                stream.write_request_header(request, self.body.is_none())?;
                if let Some(body) = &self.body {
                    stream.write_request_body(Bytes::clone(body), true).await?;
                }
            }
            HttpSession::H1(_) | HttpSession::Custom(()) => {
                session.write_request_header(request).await?;
                if let Some(body) = &self.body {
                    session.write_request_body(Bytes::clone(body), true).await?;
                    session.finish_request_body().await?;
                }
            }
        }
        for _ in 0..=INFORMATIONAL_MAX {
            session.read_response_header().await?;
            if session.response_header().is_some_and(|it| !it.status.is_informational()) {
                return Ok(());
            }
        }
        pingora::Error::e_explain(pingora::InvalidHTTPHeader, "too many informational answers")
    }

    /// Reads what follows the head, as far as it is wanted.
    async fn rest(&self, session: &mut HttpSession) -> Result<(HeaderMap, Vec<u8>), ProbeFailure> {
        let Some(head) = session.response_header() else { return Err(ProbeFailure::Broken) };
        let status = head.status.as_u16();
        if status != 200 {
            return Err(ProbeFailure::Status(status));
        }
        let headers = head.headers.clone();
        let mut body = Vec::new();
        loop {
            match session.read_response_body().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok((headers, body)),
                Err(_) => return Err(ProbeFailure::Broken),
            }
            if self.body_bytes_max < body.len() {
                return Err(ProbeFailure::TooLarge);
            }
        }
    }
}

/// A server, on connections that no other `group` shares.
pub(crate) fn peer(
    address: std::net::SocketAddr,
    group: u64,
    connecting: Duration,
    protocol: Protocol,
) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.group_key = group;
    peer.options.connection_timeout = Some(connecting);
    // One stream for each HTTP/2 connection, as is the default: a connection whose exchange fails
    // is not kept for the next one.
    peer.options.max_h2_streams = 1;
    peer.options.alpn = match protocol {
        Protocol::Http1 => ALPN::H1,
        Protocol::H2c => ALPN::H2,
    };
    peer
}

/// How long something took, stopped or not.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    since: std::time::Instant,
    stopped: Option<Duration>,
}

impl Took {
    pub(crate) fn since_now() -> Self {
        Self { since: clock::instant(), stopped: None }
    }

    fn stop(&mut self) {
        self.stopped = Some(clock::elapsed_since(self.since));
    }

    pub(crate) fn so_far(&self) -> Duration {
        self.stopped.unwrap_or_else(|| clock::elapsed_since(self.since))
    }
}
