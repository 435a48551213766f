//! What everybody may know of the end of the process: whether and why it ends, and how far that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was told to.
    Told,
    /// Another process has taken over.
    Succeeded,
}

/// What is known about the end of the process; all copies are one.
#[derive(Clone, Debug)]
pub(crate) struct Ending(Arc<State>);

#[derive(Debug)]
struct State {
    cause: watch::Sender<Option<Cause>>,
    handing_over: AtomicBool,
    at_once: watch::Sender<bool>,
    left: watch::Sender<bool>,
    succeeded: AtomicBool,
    unclean: AtomicBool,
}

impl Ending {
    /// The process runs, and nobody has told it to end.
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            cause: watch::Sender::new(None),
            handing_over: AtomicBool::new(false),
            at_once: watch::Sender::new(false),
            left: watch::Sender::new(false),
            succeeded: AtomicBool::new(false),
            unclean: AtomicBool::new(false),
        }))
    }

    /// Begins to end the process; answers whether that is news.
    ///
    /// A process that drains because another one has taken over can still be told to stop: then
    /// the time that the policy gives begins.
    pub(crate) fn begin(&self, cause: Cause) -> bool {
        self.0.cause.send_if_modified(|it| {
            let is_news = it.is_none() || (*it, cause) == (Some(Cause::Succeeded), Cause::Told);
            if is_news {
                *it = Some(cause);
                self.0.succeeded.fetch_or(cause == Cause::Succeeded, Ordering::Relaxed);
            }
            is_news
        })
    }

    /// Ends the process at once.
    pub(crate) fn at_once(&self) -> bool {
        self.begin(Cause::Told);
        !self.0.at_once.send_replace(true)
    }

    /// Why the process is ending, if it is.
    pub(crate) fn cause(&self) -> Option<Cause> {
        *self.0.cause.borrow()
    }

    /// Whether another process has taken over, whatever else was said afterwards.
    pub(crate) fn was_succeeded(&self) -> bool {
        self.0.succeeded.load(Ordering::Relaxed)
    }

    /// Another process is being told all that is known, or that is over.
    pub(crate) fn hands_over(&self, begins: bool) {
        self.0.handing_over.store(begins, Ordering::Relaxed);
    }

    /// Whether another process is being told all that is known, so that nothing may change.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.0.handing_over.load(Ordering::Relaxed)
    }

    /// Whether requests were still open in the end.
    pub(crate) fn was_unclean(&self) -> bool {
        self.0.unclean.load(Ordering::Relaxed)
    }

    /// Waits until the process begins to end; answers why.
    pub(crate) async fn began(&self) -> Cause {
        let mut causes = self.0.cause.subscribe();
        // Who waits keeps the sender, so the wait cannot fail.
        causes.wait_for(Option::is_some).await.ok().and_then(|it| *it).unwrap_or(Cause::Told)
    }

    /// Something was still open in the end.
    pub(crate) fn ends_unclean(&self) {
        self.0.unclean.store(true, Ordering::Relaxed);
    }

    /// Every listener is left to the process that has taken over.
    pub(crate) fn has_left(&self) {
        self.0.left.send_replace(true);
    }

    /// Waits until every listener is left to the process that has taken over.
    pub(crate) async fn left(&self) {
        drop(self.0.left.subscribe().wait_for(|it| *it).await);
    }

    /// Waits until the process is told to stop.
    pub(crate) async fn told(&self) {
        drop(self.0.cause.subscribe().wait_for(|it| *it == Some(Cause::Told)).await);
    }

    /// Waits until the process is to end at once.
    pub(crate) async fn told_again(&self) {
        drop(self.0.at_once.subscribe().wait_for(|it| *it).await);
    }
}
