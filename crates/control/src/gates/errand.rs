//! One errand: a question to an address, for evidence.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use tidegate_core::health::ProbeFailure;
use tidegate_core::id::Name;
use tidegate_core::policy::Protocol;
use tokio::time::Instant;

use crate::clock;
use crate::exchange::{Exchange, Took, USER_AGENT, peer};

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

impl Errand {
    /// Runs it; answers the body of a 200.
    pub(super) async fn run(&self, connector: &Connector) -> Result<Vec<u8>, ProbeFailure> {
        let group = GROUP | u64::from(self.address.port());
        let exchange = Exchange {
            connector,
            peer: peer(self.address, group, self.timeout, self.protocol),
            request: self.request().map_err(|_unfit| ProbeFailure::Broken)?,
            body: self.body.clone(),
            deadline: Instant::from_std(clock::instant()) + self.timeout,
            body_bytes_max: self.body_bytes_max,
            idle: IDLE,
        };
        exchange.run(&mut Took::since_now(), |_headers, body| Ok(body)).await
    }

    fn request(&self) -> pingora::Result<RequestHeader> {
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
        Ok(request)
    }
}
