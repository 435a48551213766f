//! Bodies of answers: whole, or fed frame by frame from a task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The body of every answer of a fake region.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A body that is known whole.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Feeds a [`Body`]. Dropping it ends the body.
#[derive(Debug)]
pub(crate) struct Feed {
    frames: mpsc::Sender<Frame<Bytes>>,
}

/// The reader has gone: nobody will see what was not sent yet.
#[derive(Debug)]
pub(crate) struct Gone;

impl Feed {
    /// A body and what feeds it.
    pub(crate) fn new() -> (Self, Body) {
        let (frames, receiver) = mpsc::channel(1);
        (Self { frames }, BoxBody::new(Fed { frames: receiver }))
    }

    pub(crate) async fn data(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.frames.send(Frame::data(bytes.into())).await.map_err(|_gone| Gone)
    }

    pub(crate) async fn trailers(&self, trailers: http::HeaderMap) -> Result<(), Gone> {
        self.frames.send(Frame::trailers(trailers)).await.map_err(|_gone| Gone)
    }

    /// Comes back when the reader has gone.
    pub(crate) async fn gone(&self) {
        self.frames.closed().await;
    }
}

struct Fed {
    frames: mpsc::Receiver<Frame<Bytes>>,
}

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.frames.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
