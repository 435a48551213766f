//! The gRPC service `tidegate.test.Echo` on raw messages, with real HTTP/2 trailers.
//!
//! The framing is five bytes and done by hand, so that no compiler of interface files is needed.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::answer::{hex, text_answer};
use super::body::{Body, Feed, whole};
use crate::runtime::runtime;

/// The path prefix of the service.
pub(crate) const SERVICE: &str = "/tidegate.test.Echo/";

const FAILED_PRECONDITION: u8 = 9;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;

#[derive(Clone, Copy, Debug)]
enum Method {
    Unary,
    ServerStream,
    ClientStream,
    Bidi,
    Fail,
    FailLate,
    Code,
}

/// How a call ended.
struct Status {
    code: u8,
    message: String,
}

/// Puts the five bytes before a message.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Answers one call.
pub(crate) fn answer(request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return text_answer(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "wanted application/grpc\n");
    }
    let method = match request.uri().path().strip_prefix(SERVICE).unwrap_or_default() {
        "Unary" => Method::Unary,
        "ServerStream" => Method::ServerStream,
        "ClientStream" => Method::ClientStream,
        "Bidi" => Method::Bidi,
        "Fail" => Method::Fail,
        "FailLate" => Method::FailLate,
        // Fails with the code that the message names, and with nothing before it.
        "Code" => Method::Code,
        "FailAtOnce" => return trailers_only(FAILED_PRECONDITION, "refused at once"),
        _ => return trailers_only(UNIMPLEMENTED, "no such method"),
    };
    let (feed, body) = Feed::new();
    let messages = Messages { body: request.into_body(), buffer: BytesMut::new() };
    runtime().spawn(async move {
        // A caller that has gone does not want its trailers either.
        feed.trailers(carry_out(method, messages, &feed).await.trailers()).await.ok();
    });
    grpc_head(body)
}

fn grpc_head(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

/// An error without any message: status and headers travel in one frame that ends the stream.
fn trailers_only(code: u8, message: &str) -> Response<Body> {
    let mut response = grpc_head(whole(Bytes::new()));
    let status = Status { code, message: message.to_owned() };
    response.headers_mut().extend(status.trailers());
    response
}

async fn carry_out(method: Method, messages: Messages, feed: &Feed) -> Status {
    match run(method, messages, feed).await {
        Ok(status) => status,
        Err(error) => Status { code: INTERNAL, message: error.to_string() },
    }
}

async fn run(method: Method, mut messages: Messages, feed: &Feed) -> io::Result<Status> {
    let send = async |message: &[u8]| {
        feed.data(frame(message)).await.map_err(|_gone| io::Error::other("the caller has gone"))
    };
    match method {
        Method::Unary => {
            let message = messages.next().await?.unwrap_or_default();
            send(&message).await?;
        }
        Method::ServerStream => {
            let message = messages.next().await?.unwrap_or_default();
            let count = String::from_utf8_lossy(&message).parse::<u32>().map_err(io::Error::other);
            for n in 0..count? {
                send(n.to_string().as_bytes()).await?;
            }
        }
        Method::ClientStream => {
            let (mut count, mut bytes, mut digest) = (0_u64, 0, Sha256::new());
            while let Some(message) = messages.next().await? {
                count += 1;
                bytes += message.len();
                digest.update(&message);
            }
            let sum = hex(&digest.finalize());
            let said = json!({ "count": count, "bytes": bytes, "sha256": sum });
            send(said.to_string().as_bytes()).await?;
        }
        Method::Bidi => {
            while let Some(message) = messages.next().await? {
                send(&message).await?;
            }
        }
        Method::Code => {
            let message = messages.next().await?.unwrap_or_default();
            let code = String::from_utf8_lossy(&message).parse().map_err(io::Error::other)?;
            return Ok(Status { code, message: "the code that was asked for".to_owned() });
        }
        Method::Fail => return Ok(failed("failed as asked")),
        Method::FailLate => {
            let message = messages.next().await?.unwrap_or_default();
            send(&message).await?;
            return Ok(failed("failed after a message"));
        }
    }
    Ok(Status { code: 0, message: String::new() })
}

fn failed(message: &str) -> Status {
    Status { code: FAILED_PRECONDITION, message: message.to_owned() }
}

impl Status {
    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(u16::from(self.code)));
        if let Ok(message) = HeaderValue::from_str(&self.message)
            && !message.is_empty()
        {
            trailers.insert("grpc-message", message);
        }
        trailers.insert("x-echo-trailer", HeaderValue::from_static("present"));
        trailers
    }
}

/// Takes messages out of a body.
struct Messages {
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let [compressed, a, b, c, d] = *head;
        if compressed != 0 {
            return Err(io::Error::other("compressed messages are not understood"));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(io::Error::other)?;
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
