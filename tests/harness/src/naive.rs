//! Middlewares of the kind that is found in the wild, small but real, to be measured beside ours.
//!
//! Nobody should put them in front of anything that counts.

mod store;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};

use self::store::Store;
use crate::ports::Reservation;
use crate::region::answer::hex;
use crate::region::book::SCOPE;
use crate::runtime::lock;

/// Longest time for an endpoint's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer is kept.
const KEEP: Duration = Duration::from_hours(1);

/// How duplicates are to be kept away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naive {
    /// `SET key NX PX`, then forward. The key is deleted on every error, so that the client may
    /// try again.
    SetNx {
        /// When the key expires.
        expiry: Duration,
    },
    /// A record that is in progress for so long, and then holds the answer. Once the time is over
    /// the write is carried out again, as AWS Powertools does. It is deleted on every error too.
    RunAgain {
        /// For how long a write may be in progress.
        lease: Duration,
    },
}

/// A middleware in front of one endpoint, with its memory in one Redis server.
#[derive(Debug)]
pub struct NaiveFence {
    kind: Naive,
    redis: SocketAddr,
    endpoint: SocketAddr,
    reservation: Reservation,
    runtime: Mutex<Option<Runtime>>,
}

struct State {
    kind: Naive,
    store: Store,
    endpoint: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// A write on its way through.
struct Write {
    key: String,
    payload: String,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What an endpoint answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl NaiveFence {
    /// Starts on a free loopback port.
    pub fn start(kind: Naive, redis: SocketAddr, endpoint: SocketAddr) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let reservation = Reservation::new(any).expect("the loopback has a free port");
        let fence = Self { kind, redis, endpoint, reservation, runtime: Mutex::new(None) };
        fence.restart();
        fence
    }

    /// Where it listens. Stays the same over [`NaiveFence::kill`].
    pub fn address(&self) -> SocketAddr {
        self.reservation.address()
    }

    /// Ends it as `kill -9` ends a process: everything stops where it is and its connections
    /// close. What it has written into Redis stays.
    pub fn kill(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_timeout(KILL_DEADLINE);
        }
    }

    /// Starts it again after [`NaiveFence::kill`].
    pub fn restart(&self) {
        self.kill();
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("naive").enable_all().build();
        let runtime = runtime.expect("a runtime with one thread can be built");
        let state = Arc::new(State {
            kind: self.kind,
            store: Store { address: self.redis },
            endpoint: self.endpoint,
            idle: Mutex::default(),
        });
        let listener = {
            let _inside = runtime.enter();
            listen(self.address()).expect("the port was reserved for us")
        };
        runtime.spawn(accept(listener, state));
        *lock(&self.runtime) = Some(runtime);
    }
}

impl Drop for NaiveFence {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        // An error concerns one connection, not the listener.
        let Ok((stream, _peer)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            // A task of its own, as in most frameworks: it goes on when the client has left.
            let answer = Handle::current().spawn(async move { state.answer(request).await });
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|_died| bad_gateway())) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // How it ends is the client's business.
        Handle::current().spawn(async move { connection.await.ok() });
    }
}

fn says(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{{\"code\":\"{code}\"}}")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn bad_gateway() -> Response<Full<Bytes>> {
    says(StatusCode::BAD_GATEWAY, "failed")
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return bad_gateway() };
        let text = |name| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
        let body = body.to_bytes();
        let write = Write {
            key: format!("naive:{}:{}", text(SCOPE), text("idempotency-key")),
            payload: hex(&Sha256::digest(&body)),
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
        };
        let answer = match self.kind {
            _ if write.method == Method::GET => Ok(self.passed_on(&write).await),
            Naive::SetNx { expiry } => self.set_nx(&write, expiry).await,
            Naive::RunAgain { lease } => self.run_again(&write, lease).await,
        };
        answer.unwrap_or_else(|_gone| says(StatusCode::SERVICE_UNAVAILABLE, "store_down"))
    }

    async fn passed_on(&self, write: &Write) -> Response<Full<Bytes>> {
        self.forward(write).await.map_or_else(|_error| bad_gateway(), Answer::shown)
    }

    async fn set_nx(&self, write: &Write, expiry: Duration) -> io::Result<Response<Full<Bytes>>> {
        if !self.store.set_if_absent(&write.key, &write.payload, expiry).await? {
            let known = self.store.get(&write.key).await?;
            return Ok(if known.is_some_and(|it| it != write.payload) {
                says(StatusCode::UNPROCESSABLE_ENTITY, "mismatch")
            } else {
                says(StatusCode::CONFLICT, "already_executed")
            });
        }
        match self.forward(write).await {
            Ok(answer) if answer.status.as_u16() < 500 => Ok(answer.shown()),
            failed => {
                self.store.delete(&write.key).await?;
                Ok(failed.map_or_else(|_error| bad_gateway(), Answer::shown))
            }
        }
    }

    async fn run_again(&self, write: &Write, lease: Duration) -> io::Result<Response<Full<Bytes>>> {
        if !self.store.set_if_absent(&write.key, &write.payload, lease).await? {
            let known = self.store.get(&write.key).await?.unwrap_or_default();
            let mut parts = known.splitn(3, '\n');
            return Ok(match (parts.next(), parts.next(), parts.next()) {
                (Some(payload), _, _) if payload != write.payload => {
                    says(StatusCode::UNPROCESSABLE_ENTITY, "mismatch")
                }
                (_, Some(status), Some(body)) => replay(status, body),
                _ => says(StatusCode::CONFLICT, "in_flight"),
            });
        }
        match self.forward(write).await {
            Ok(answer) if answer.status.as_u16() < 500 => {
                let body = String::from_utf8_lossy(&answer.body);
                let record = format!("{}\n{}\n{body}", write.payload, answer.status.as_u16());
                self.store.set(&write.key, &record, KEEP).await?;
                Ok(answer.shown())
            }
            failed => {
                self.store.delete(&write.key).await?;
                Ok(failed.map_or_else(|_error| bad_gateway(), Answer::shown))
            }
        }
    }

    /// Sends a write on and reads the whole answer, over a connection that is used again.
    async fn forward(&self, write: &Write) -> io::Result<Answer> {
        let exchange = self.exchange(write);
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(io::Error::other)?
    }

    async fn exchange(&self, write: &Write) -> io::Result<Answer> {
        let mut sender = self.sender().await?;
        let mut request = Request::new(Full::new(write.body.clone()));
        *request.method_mut() = write.method.clone();
        *request.uri_mut() = write.uri.clone();
        *request.headers_mut() = write.headers.clone();
        let host = HeaderValue::from_str(&self.endpoint.to_string()).map_err(io::Error::other)?;
        request.headers_mut().insert(HOST, host);
        let (parts, body) =
            sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        lock(&self.idle).push(sender);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn sender(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        loop {
            let idle = lock(&self.idle).pop();
            let Some(mut sender) = idle else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.endpoint).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // How it ends is seen by whoever sends on it.
        Handle::current().spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

impl Answer {
    fn shown(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn replay(status: &str, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_owned()));
    *response.status_mut() = status.parse().unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}
