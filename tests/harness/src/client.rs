//! Blocking clients for tests: plain HTTP/1.1 by hand, HTTP/2 by a library, and web sockets.

pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod h2;
pub(crate) mod message;

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{WebSocket, client};

use self::message::{Reply, Request};

/// Sends a GET on a fresh connection. Panics when no whole answer comes.
#[track_caller]
pub fn get(url: &str) -> Reply {
    Request::get(url).send().unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// Opens a WebSocket; `url` begins with `http://` or `ws://`.
///
/// # Errors
/// The address refuses, or the handshake is not answered with 101.
pub fn websocket(url: &str, headers: &[(&str, &str)]) -> io::Result<WebSocket<TcpStream>> {
    let url = url.replacen("http://", "ws://", 1);
    let mut request = url.as_str().into_client_request().map_err(io::Error::other)?;
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        let value = http::HeaderValue::from_str(value).map_err(io::Error::other)?;
        request.headers_mut().append(name, value);
    }
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    match client(request, stream) {
        Ok((socket, _response)) => Ok(socket),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}
