//! One probe: a request for an endpoint's contract, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use tidegate_core::board::Target;
use tidegate_core::contract::Report;
use tidegate_core::health::ProbeFailure;
use tidegate_core::policy::{Policy, Probing};
use tokio::time::Instant;

use crate::exchange::{self, Exchange, Took, USER_AGENT};
use crate::{clock, report};

#[cfg(test)]
mod tests;

/// How long a connection outlives its last probe, on top of two pauses between probes.
const IDLE_GRACE: Duration = Duration::from_secs(30);

/// Asks one endpoint.
pub(crate) struct Asker {
    connector: Arc<Connector>,
    target: Target,
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
        let probing = &policy.probing;
        let deadline = Instant::from_std(clock::instant()) + probing.timeout;
        let mut took = Took::since_now();
        let Ok(request) = self.request(probing) else {
            return (took.so_far(), Err(ProbeFailure::Broken));
        };
        let exchange = Exchange {
            connector: &self.connector,
            peer: self.peer(policy),
            request,
            body: None,
            deadline,
            body_bytes_max: probing.body_bytes_max,
            idle: probing.interval * 2 + IDLE_GRACE,
        };
        let read = |headers: &_, body: Vec<u8>| report::parse(&policy.contract, headers, &body);
        let outcome = exchange.run(&mut took, read).await;
        (took.so_far(), outcome)
    }

    fn request(&self, probing: &Probing) -> pingora::Result<RequestHeader> {
        let host = match &probing.host {
            Some(host) => host.to_string(),
            None => self.target.address.to_string(),
        };
        let mut request = RequestHeader::build("GET", probing.path.as_bytes(), Some(4))?;
        request.insert_header("Host", host)?;
        request.insert_header("User-Agent", USER_AGENT)?;
        request.insert_header("Accept", "application/json")?;
        request.insert_header("X-Region-Pin", &*self.target.region)?;
        Ok(request)
    }

    /// The endpoint as traffic sees it, on connections of its own.
    fn peer(&self, policy: &Policy) -> HttpPeer {
        let region = policy.regions.iter().find(|it| it.name == self.target.region);
        let protocol = region.map(|it| it.protocol).unwrap_or_default();
        let group = u64::from(self.target.endpoint.0);
        exchange::peer(self.target.address, group, policy.probing.timeout, protocol)
    }
}
