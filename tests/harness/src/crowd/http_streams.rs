//! Streams of a crowd that are requests: events, downloads, uploads and gRPC calls.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpSocket, TcpStream};

use super::stream::{Stream, UPLOAD};
use super::{Outcome, Running};
use crate::region::answer::hex;
use crate::region::body::{Body, Feed, whole};
use crate::region::flow::Checker;
use crate::region::grpc;
use crate::runtime::runtime;

/// What a client that reads slowly lets the system keep for it, so that the way fills up.
const NARROW_BYTES: u32 = 16 * 1024;
/// How long such a client rests between two reads.
const READS_EVERY: Duration = Duration::from_millis(100);
/// How long an upload is that says so.
const UPLOAD_BYTES: usize = 200_000;

/// The call that echoes.
const BIDI: &str = "/tidegate.test.Echo/Bidi";

type H2 = http2::SendRequest<Body>;

/// Opens a connection over HTTP/2.
pub(super) fn h2(address: SocketAddr) -> io::Result<H2> {
    runtime().block_on(async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        runtime().spawn(connection);
        Ok(sender)
    })
}

/// How a request gets to the balancer.
struct Way {
    address: SocketAddr,
    /// The connection that it shares; without one it has a connection of its own.
    shared: Option<H2>,
    narrow: bool,
}

impl Way {
    fn of(running: &Running, shared: Option<H2>) -> Self {
        Self { address: running.shared.address, shared, narrow: running.stream.reads_slowly }
    }

