//! HTTP/2 with prior knowledge over plain TCP.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::events::{Event, Events};
use super::message::{Reply, Request};
use crate::region::body::{Body, Feed, whole};
use crate::runtime::runtime;

/// One HTTP/2 connection. Clones share it, so many threads can send at once.
#[derive(Clone, Debug)]
pub struct H2 {
    sender: SendRequest<Body>,
}

async fn within<T>(timeout: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

impl H2 {
    /// Connects to `127.0.0.1:8080` or `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// Nobody listens there, or the other side does not speak HTTP/2.
    pub fn open(address: &str) -> io::Result<Self> {
        let authority = address.strip_prefix("http://").unwrap_or(address);
        let authority = authority.split('/').next().unwrap_or_default();
        runtime().block_on(async {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
            runtime().spawn(connection);
            Ok(Self { sender })
        })
    }

    /// Whether the other side has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and reads the whole reply with its trailers.
    ///
    /// # Errors
    /// The stream or the connection ends early, or the reply takes longer than the timeout.
    pub fn send(&self, request: &Request) -> io::Result<Reply> {
        let mut stream = self.stream(request)?;
        while let Some(piece) = stream.read_piece()? {
            stream.head.body.extend_from_slice(&piece);
        }
        Ok(stream.head)
    }

    /// Sends a request and reads the head of the reply; the body is read from the answer.
    ///
    /// # Errors
    /// As for [`H2::send`].
    pub fn stream(&self, request: &Request) -> io::Result<H2Stream> {
        self.start(request, whole(request.body.clone()))?.answer()
    }

    /// Sends the head of a request; its body is sent piece by piece, also while the reply comes.
    ///
    /// # Errors
    /// The request has no valid form in HTTP/2, or the connection has ended.
    pub fn upload(&self, request: &Request) -> io::Result<H2Upload> {
        let (feed, body) = Feed::new();
        let mut upload = self.start(request, body)?;
        upload.feed = Some(feed);
        Ok(upload)
    }

    fn start(&self, request: &Request, body: Body) -> io::Result<H2Upload> {
        let uri = format!("http://{}{}", request.authority, request.target);
        let mut built = hyper::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let built = built.body(body).map_err(io::Error::other)?;
        let mut sender = self.sender.clone();
        let answer = runtime().spawn(async move {
            sender.ready().await?;
            sender.send_request(built).await
        });
        Ok(H2Upload { feed: None, answer, timeout: request.timeout })
    }
}

/// A request over HTTP/2 whose body may still be sent. Dropping it resets the stream.
#[derive(Debug)]
pub struct H2Upload {
    feed: Option<Feed>,
    answer: JoinHandle<hyper::Result<hyper::Response<Incoming>>>,
    timeout: Duration,
}

impl H2Upload {
    /// Sends a piece of the body.
    ///
    /// # Errors
    /// The body has ended, the stream was reset, or nobody takes the piece for the timeout.
    pub fn send(&self, piece: &[u8]) -> io::Result<()> {
        let Some(feed) = &self.feed else {
            return Err(io::Error::other("the body has ended"));
        };
        let piece = Bytes::copy_from_slice(piece);
        runtime().block_on(within(self.timeout, async {
            feed.data(piece).await.map_err(|_gone| io::Error::other("the stream was reset"))
        }))
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        self.feed = None;
    }

    /// Waits for the head of the reply, which may come before the body has ended.
    ///
    /// # Errors
    /// The stream or the connection ends early, or the head takes longer than the timeout.
    pub fn answer(&mut self) -> io::Result<H2Stream> {
        let answer =
            within(self.timeout, async { (&mut self.answer).await.map_err(io::Error::other) });
        let response = runtime().block_on(answer)?.map_err(io::Error::other)?;
        let (parts, body) = response.into_parts();
        let head = Reply {
            status: parts.status.as_u16(),
            version: "HTTP/2".to_owned(),
            headers: fields(&parts.headers),
            ..Reply::default()
        };
        Ok(H2Stream { head, body, events: Events::default(), timeout: self.timeout })
    }
}

impl Drop for H2Upload {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

fn fields(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// A reply over HTTP/2 whose body is read as it comes. Dropping it resets the stream.
#[derive(Debug)]
pub struct H2Stream {
    /// Status and headers, and the trailers when the body has ended.
    pub head: Reply,
    body: Incoming,
    events: Events,
    timeout: Duration,
}

impl H2Stream {
    /// The next piece of the body, or nothing at its end.
    ///
    /// # Errors
    /// The stream was reset, or nothing comes for the timeout.
    pub fn read_piece(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = self.body.frame();
            let frame = runtime().block_on(within(self.timeout, async { Ok(frame.await) }))?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            match frame.map_err(io::Error::other)?.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.head.trailers = fields(&trailers);
                }
            }
        }
    }

    /// The next server-sent event, or nothing at the end of the stream.
    ///
    /// # Errors
    /// As for [`H2Stream::read_piece`].
    pub fn read_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            match self.read_piece()? {
                Some(piece) => self.events.arrived(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// A message with the five bytes of gRPC before it.
pub fn grpc_frame(message: &[u8]) -> Vec<u8> {
    crate::region::grpc::frame(message).to_vec()
}

/// Takes the five bytes off each message of a gRPC body; what is cut short is left out.
pub fn grpc_messages(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(([_compressed, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let Some((message, rest)) = rest.split_at_checked(length) else {
            return messages;
        };
        messages.push(message.to_vec());
        body = rest;
    }
    messages
}
