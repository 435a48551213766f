//! One connection to a server: made, encrypted, introduced, and never waited for without an end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use rustix::net::sockopt;
use tidegate_core::policy::fencing::{RedisNode, RedisPassword};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::answer::{self, Garbled, Reader};
use super::command::{Builder, Command};
use crate::store::Check;

/// How long a connection is silent before the system asks whether the other end is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_TRIES: u32 = 3;
/// How long bytes may be on their way, in milliseconds.
const USER_TIMEOUT: u32 = 5_000;
/// What is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A stream that somebody made.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are made.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) user: Option<Arc<str>>,
    pub(super) password: Option<RedisPassword>,
    pub(super) tls: Option<TlsConnector>,
}

/// Why there is no connection, or none any more. Nothing of it repeats what was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the server cannot be reached: {0}")]
    Io(#[from] io::Error),
    #[error("the server does not answer in time")]
    Silent,
    #[error("the server has closed the connection")]
    Closed,
    #[error(transparent)]
    Garbled(#[from] Garbled),
    #[error("{0:?} is no name that a certificate can have")]
    Name(Arc<str>),
    /// The kind of its error.
    #[error("the server refuses us: {0}")]
    Refused(String),
    #[error("the server is no master")]
    Replica,
    #[error("the server is still loading its data")]
    Loading,
}

impl Broken {
    /// What has failed.
    pub(super) fn check(&self) -> Check {
        match self {
            Self::Refused(_) => Check::Access,
            Self::Io(_)
            | Self::Silent
            | Self::Closed
            | Self::Garbled(_)
            | Self::Name(_)
            | Self::Replica
            | Self::Loading => Check::Reachable,
        }
    }
}

/// A connection, and what has come over it so far.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    arrived: Vec<u8>,
    /// How much of that is read.
    taken: usize,
    reader: Reader,
}

impl Connection {
    /// Connects, and says who we are.
    pub(super) async fn open(dial: &Dial, to: &RedisNode, until: Instant) -> Result<Self, Broken> {
        let mut connection = Self::bare(dial, to, until).await?;
        connection.introduce(dial, until).await?;
        Ok(connection)
    }

    /// Connects, and says nothing.
    pub(super) async fn bare(dial: &Dial, to: &RedisNode, until: Instant) -> Result<Self, Broken> {
        let connecting = async {
            let tcp = TcpStream::connect((&*to.host, to.port)).await?;
            tune(&tcp)?;
            let stream: Box<dyn Stream> = match &dial.tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let name = ServerName::try_from(to.host.to_string());
                    let name = name.map_err(|_odd| Broken::Name(Arc::clone(&to.host)))?;
                    Box::new(tls.connect(name, tcp).await?)
                }
            };
            Ok(Self { stream, arrived: Vec::new(), taken: 0, reader: Reader::default() })
        };
        timeout_at(until, connecting).await.unwrap_or(Err(Broken::Silent))
    }

    pub(super) async fn introduce(&mut self, dial: &Dial, until: Instant) -> Result<(), Broken> {
        let Some(password) = &dial.password else { return Ok(()) };
        let auth = Builder::new("AUTH");
        let auth = dial.user.iter().fold(auth, |auth, user| auth.text(user));
        let answer = self.ask(&auth.text(&password.0).end(), until).await?;
        match answer::code(&answer) {
            None => Ok(()),
            Some(kind) => Err(Broken::Refused(kind.to_owned())),
        }
    }

    /// Sends one command and waits for its answer.
    pub(super) async fn ask(&mut self, command: &Command, until: Instant) -> Result<Value, Broken> {
        let mut out = Vec::new();
        command.write(&mut out, true);
        let asking = async {
            self.send(&out).await?;
            loop {
                if let Some(value) = self.next()? {
                    return Ok(value);
                }
                self.receive().await?;
            }
        };
        timeout_at(until, asking).await.unwrap_or(Err(Broken::Silent))
    }

    /// The next value that has arrived whole.
    pub(super) fn next(&mut self) -> Result<Option<Value>, Broken> {
        let rest = self.arrived.get(self.taken..).unwrap_or_default();
        let Some((value, length)) = self.reader.read(rest)? else { return Ok(None) };
        self.taken += length;
        Ok(Some(value))
    }

    /// Hands bytes to the system.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Waits for more.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<(), Broken> {
        self.arrived.drain(..self.taken);
        self.taken = 0;
        self.arrived.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.arrived).await? {
            0 => Err(Broken::Closed),
            _some => Ok(()),
        }
    }
}

/// A connection that is dead must be found out, and a small command must not wait for another one.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_TRIES)?;
    sockopt::set_tcp_user_timeout(tcp, USER_TIMEOUT)?;
    Ok(())
}