    /// Sends a request, and waits for the head of an answer that must be 200.
    async fn send(
        self,
        request: http::request::Builder,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, Outcome> {
        let response = if let Some(mut shared) = self.shared {
            let request = request.uri(format!("http://{}{path}", self.address));
            shared.ready().await.map_err(cut)?;
            shared.send_request(request.body(body).map_err(cut)?).await.map_err(cut)?
        } else {
            let request = request.uri(path).header("host", self.address.to_string());
            let stream = connect(self.address, self.narrow).await.map_err(cut)?;
            let handshake = http1::handshake(TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.map_err(cut)?;
            runtime().spawn(connection);
            sender.send_request(request.body(body).map_err(cut)?).await.map_err(cut)?
        };
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(cut)?.to_bytes();
        Err(Outcome::Cut(format!("{status}: {}", String::from_utf8_lossy(&body))))
    }
}

async fn connect(address: SocketAddr, narrow: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if narrow {
        socket.set_recv_buffer_size(NARROW_BYTES)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn cut(error: impl std::error::Error) -> Outcome {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        told = format!("{told}: {deeper}");
        cause = deeper.source();
    }
    Outcome::Cut(told)
}

/// Reads an answer that the region ends, and compares it with what the region sent.
pub(super) async fn download(running: &mut Running, h2: Option<H2>) -> Result<(), Outcome> {
    let script = running.stream.script;
    let gap_ms = running.stream.gap.map_or(0, |it| it.as_millis());
    let path = format!(
        "/flow?seed={}&events={}&max={}&gap_ms={gap_ms}&crowd={}",
        script.seed,
        u8::from(script.events),
        script.piece_max,
        running.shared.id,
    );
    let way = Way::of(running, h2);
    let answer = Box::pin(way.send(Request::builder(), &path, whole("")));
    let mut body = answer.await?.into_body();
    let mut checker = Checker::new(script);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(cut)?.into_data() {
            checker.arrived(&data).map_err(Outcome::Altered)?;
        }
        if checker.has_begun() {
            running.opened();
        }
        if running.stream.reads_slowly && !running.shared.is_finished() {
            tokio::time::sleep(READS_EVERY).await;
        }
    }
    checker.is_whole().map_err(Outcome::Altered)
}

/// Sends a body slowly; the region answers with its length and its digest.
pub(super) async fn upload(running: &mut Running, h2: Option<H2>) -> Result<(), Outcome> {
    let (feed, body) = Feed::new();
    let mut request = Request::builder().method(Method::POST);
    if running.stream.states_length {
        request = request.header("content-length", UPLOAD_BYTES);
    }
    let way = Way::of(running, h2);
    let mut answer = Box::pin(way.send(request, UPLOAD, body));
    let (count, digest) = tokio::select! {
        early = &mut answer => {
            let why = "it was answered before it was whole".to_owned();
            return Err(early.err().unwrap_or(Outcome::Cut(why)));
        }
        sent = fill(running, feed) => sent,
    };
    let told = answer.await?.into_body().collect().await.map_err(cut)?.to_bytes();
    let told: Value = serde_json::from_slice(&told).map_err(cut)?;
    if told.get("body_bytes") == Some(&count.into())
        && told.get("body_sha256") == Some(&digest.clone().into())
    {
        return Ok(());
    }
    Err(Outcome::Altered(format!("{count} bytes of {digest} were sent, and {told} arrived")))
}

/// Sends a body until it is to end; tells its length and its digest.
async fn fill(running: &mut Running, feed: Feed) -> (usize, String) {
    let Stream { script, states_length, .. } = running.stream;
    let (mut count, mut digest) = (0, Sha256::new());
    let mut put = async |piece: Vec<u8>| {
        count += piece.len();
        digest.update(&piece);
        if !piece.is_empty() && feed.data(piece).await.is_err() {
            // Nobody takes it; why that is comes with the answer.
            pending::<()>().await;
        }
        count
    };
    let mut n = 0;
    let mut sent = put(script.piece(n)).await;
    // The region knows whether it has arrived.
    running.opened();
    while running.rest().await {
        n += 1;
        let mut piece = script.piece(n);
        if states_length {
            // One byte is kept for the end.
            piece.truncate((UPLOAD_BYTES - 1).saturating_sub(sent));
        }
        sent = put(piece).await;
    }
    let rest = if states_length { UPLOAD_BYTES - sent } else { 1 };
    put(vec![b'.'; rest]).await;
    (count, hex(&digest.finalize()))
}

/// Sends messages and gets the same back, on a call that goes in both directions.
pub(super) async fn grpc(running: &mut Running, h2: Option<H2>) -> Result<(), Outcome> {
    let (feed, body) = Feed::new();
    let script = running.stream.script;
    let message = |n| grpc::frame(&script.piece(n));
    let request =
        Request::builder().method(Method::POST).header("content-type", "application/grpc");
    let request = request.header("te", "trailers");
    // There is room for one message before anybody takes it.
    feed.data(message(0)).await.map_err(|_gone| Outcome::Cut("nobody takes it".to_owned()))?;
    let way = Way::of(running, h2);
    let mut answer = Box::pin(way.send(request, BIDI, body)).await?.into_body();
    echoes(&mut answer, &message(0)).await?;
    running.opened();
    let mut n = 0;
    loop {
        let more = tokio::select! {
            more = running.rest() => more,
            unasked = answer.frame() => return Err(unasked.map_or_else(
                || Outcome::Cut("the answer ended".to_owned()),
                |it| it.map_or_else(cut, |_| Outcome::Altered("an unasked frame".to_owned())),
            )),
        };
        n += 1;
        let gone = |_gone| Outcome::Cut("the request was reset".to_owned());
        feed.data(message(n)).await.map_err(gone)?;
        echoes(&mut answer, &message(n)).await?;
        if !more {
            break;
        }
    }
    drop(feed);
    match answer.frame().await.transpose().map_err(cut)?.map(Frame::into_trailers) {
        Some(Ok(trailers)) if trailers.get("grpc-status").is_some_and(|it| it == "0") => Ok(()),
        Some(Ok(trailers)) => Err(Outcome::Altered(format!("it ended with {trailers:?}"))),
        Some(Err(_data)) => Err(Outcome::Altered("bytes come after the end".to_owned())),
        None => Err(Outcome::Altered("it ended without trailers".to_owned())),
    }
}

/// Waits until exactly these bytes have come.
async fn echoes(answer: &mut Incoming, mut wanted: &[u8]) -> Result<(), Outcome> {
    while !wanted.is_empty() {
        let ended = || Outcome::Cut("the answer ended".to_owned());
        let frame = answer.frame().await.ok_or_else(ended)?.map_err(cut)?;
        let data = frame.into_data();
        let data = data.map_err(|_trailers| Outcome::Cut("trailers came early".to_owned()))?;
        wanted = wanted
            .strip_prefix(&*data)
            .ok_or_else(|| Outcome::Altered("another message came back".to_owned()))?;
    }
    Ok(())
}
