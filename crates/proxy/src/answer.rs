//! Answers that tidegate makes itself: one place turns a refusal or a failure into HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;
use serde_json::{Map, Value, json};
use tidegate_core::ask::Ask;
use tidegate_core::explain::differences;
use tidegate_core::route::Refusal;
use tidegate_core::snapshot::Snapshot;

use crate::headers::{PROXY_STATUS, REQUEST_ID};

/// Largest request body that is read to its end before an early answer, in bytes.
///
/// Many clients do not look at an answer while they are still sending.
pub const DRAINED_BYTES_MAX: usize = 64 * 1024;
/// Longest time that reading it may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// What `Retry-After` says: the next probes may know better.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// What is added when something was sent that is not safe to send again.
const MAYBE_EXECUTED: &str = "; the request may have been executed";

/// An answer that tidegate makes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable code, in the body as `code`.
    pub code: &'static str,
    /// One sentence for a person.
    pub title: String,
    /// The error type of `Proxy-Status` (RFC 9209).
    pub proxy_error: &'static str,
    /// Further members of the body.
    pub members: Map<String, Value>,
    /// What `Retry-After` says; a 429 and a 503 have one in any case.
    pub retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(
        status: u16,
        code: &'static str,
        proxy_error: &'static str,
        title: String,
    ) -> Self {
        Self { status, code, title, proxy_error, members: Map::new(), retry_after: None }
    }

    /// No route takes the request.
    pub fn no_route() -> Self {
        let title = "no route of the policy takes this request".to_owned();
        Self::new(404, "no_route", "destination_not_found", title)
    }

    /// No region may answer.
    pub fn refused(refusal: Refusal, snapshot: &Snapshot, ask: &Ask<'_>) -> Self {
        let (status, proxy_error) = match refusal {
            Refusal::Unmet | Refusal::UnknownRelease => (409, "destination_not_found"),
            Refusal::DemandedIsDown
            | Refusal::PinUnavailable
            | Refusal::OutsideResidency
            | Refusal::OwnerUnavailable
            | Refusal::OwnerUnsure
            | Refusal::OwnerMoving
            | Refusal::OwnerOutdated
            | Refusal::NoRegion => (503, "destination_unavailable"),
            Refusal::Full => (503, "connection_limit_reached"),
            Refusal::Unreachable => (503, "connection_refused"),
        };
        let mut problem = Self::new(status, refusal.code(), proxy_error, refusal.to_string());
        if !ask.demand.is_empty() {
            let shown = differences(snapshot, ask).into_iter().map(|difference| {
                json!({
                    "region": snapshot.name(difference.region),
                    "key": &*difference.key,
                    "asked": &*difference.asked,
                    "found": difference.found.to_string(),
                })
            });
            problem.members.insert("differences".to_owned(), shown.collect());
        }
        problem
    }

    /// The client did not send its request in time.
    pub fn request_timeout(delivered: bool) -> Self {
        let maybe = if delivered { MAYBE_EXECUTED } else { "" };
        let title = format!("the request did not end in time{maybe}");
        Self::new(408, "request_timeout", "http_request_error", title)
    }

    /// An exchange with an endpoint failed, or the client did something wrong.
    ///
    /// `None` when there is nobody left to tell.
    pub fn failed(error: &Error, delivered: bool) -> Option<Self> {
        let maybe = if delivered { MAYBE_EXECUTED } else { "" };
        let made = |status, code, proxy_error, title: &str| {
            Some(Self::new(status, code, proxy_error, format!("{title}{maybe}")))
        };
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                Some(Self::request_timeout(delivered))
            }
            (
                ErrorSource::Downstream,
                ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ) => None,
            (ErrorSource::Downstream, _) => {
                made(400, "bad_request", "http_request_error", "the request is not valid HTTP")
            }
            (_, ErrorType::ConnectTimedout) => {
                made(503, "region_unreachable", "connection_timeout", "no connection in time")
            }
            (_, it) if is_connect_error(it) => {
                made(503, "region_unreachable", "connection_refused", "no region could be reached")
            }
            (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => {
                let title = "the endpoint did not answer in time";
                made(504, "endpoint_timeout", "connection_read_timeout", title)
            }
            (ErrorSource::Upstream, _) => {
                let title = "the endpoint broke off before its answer";
                made(502, "endpoint_broken", "connection_terminated", title)
            }
            (ErrorSource::Internal | ErrorSource::Unset, _) => {
                made(500, "internal_error", "proxy_internal_error", "tidegate failed")
            }
        }
    }

    /// The value of `Proxy-Status`.
    pub(crate) fn proxy_status(&self) -> String {
        format!("tidegate; error={}; details=\"{}\"", self.proxy_error, self.code)
    }

    /// The body, as RFC 9457 has it.
    fn body(&self) -> Bytes {
        let mut body = self.members.clone();
        body.insert("type".to_owned(), "about:blank".into());
        body.insert("title".to_owned(), self.title.clone().into());
        body.insert("status".to_owned(), self.status.into());
        body.insert("code".to_owned(), self.code.into());
        Value::Object(body).to_string().into()
    }

    /// Sends the answer.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send(&self, session: &mut Session, id: Option<&HeaderValue>) -> Result<()> {
        let reusable = drain(session).await;
        let body = self.body();
        let mut header = ResponseHeader::build(self.status, Some(8))?;
        header.insert_header(http::header::CONTENT_TYPE, "application/problem+json")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len().to_string())?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        header.insert_header(PROXY_STATUS, self.proxy_status())?;
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs().max(1).to_string();
            header.insert_header(http::header::RETRY_AFTER, seconds)?;
        } else if matches!(self.status, 429 | 503) {
            header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?;
        }
        if let Some(id) = id {
            header.insert_header(REQUEST_ID, id.clone())?;
        }
        if !reusable {
            session.set_keepalive(None);
        }
        let is_head = session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(header), is_head).await?;
        // Over HTTP/2 only this ends the stream; what is not ended is reset, also after a HEAD.
        session.write_response_body((!is_head).then_some(body), true).await
    }
}

