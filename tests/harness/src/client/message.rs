//! Requests and replies as tests see them.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::connection::{Connection, Streaming};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A request to be sent by any of the clients.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
}

impl Request {
    /// A request without headers and body. `url` looks like `http://127.0.0.1:8080/path?query`.
    #[track_caller]
    pub fn new(method: &str, url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("a URL that begins with http://");
        let (authority, target) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        Self {
            method: method.to_owned(),
            authority: authority.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: TIMEOUT,
        }
    }

    /// A GET.
    #[track_caller]
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A POST with a body.
    #[track_caller]
    pub fn post(url: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", url).body(body)
    }

    /// Adds a header; several of one name are sent in this order.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body. Its length is sent unless a header says how the body is framed.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// How long each read may take (20 s unless set).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends over HTTP/1.1 on a fresh connection and reads the whole reply.
    ///
    /// # Errors
    /// The address refuses, the connection ends early, or nothing comes for the timeout.
    pub fn send(&self) -> io::Result<Reply> {
        Connection::open(&self.authority)?.send(self)
    }

    /// Sends over HTTP/1.1 on a fresh connection and reads only the head of the reply.
    ///
    /// # Errors
    /// As for [`Request::send`].
    pub fn stream(&self) -> io::Result<Streaming> {
        Connection::open(&self.authority)?.stream(self)
    }

    /// The bytes of the request in HTTP/1.1.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let has = |wanted: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(wanted));
        let mut lines = vec![format!("{} {} HTTP/1.1", self.method, self.target)];
        if !has("host") {
            lines.push(format!("host: {}", self.authority));
        }
        let has_length = has("content-length") || has("transfer-encoding");
        let wants_length =
            !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if wants_length && !has_length {
            lines.push(format!("content-length: {}", self.body.len()));
        }
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        let mut bytes = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A whole reply.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// The headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with its framing taken off.
    pub body: Vec<u8>,
    /// The trailers in order, names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in order.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        all.map(|(_, value)| value.as_str()).collect()
    }

    /// The first trailer of this name.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let found = self.trailers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics with the whole reply if it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("wanted JSON: {error}: {self:?} {}", self.text()))
    }
}
