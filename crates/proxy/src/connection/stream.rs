//! The bytes of a client's connection, as Pingora takes them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};

use super::Connection;
use super::frames::Frames;

/// Bytes of an answer that are gathered before they are sent: a head and a small body go together.
const GATHERED_BYTES: usize = 4096;
/// Bytes that are read at once to find out the protocol.
const FIRST_BYTES: usize = 2048;
/// What a client begins with that speaks HTTP/2 without asking.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client is told whose head does not end in time.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/problem+json\r\n\
    content-length: 114\r\n\
    cache-control: no-store\r\n\
    proxy-status: tidegate; error=http_request_error; details=\"request_timeout\"\r\n\
    connection: close\r\n\r\n\
    {\"code\":\"request_timeout\",\"status\":408,\"title\":\"the head of the request did not \
    end in time\",\"type\":\"about:blank\"}";

/// The bytes of a client's connection.
///
/// What is written is gathered until somebody flushes it, or until nothing is left to do but wait
/// for the client: what a region sends in pieces goes on in the same pieces.
#[derive(Debug)]
pub struct ClientStream<S> {
    socket: BufWriter<S>,
    /// What was read to find out the protocol, and from where on it is still to be handed out.
    first: (Vec<u8>, usize),
    /// The frames of HTTP/2, once it is known to be that.
    frames: Option<Frames>,
    connection: Arc<Connection>,
    socket_digest: Arc<SocketDigest>,
    proxy_digest: Arc<ProxyDigest>,
    id: UniqueIDType,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream<S> {
    /// The bytes of a connection over a socket with this number.
    ///
    /// # Errors
    /// None in practice: an empty head can always be made.
    pub fn new(
        socket: S,
        id: UniqueIDType,
        digest: SocketDigest,
        connection: Arc<Connection>,
    ) -> pingora::Result<Self> {
        // Pingora hands a session's digest to every hook, and this is the only member of it in
        // which something of ours can travel.
        let carried: Box<dyn std::any::Any + Send + Sync> = Box::new(Arc::clone(&connection));
        let nothing = Box::new(ResponseHeader::build(200, Some(0))?);
        Ok(Self {
            socket: BufWriter::with_capacity(GATHERED_BYTES, socket),
            first: (Vec::new(), 0),
            frames: None,
            connection,
            socket_digest: Arc::new(digest),
            proxy_digest: Arc::new(ProxyDigest::new(nothing, Some(carried))),
            id,
        })
    }

    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.late.load(Ordering::Relaxed) {
            return self.poll_refuse(context);
        }
        if self.connection.hears_late() {
            // What waits for the endpoint waits for the client as well, and can be woken here only.
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(self.socket.get_mut()).poll_read(context, buffer)?;
        if read.is_pending() {
            if !self.socket.buffer().is_empty() {
                // Whether it is sent now or when the socket has room again is all the same here.
                let _sent = Pin::new(&mut self.socket).poll_flush(context)?;
            }
            return Poll::Pending;
        }
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if let Some(frames) = &mut self.frames {
            frames.feed(bytes);
            self.connection.heads(frames.is_in_head());
        } else if !bytes.is_empty() && !self.connection.has_requests() {
            self.connection.heads(true);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells a client that it is too late, if it understands HTTP/1.1.
    fn poll_refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tells = self.frames.is_none();
        if tells && Pin::new(&mut self.socket).poll_write(context, LATE)?.is_ready() {
            let _sent = Pin::new(&mut self.socket).poll_flush(context)?;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads until it is clear whether the client speaks HTTP/2.
    async fn read_first(&mut self) -> io::Result<()> {
        // On the heap, or every connection would carry this room to its end.
        let mut bytes = vec![0; FIRST_BYTES];
        while self.first.0.len() < PREFACE.len() && PREFACE.starts_with(&self.first.0) {
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|context| self.poll_socket(context, &mut buffer)).await?;
            if buffer.filled().is_empty() {
                break;
            }
            self.first.0.extend_from_slice(buffer.filled());
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let (first, place) = &mut me.first;
        if let Some(left) = first.get(*place..).filter(|it| !it.is_empty()) {
            let taken = left.len().min(buffer.remaining());
            buffer.put_slice(left.get(..taken).unwrap_or_default());
            *place += taken;
            if *place == first.len() {
                me.first = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        me.poll_socket(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Peek for ClientStream<S> {
    async fn try_peek(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        self.read_first().await?;
        let (first, _) = &self.first;
        if first.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first.starts_with(PREFACE) {
            let mut frames = Frames::default();
            frames.feed(first);
            self.connection.heads(frames.is_in_head());
            self.frames = Some(frames);
        }
        // A request may be shorter than what is asked for. Whatever is missing is left as it is:
        // it is compared with the preface, which it then is not.
        let there = first.len().min(bytes.len());
        if let (Some(to), Some(from)) = (bytes.get_mut(..there), first.get(..there)) {
            to.copy_from_slice(from);
        }
        Ok(true)
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for ClientStream<S> {
    async fn shutdown(&mut self) {
        // A client that is gone already needs not be told.
        drop(self.socket.shutdown().await);
    }
}

impl<S> UniqueID for ClientStream<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for ClientStream<S> {}

impl<S> GetTimingDigest for ClientStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for ClientStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.proxy_digest))
    }
}

impl<S> GetSocketDigest for ClientStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket_digest))
    }
}
