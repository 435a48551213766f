//! A WebSocket of a crowd: it says something and hears it again, or is silent.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Outcome, Running};

/// Runs it to its end.
pub(super) async fn run(running: &mut Running) -> Result<(), Outcome> {
    let mut socket = Box::pin(open(running)).await?;
    let mut n = 0;
    echo(running, &mut socket, n).await?;
    running.opened();
    loop {
        tokio::select! {
            more = running.rest() => if !more { break },
            unasked = socket.next() => return Err(surprise(unasked)),
        }
        n += 1;
        echo(running, &mut socket, n).await?;
    }
    echo(running, &mut socket, n + 1).await?;
    socket.close(None).await.map_err(cut)?;
    match socket.next().await {
        Some(Ok(Message::Close(_))) => Ok(()),
        other => Err(surprise(other)),
    }
}

async fn open(running: &Running) -> Result<WebSocketStream<TcpStream>, Outcome> {
    let address = running.shared.address;
    let failed = |error: std::io::Error| Outcome::Cut(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (socket, _response) =
        client_async(format!("ws://{address}/ws"), stream).await.map_err(cut)?;
    Ok(socket)
}

/// Sends a message and waits until the same comes back.
async fn echo(
    running: &Running,
    socket: &mut WebSocketStream<TcpStream>,
    n: u64,
) -> Result<(), Outcome> {
    let message = Message::binary(running.stream.script.piece(n));
    socket.send(message.clone()).await.map_err(cut)?;
    match socket.next().await {
        Some(Ok(echo)) if echo == message => Ok(()),
        other => Err(surprise(other)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands behind `map_err`")]
fn cut(error: Error) -> Outcome {
    Outcome::Cut(error.to_string())
}

/// Something came that nobody had asked for, or the end.
fn surprise(came: Option<Result<Message, Error>>) -> Outcome {
    match came {
        None => Outcome::Cut("the connection ended".to_owned()),
        Some(Err(error)) => cut(error),
        Some(Ok(Message::Close(frame))) => Outcome::Cut(format!("it was closed: {frame:?}")),
        Some(Ok(other)) => Outcome::Altered(format!("another message: {} bytes", other.len())),
    }
}
