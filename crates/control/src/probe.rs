//! One probe: a request for an endpoint's contract, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tidegate_core::board::Target;
use tidegate_core::contract::Report;
use tidegate_core::health::ProbeFailure;
use tidegate_core::policy::{Policy, Probing, Protocol};
use tokio::time::{Instant, timeout_at};

use crate::{clock, report};

#[cfg(test)]
mod tests;

/// What a probe calls itself.
const USER_AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));

/// Most informational heads that are read before the head of the answer.
const INFORMATIONAL_MAX: usize = 8;

/// How long a connection outlives its last probe, on top of two pauses between probes.
const IDLE_GRACE: Duration = Duration::from_secs(30);

/// Asks one endpoint.
pub(crate) struct Asker {
    connector: Arc<Connector>,
    target: Target,
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

impl Asker {
    pub(crate) fn new(connector: Arc<Connector>, target: Target) -> Self {
        Self { connector, target }
    }

    /// Asks once, under the deadline of the policy; answers how long the endpoint took, and what
    /// it said.
    ///
    /// The time runs from the request to the head of its answer, without the connection, which
    /// most probes need not make: otherwise those that do would look like a region moving away.
    pub(crate) async fn ask(&self, policy: &Policy) -> (Duration, Result<Report, ProbeFailure>) {
        let deadline = Instant::from_std(clock::instant()) + policy.probing.timeout;
        let mut took = Took::since_now();
        let answer = match self.exchange(policy, deadline, &mut took).await {
            // A probe only asks, so it may be sent twice.
            Err(Unanswered::Stale) => self.exchange(policy, deadline, &mut took).await,
            answer => answer,
        };
        let outcome = answer.map_err(|unanswered| match unanswered {
            Unanswered::Stale => ProbeFailure::Broken,
            Unanswered::Failed(failure) => failure,
        });
        (took.so_far(), outcome)
    }

    async fn exchange(
        &self,
        policy: &Policy,
        deadline: Instant,
        took: &mut Took,
    ) -> Result<Report, Unanswered> {
        let peer = self.peer(policy);
        let connecting = timeout_at(deadline, self.connector.get_http_session(&peer));
        let Ok(Ok((mut session, reused))) = connecting.await else {
            return Err(ProbeFailure::Connect.into());
        };
        *took = Took::since_now();
        let head = self.head(&policy.probing, &mut session);
        match timeout_at(deadline, head).await {
            Ok(Ok(())) => took.stop(),
            Ok(Err(_)) if reused => return Err(Unanswered::Stale),
            Ok(Err(_)) => return Err(ProbeFailure::Broken.into()),
            Err(_) => return Err(ProbeFailure::Timeout.into()),
        }
        let report = timeout_at(deadline, read(policy, &mut session));
        let report = report.await.unwrap_or(Err(ProbeFailure::Timeout))?;
        let idle = policy.probing.interval * 2 + IDLE_GRACE;
        self.connector.release_http_session(session, &peer, Some(idle)).await;
        Ok(report)
    }

    /// Sends the request and reads the head of its answer.
    async fn head(&self, probing: &Probing, session: &mut HttpSession) -> pingora::Result<()> {
        let host = match &probing.host {
            Some(host) => host.to_string(),
            None => self.target.address.to_string(),
        };
        let mut request = RequestHeader::build("GET", probing.path.as_bytes(), Some(4))?;
        request.insert_header("Host", host)?;
        request.insert_header("User-Agent", USER_AGENT)?;
        request.insert_header("Accept", "application/json")?;
        request.insert_header("X-Region-Pin", &*self.target.region)?;
        match session {
            // An end that comes after the head, as `finish_request_body` would send it, may find
            // the stream answered and reset already, and then the body cannot be read any more.
            HttpSession::H2(stream) => stream.write_request_header(Box::new(request), true)?,
            HttpSession::H1(_) | HttpSession::Custom(()) => {
                session.write_request_header(Box::new(request)).await?;
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

    /// The endpoint as traffic sees it, on connections of its own.
    fn peer(&self, policy: &Policy) -> HttpPeer {
        let mut peer = HttpPeer::new(self.target.address, false, String::new());
        peer.group_key = u64::from(self.target.endpoint.0);
        peer.options.connection_timeout = Some(policy.probing.timeout);
        // One stream for each HTTP/2 connection, as is the default: a connection whose probe fails
        // is not kept for the next probe.
        peer.options.max_h2_streams = 1;
        let region = policy.regions.iter().find(|it| it.name == self.target.region);
        peer.options.alpn = match region.map(|it| it.protocol).unwrap_or_default() {
            Protocol::Http1 => ALPN::H1,
            Protocol::H2c => ALPN::H2,
        };
        peer
    }
}

/// Reads what follows the head, as far as it is wanted.
async fn read(policy: &Policy, session: &mut HttpSession) -> Result<Report, ProbeFailure> {
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
            Ok(None) => break,
            Err(_) => return Err(ProbeFailure::Broken),
        }
        if policy.probing.body_bytes_max < body.len() {
            return Err(ProbeFailure::TooLarge);
        }
    }
    report::parse(&policy.contract, &headers, &body)
}

/// How long something took, stopped or not.
#[derive(Clone, Copy)]
struct Took {
    since: std::time::Instant,
    stopped: Option<Duration>,
}

impl Took {
    fn since_now() -> Self {
        Self { since: clock::instant(), stopped: None }
    }

    fn stop(&mut self) {
        self.stopped = Some(clock::elapsed_since(self.since));
    }

    fn so_far(&self) -> Duration {
        self.stopped.unwrap_or_else(|| clock::elapsed_since(self.since))
    }
}
