//! The book of a fake region's writes: a line for each one, before it is answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::answer::hex;
use super::body::{Body, whole};
use crate::history::{Digest, Execution, WriteName, digest_of_answer};
use crate::runtime::lock;

/// Requests to this path and below are writes, and are written down.
pub(crate) const PATH: &str = "/write";
/// Names the attempt of a client.
pub(crate) const ATTEMPT: &str = "x-attempt";
/// Names the scope in which a client's keys mean something.
pub(crate) const SCOPE: &str = "x-scope";

/// One write that a fake region carried out.
#[derive(Clone, Debug)]
pub struct Written {
    /// The `Idempotency-Key`, without quotes; without one, the `X-Fence-Key`.
    pub key: String,
    /// The `X-Scope`.
    pub scope: String,
    /// The `X-Attempt`, or 0.
    pub attempt: u64,
    /// When.
    pub at: Instant,
    /// The method of the request.
    pub method: String,
    /// The `X-Fence-Key`.
    pub fence_key: Option<String>,
    /// The `X-Fence-Epoch`.
    pub epoch: Option<u64>,
    /// The `X-Fence-Owner`.
    pub owner: Option<String>,
    /// Whether the request came on a connection that had been used before.
    pub reused: bool,
    /// SHA-256 of the body that arrived.
    pub body: Digest,
    /// Of the answer that was about to be given, by [`digest_of_answer`].
    pub answer: Digest,
}

impl Written {
    /// The line as a history has it.
    pub fn execution(&self, began: Instant) -> Execution {
        Execution {
            name: WriteName { scope: self.scope.clone(), key: self.key.clone() },
            attempt: self.attempt,
            at: self.at.saturating_duration_since(began),
            method: self.method.clone(),
            epoch: self.epoch,
            answer: self.answer,
        }
    }
}

/// The book, and how many writes are still to be written.
#[derive(Debug, Default)]
pub(crate) struct Book {
    lines: Mutex<Vec<Written>>,
    late: AtomicU64,
    answers: AtomicU64,
}

/// A write that is carried out after its connection has gone. Dropping it says that it is done.
pub(crate) struct Late {
    shared: Arc<Shared>,
}

impl Late {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Self {
        shared.book.late.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.shared.book.late.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request as the book needs it.
pub(crate) struct Order<'r> {
    pub(crate) region: &'r str,
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) body: &'r Bytes,
    pub(crate) reused: bool,
    pub(crate) status: StatusCode,
}

impl Book {
    pub(crate) fn lines(&self) -> Vec<Written> {
        lock(&self.lines).clone()
    }

    /// How many writes are still to be carried out, though their connections have gone.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Carries a write out, and answers what nobody else is answered.
    pub(crate) fn write(&self, order: &Order<'_>) -> Response<Body> {
        let text = |name: &str| order.headers.get(name).and_then(|it| it.to_str().ok());
        let number = |name: &str| text(name).and_then(|it| it.parse().ok());
        let fence_key = text("x-fence-key").map(str::to_owned);
        let key = text("idempotency-key").map(|it| it.trim_matches('"').to_owned());
        let mut line = Written {
            key: key.or_else(|| fence_key.clone()).unwrap_or_default(),
            scope: text(SCOPE).unwrap_or_default().to_owned(),
            attempt: number(ATTEMPT).unwrap_or_default(),
            at: Instant::now(),
            method: order.method.to_string(),
            fence_key,
            epoch: number("x-fence-epoch"),
            owner: text("x-fence-owner").map(str::to_owned),
            reused: order.reused,
            body: Sha256::digest(order.body).into(),
            answer: [0; 32],
        };
        let said = json!({
            "region": order.region,
            "write": self.answers.fetch_add(1, Ordering::Relaxed) + 1,
            "scope": line.scope,
            "key": line.key,
            "attempt": line.attempt,
            "body_sha256": hex(&line.body),
        });
        let said = said.to_string();
        line.answer = digest_of_answer(order.status.as_u16(), said.as_bytes());
        lock(&self.lines).push(line);
        let mut response = Response::new(whole(said));
        *response.status_mut() = order.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// How long after the end of its connection a late write is carried out.
pub(crate) const LATE: Duration = Duration::from_millis(50);
