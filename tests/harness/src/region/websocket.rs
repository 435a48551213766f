//! A WebSocket that echoes text, binary and close codes.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::answer::text_answer;
use super::body::{Body, whole};
use super::wire::Link;
use crate::runtime::runtime;

/// Answers the handshake and echoes from then on.
///
/// The text `close:CODE:WHY` makes the region close with that code instead.
pub(crate) fn answer(mut request: Request<Incoming>, link: &Arc<Link>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return text_answer(StatusCode::UPGRADE_REQUIRED, "wanted a WebSocket handshake\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let protocols = request.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let protocol = protocols.and_then(first_protocol);
    let upgrade = hyper::upgrade::on(&mut request);
    let link = Arc::clone(link);
    runtime().spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            tokio::select! {
                // How the peer left is its own affair.
                _left = echo(socket) => {}
                () = link.ended() => {}
            }
        }
    });
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn first_protocol(offered: &HeaderValue) -> Option<HeaderValue> {
    let first = offered.to_str().ok()?.split(',').next()?;
    HeaderValue::from_str(first.trim()).ok()
}

async fn echo<S>(mut socket: WebSocketStream<S>) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => match asked_close(&text) {
                Some(frame) => socket.close(Some(frame)).await?,
                None => socket.send(Message::Text(text)).await?,
            },
            Message::Binary(bytes) => socket.send(Message::Binary(bytes)).await?,
            // The library answers pings and repeats the peer's close frame by itself.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

fn asked_close(text: &str) -> Option<CloseFrame> {
    let (code, reason) = text.strip_prefix("close:")?.split_once(':')?;
    Some(CloseFrame { code: code.parse::<u16>().ok()?.into(), reason: reason.into() })
}
