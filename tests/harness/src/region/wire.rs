//! One TCP connection of a fake region, with the powers that HTTP libraries hide.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::runtime::lock;

/// A connection that wrote nothing for this long has written all it had.
const SETTLED_AFTER: Duration = Duration::from_millis(5);

/// How a connection is ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN, as a process that exits would send it.
    Close,
    /// RST at once; what the kernel has not delivered yet is lost.
    Reset,
}

/// What is known about one open connection, shared by its requests.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    requests: AtomicU64,
    written_bytes: AtomicU64,
    ending: watch::Sender<Option<Ending>>,
}

impl Link {
    /// The number of the request that begins now, from 1.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Waits until the kernel has taken at least `count` bytes in all, and no more follow.
    pub(crate) async fn written(&self, count: u64) {
        loop {
            let before = self.written_bytes();
            tokio::time::sleep(SETTLED_AFTER).await;
            if count <= before && before == self.written_bytes() {
                return;
            }
        }
    }

    /// Ends the connection without another byte of HTTP.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.send_replace(Some(ending));
    }

    /// Comes back when somebody has called [`Link::end`].
    pub(crate) async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        // The sender lives in `self`, so the channel cannot close before.
        ending.wait_for(Option::is_some).await.ok();
    }
}

/// The open connections of one fake region.
#[derive(Debug, Default)]
pub(crate) struct Links {
    accepted: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Link>>>,
}

impl Links {
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> usize {
        lock(&self.open).len()
    }

    pub(crate) fn end_all(&self, ending: Ending) {
        for link in lock(&self.open).values() {
            link.end(ending);
        }
    }

    /// Takes an accepted connection in.
    pub(crate) fn take(self: &Arc<Self>, stream: TcpStream) -> (Arc<Link>, Wire) {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::new(Link {
            id,
            requests: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            ending: watch::Sender::new(None),
        });
        lock(&self.open).insert(id, Arc::clone(&link));
        let wire = Wire { stream, link: Arc::clone(&link), links: Arc::clone(self) };
        (link, wire)
    }
}

/// The socket itself. Dropping it closes or resets the connection and strikes it off the list.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    link: Arc<Link>,
    links: Arc<Links>,
}

impl Wire {
    fn count(&self, written: usize) {
        let written = u64::try_from(written).unwrap_or(u64::MAX);
        self.link.written_bytes.fetch_add(written, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if *self.link.ending.borrow() == Some(Ending::Reset) {
            // A socket that is already dead cannot be reset, and need not be.
            self.stream.set_zero_linger().ok();
        }
        lock(&self.links.open).remove(&self.link.id);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
