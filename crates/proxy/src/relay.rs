//! Between a client and the delivery of its write: the body one way, the answer the other way.
//!
//! The client may leave at any time; then the rest of the answer is heard by nobody, and the
//! delivery goes on. The end of an answer is held back until the delivery has settled its claim, so
//! that whoever has the whole answer and sends the same write again meets a record of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::subrequest::server::SubrequestHandle;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::mpsc;

use crate::ctx::Ctx;
use crate::delivery::{Shared, detach};
use crate::fencing::replay::CODE;
use crate::fencing::start::Start;

/// The answer on its way to the client.
#[derive(Debug, Default)]
struct Download {
    /// Bytes of the body that the client still waits for; not known without a length.
    left: Option<u64>,
    /// Whether a final head has come.
    has_head: bool,
    /// Whether the answer came to its end.
    is_whole: bool,
    /// Whether the head is all of it, and has to end the stream itself: a gRPC call that failed at
    /// once is told so.
    is_failed_call: bool,
    /// What is held back: the client has all of it with this.
    last: Vec<HttpTask>,
}

/// A client, and what goes to it and comes from it.
struct Relay<'s> {
    session: &'s mut Session,
    ctx: &'s Ctx,
    upload: Start,
    download: Download,
    shared: Arc<Shared>,
}

/// Carries everything between both sides until the delivery has ended or the client has left.
///
/// # Errors
/// The client has left, or the answer broke off. The delivery goes on in either case.
pub(crate) async fn carry(
    session: &mut Session,
    ctx: &Ctx,
    handle: SubrequestHandle,
    upload: Start,
    shared: Arc<Shared>,
) -> Result<()> {
    let SubrequestHandle { tx, mut rx, .. } = handle;
    let download = Download::default();
    let mut relay = Relay { session, ctx, upload, download, shared };
    let carried = relay.run(&tx, &mut rx).await;
    let Relay { session, upload, download, shared, .. } = relay;
    let Err(error) = carried else { return download.end(session).await };
    shared.is_alone.store(true, Ordering::Relaxed);
    detach(async move {
        // To drop the sender would mean that the body is whole.
        if !upload.is_over() {
            let broken = Error::explain(ErrorType::ConnectionClosed, "the client left");
            tokio::select! {
                sent = tx.send(HttpTask::Failed(broken.into_down())) => drop(sent),
                () = listen(&mut rx) => return,
            }
        }
        listen(&mut rx).await;
        drop(tx);
    });
    Err(error)
}

/// Hears the rest of an answer that nobody waits for; what nobody hears would stop the exchange.
async fn listen(rx: &mut mpsc::Receiver<HttpTask>) {
    while rx.recv().await.is_some() {}
}

impl Relay<'_> {
    async fn run(
        &mut self,
        tx: &mpsc::Sender<HttpTask>,
        rx: &mut mpsc::Receiver<HttpTask>,
    ) -> Result<()> {
        loop {
            let Self { session, ctx, upload, download, shared } = self;
            upload.heed_deadline()?;
            let is_over = upload.is_over();
            let wants = !is_over && !tx.is_closed();
            let room = if wants { tx.try_reserve().ok() } else { None };
            let has_room = room.is_some();
            tokio::select! {
                task = rx.recv() => match task {
                    Some(task) => download.take(session, ctx, task).await?,
                    None => return Ok(()),
                },
                () = std::future::ready(()), if has_room && !upload.pieces.is_empty() => {
                    let piece = upload.pieces.pop_front();
                    send(room, piece, upload.is_over());
                },
                read = session.downstream_session.read_body_or_idle(is_over),
                    if (is_over || has_room) && upload.pieces.is_empty() => {
                    let piece = read.map_err(Error::into_down)?;
                    upload.is_whole = piece.is_none() || session.downstream_session.is_body_done();
                    upload.saw(piece.as_ref());
                    if let Some(fingerprint) = upload.fingerprint() {
                        shared.fingerprint.get_or_init(|| fingerprint);
                    }
                    send(room, piece, upload.is_whole);
                },
                freed = tx.reserve(), if wants && !has_room => drop(freed),
            }
        }
    }
}

/// Sends a piece of the body on; nothing is sent of nothing, unless it is the end.
fn send(room: Option<mpsc::Permit<'_, HttpTask>>, piece: Option<Bytes>, is_last: bool) {
    let is_empty = piece.as_ref().is_none_or(Bytes::is_empty);
    if let Some(room) = room
        && (is_last || !is_empty)
    {
        room.send(HttpTask::Body(piece, is_last));
    }
}

impl Download {
    /// Another part of the answer has come.
    async fn take(&mut self, session: &mut Session, ctx: &Ctx, task: HttpTask) -> Result<()> {
        match &task {
            HttpTask::Header(header, _) if header.status.is_informational() => {}
            HttpTask::Header(header, _) => {
                if ctx.is_last() {
                    session.set_keepalive(None);
                }
                self.has_head = true;
                self.is_failed_call = header.headers.contains_key(CODE);
                let is_bare = self.is_failed_call
                    || session.req_header().method == Method::HEAD
                    || matches!(header.status.as_u16(), 204 | 304);
                let length = header.headers.get(http::header::CONTENT_LENGTH);
                let length = length.and_then(|it| it.to_str().ok()?.parse().ok());
                self.left = if is_bare { Some(0) } else { length };
            }
            HttpTask::Body(Some(piece), _) => {
                if self.is_failed_call && !piece.is_empty() {
                    // It says how it ended, and goes on all the same.
                    (self.is_failed_call, self.left) = (false, None);
                    session.write_response_tasks(std::mem::take(&mut self.last)).await?;
                }
                let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.left = self.left.map(|it| it.saturating_sub(bytes));
            }
            HttpTask::Done | HttpTask::Trailer(_) => self.is_whole = true,
            HttpTask::Body(None, _) | HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {}
        }
        if !self.last.is_empty() || self.is_whole || (self.has_head && self.left == Some(0)) {
            self.last.push(task);
            return Ok(());
        }
        session.write_response_tasks(vec![task]).await.map(drop)
    }

    /// The delivery has ended: the client gets the rest.
    async fn end(mut self, session: &mut Session) -> Result<()> {
        let has_all = self.has_head && self.left == Some(0);
        if !self.is_whole && !has_all {
            return Error::e_explain(ErrorType::ConnectionClosed, "the answer broke off");
        }
        if self.is_failed_call {
            self.last.truncate(1);
            if let Some(HttpTask::Header(_, is_end)) = self.last.first_mut() {
                *is_end = true;
            }
        } else if !self.is_whole {
            // An answer of our own ends without a word, and HTTP/2 needs one.
            self.last.push(HttpTask::Done);
        }
        session.write_response_tasks(self.last).await.map(drop)
    }
}