fn is_connect_error(error: &ErrorType) -> bool {
    matches!(
        error,
        ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::BindError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::HandshakeError
    )
}

/// Reads a small body to its end; answers whether the connection can be used again.
pub(crate) async fn drain(session: &mut Session) -> bool {
    // A client that waits for 100 Continue sends nothing until it is told to.
    if session.req_header().headers.contains_key(http::header::EXPECT) {
        return false;
    }
    let read = async {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = session.as_downstream_mut().read_request_body().await {
            bytes += chunk.len();
            if DRAINED_BYTES_MAX < bytes {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(DRAIN_TIME_MAX, read).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_and_a_proxy_error() {
        let snapshot = Snapshot::new(
            tidegate_core::id::Generation(1),
            std::sync::Arc::new(crate::ctx::tests::policy()),
            Vec::new(),
        );
        let ask = crate::ctx::tests::ask();
        for refusal in Refusal::ALL {
            let problem = Problem::refused(refusal, &snapshot, &ask);
            assert!(matches!(problem.status, 409 | 503), "{refusal:?}");
            assert!(problem.proxy_status().starts_with("tidegate; error="));
            let body: Value = serde_json::from_slice(&problem.body()).unwrap();
            assert_eq!(body["code"], refusal.code());
        }
    }

    #[test]
    fn nobody_is_told_when_the_client_is_gone() {
        let mut error = Error::new(ErrorType::ConnectionClosed);
        error.as_down();
        assert_eq!(Problem::failed(&error, true), None);
    }

    #[test]
    fn what_may_have_been_executed_is_said_to_be() {
        let mut error = Error::new(ErrorType::ConnectionClosed);
        error.as_up();
        let problem = Problem::failed(&error, true).unwrap();
        assert_eq!((problem.status, problem.code), (502, "endpoint_broken"));
        assert!(problem.title.contains("may have been executed"));
    }
}
