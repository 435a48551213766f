//! One errand: a request to an address, and the whole of its answer, within a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;
use tidegate_core::policy::Protocol;
use tokio::time::{Instant, timeout_at};

use crate::clock;

/// What an errand calls itself.
const USER_AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));
/// Most informational heads that are read before the head of the answer.
const INFORMATIONAL_MAX: usize = 8;
/// How long a connection outlives its last errand.
const IDLE: Duration = Duration::from_secs(30);
/// Keeps connections of errands apart from those of probes, which count their endpoints.
const GROUP: u64 = 1 << 63;

/// A request, and what its answer may take.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    /// The region that is asked, for the pin that every probe carries.
    pub(super) region: Option<Name>,
    pub(super) path: Name,
    /// Posted if there is one.
    pub(super) body: Option<Bytes>,
    pub(super) timeout: Duration,
    pub(super) body_bytes_max: usize,
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

impl Errand {
    /// Runs it; answers the body of a 200.
    pub(super) async fn run(&self, connector: &Arc<Connector>) -> Result<Vec<u8>, ProbeFailure> {
        let deadline = Instant::from_std(clock::instant()) + self.timeout;
        let answer = match self.exchange(connector, deadline).await {
            // What is asked changes nothing, so it may be asked twice.
            Err(Unanswered::Stale) => self.exchange(connector, deadline).await,
            answer => answer,
        };
        answer.map_err(|unanswered| match unanswered {
            Unanswered::Stale => ProbeFailure::Broken,
            Unanswered::Failed(failure) => failure,
        })
    }

    async fn exchange(
        &self,
        connector: &Arc<Connector>,
        deadline: Instant,
    ) -> Result<Vec<u8>, Unanswered> {
        let peer = self.peer();
        let connecting = timeout_at(deadline, connector.get_http_session(&peer));
        let Ok(Ok((mut session, reused))) = connecting.await else {
            return Err(ProbeFailure::Connect.into());
        };
        match timeout_at(deadline, self.ask(&mut session)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) if reused => return Err(Unanswered::Stale),
            Ok(Err(_)) => return Err(ProbeFailure::Broken.into()),
            Err(_) => return Err(ProbeFailure::Timeout.into()),
        }
        let body = timeout_at(deadline, self.read(&mut session));
        let body = body.await.unwrap_or(Err(ProbeFailure::Timeout))?;
        connector.release_http_session(session, &peer, Some(IDLE)).await;
        Ok(body)
    }

    /// Sends the request and reads the head of its answer.
    async fn ask(&self, session: &mut HttpSession) -> pingora::Result<()> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut request = RequestHeader::build(method, self.path.as_bytes(), Some(6))?;
        request.insert_header("Host", self.address.to_string())?;
        request.insert_header("User-Agent", USER_AGENT)?;
        if let Some(region) = &self.region {
            request.insert_header("X-Region-Pin", &**region)?;
        }
        if let Some(body) = &self.body {
            request.insert_header("Content-Type", "application/json")?;
            request.insert_header("Content-Length", body.len().to_string())?;
        }
        self.send(session, Box::new(request)).await?;
        for _ in 0..=INFORMATIONAL_MAX {
            session.read_response_header().await?;
            if session.response_header().is_some_and(|it| !it.status.is_informational()) {
                return Ok(());
            }
        }
        pingora::Error::e_explain(pingora::InvalidHTTPHeader, "too many informational answers")
    }

    async fn send(
        &self,
        session: &mut HttpSession,
        request: Box<RequestHeader>,
    ) -> pingora::Result<()> {
        match session {
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
        Ok(())
    }

    async fn read(&self, session: &mut HttpSession) -> Result<Vec<u8>, ProbeFailure> {
        let Some(head) = session.response_header() else { return Err(ProbeFailure::Broken) };
        let status = head.status.as_u16();
        if status != 200 {
            return Err(ProbeFailure::Status(status));
        }
        let mut body = Vec::new();
        loop {
            match session.read_response_body().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok(body),
                Err(_) => return Err(ProbeFailure::Broken),
            }
            if self.body_bytes_max < body.len() {
                return Err(ProbeFailure::TooLarge);
            }
        }
    }

    fn peer(&self) -> HttpPeer {
        let mut peer = HttpPeer::new(self.address, false, String::new());
        peer.group_key = GROUP | u64::from(self.address.port());
        peer.options.connection_timeout = Some(self.timeout);
        peer.options.max_h2_streams = 1;
        peer.options.alpn = match self.protocol {
            Protocol::Http1 => ALPN::H1,
            Protocol::H2c => ALPN::H2,
        };
        peer
    }
}
