//! What everybody but the controller has: a look at the world, and a way to tell what happened.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_core::board::memory::Memory;
use tidegate_core::board::{Event, Target};
use tidegate_core::drain::Cause;
use tidegate_core::policy::Policy;
use tidegate_core::snapshot::{Snapshot, Verdict};
use tokio::sync::{mpsc, oneshot, watch};

use crate::World;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::permits::Permits;

/// Most events that wait for the controller at one time.
pub const EVENTS_WAITING_MAX: usize = 4096;

/// What everybody else has: a look at the world, and a way to tell the controller something.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) world: Arc<ArcSwap<World>>,
    inbox: mpsc::Sender<Message>,
    memories: mpsc::Sender<oneshot::Sender<Memory>>,
    window: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    permits: Arc<Permits>,
}

/// Why the controller took an event not in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// More events wait than may wait.
    #[error("the controller has more to do than it can take in")]
    Full,
    /// The server is ending.
    #[error("the controller does not run any more")]
    Ended,
}

/// An event on its way to the board.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) event: Event,
    pub(crate) done: Option<oneshot::Sender<Arc<World>>>,
    pub(crate) under: Option<Arc<Policy>>,
}

impl Message {
    /// An event that nobody waits for.
    pub(crate) fn of(event: Event) -> Self {
        Self { event, done: None, under: None }
    }

    /// An event that means nothing under any other policy than this one.
    pub(crate) fn under(policy: Arc<Policy>, event: Event) -> Self {
        Self { event, done: None, under: Some(policy) }
    }
}

/// What reaches the controller.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// What happened.
    pub(crate) events: mpsc::Receiver<Message>,
    /// Those who ask for all that is known.
    pub(crate) memories: mpsc::Receiver<oneshot::Sender<Memory>>,
    /// Who wants to know whether the failover window is open.
    pub(crate) window: watch::Sender<bool>,
}

impl Handle {
    /// A handle, and what it delivers into.
    pub(crate) fn new(
        world: Arc<ArcSwap<World>>,
        metrics: Arc<Metrics>,
        ledger: Arc<Ledger>,
        permits: Arc<Permits>,
    ) -> (Self, Inbox) {
        let (inbox, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let (memories, askers) = mpsc::channel(1);
        let (opener, window) = watch::channel(world.load().snapshot.window.is_open());
        let reached = Inbox { events, memories: askers, window: opener };
        (Self { world, inbox, memories, window, metrics, ledger, permits }, reached)
    }

    /// The world in force. A request asks for it once and keeps it to its end.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Tells the controller what happened, and does not wait for what comes of it.
    ///
    /// # Errors
    ///
    /// When [`EVENTS_WAITING_MAX`] events wait already, which is counted, or the server is ending.
    pub fn send(&self, event: Event) -> Result<(), Busy> {
        self.post(Message::of(event))
    }

    /// Tells the controller what happened, and waits for a world that contains it.
    ///
    /// Before the server runs, nobody answers.
    ///
    /// # Errors
    ///
    /// As for [`Handle::send`].
    ///
    /// # Cancel safety
    ///
    /// Who stops waiting does not take the event back.
    pub async fn ask(&self, event: Event) -> Result<Arc<World>, Busy> {
        let (done, answer) = oneshot::channel();
        self.post(Message { event, done: Some(done), under: None })?;
        answer.await.map_err(|_closed| Busy::Ended)
    }

    /// Everything that is known, for another process to go on from.
    ///
    /// Before the server runs, nobody answers.
    ///
    /// # Errors
    ///
    /// When the server is ending.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the wait is given up.
    pub async fn memory(&self) -> Result<Memory, Busy> {
        let (asker, memory) = oneshot::channel();
        self.memories.send(asker).await.map_err(|_closed| Busy::Ended)?;
        memory.await.map_err(|_closed| Busy::Ended)
    }

    /// Empties the whole process, or, with `None`, no more: routing goes on as before, and every
    /// region counts from now on how what is open ends.
    ///
    /// [`Ledger::summary`] tells what is still open, and [`Ledger::drains`] how far that has come.
    ///
    /// # Errors
    ///
    /// As for [`Handle::send`].
    pub fn leave(&self, cause: Option<Cause>) -> Result<(), Busy> {
        self.send(Event::Leaving(cause))
    }

    /// Counts once more how what was open has ended, and waits until that is told.
    ///
    /// # Errors
    ///
    /// As for [`Handle::send`].
    pub async fn has_left(&self, cause: Cause) -> Result<(), Busy> {
        drop(self.ask(Event::Leaving(Some(cause))).await?);
        Ok(())
    }

    /// Whether the failover window is open, now and at every turn from now on; it is told before a
    /// world shows it. A request does not ask here but reads it in the world that it lives in.
    pub fn window(&self) -> watch::Receiver<bool> {
        self.window.clone()
    }

    /// Whether traffic may be sent here: some region is routable, or at least everybody has been
    /// asked, so that what is answered is an answer and not a guess.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.world.load().snapshot)
    }

    /// The names of the regions to which traffic may be sent.
    pub fn reaches(&self) -> Vec<String> {
        let world = self.world.load();
        let Snapshot { routable, regions, .. } = &world.snapshot;
        routable.iter().filter_map(|it| Some(regions.get(it.index())?.name.to_string())).collect()
    }

    /// The metrics of the control plane, for those who add to them.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who is open where.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Whether writes may be sent.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Hands over an event, and waits while there is no room for it.
    pub(crate) async fn deliver(&self, message: Message) -> Result<(), Busy> {
        self.inbox.send(message).await.map_err(|_closed| Busy::Ended)
    }

    /// What the world says about an endpoint; `None` when it is not there.
    pub(crate) fn verdict(&self, target: &Target) -> Option<Verdict> {
        let world = self.world.load();
        let region = world.snapshot.regions.iter().find(|it| it.name == target.region)?;
        let endpoint = region.endpoints.iter().find(|it| it.id == target.endpoint)?;
        Some(endpoint.verdict)
    }

    fn post(&self, message: Message) -> Result<(), Busy> {
        self.inbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.metrics.event_refused();
                Busy::Full
            }
            mpsc::error::TrySendError::Closed(_) => Busy::Ended,
        })
    }
}

fn is_ready(snapshot: &Snapshot) -> bool {
    let mut endpoints = snapshot.regions.iter().flat_map(|it| &it.endpoints).peekable();
    !snapshot.routable.is_empty()
        || (endpoints.peek().is_some() && endpoints.all(|it| it.verdict != Verdict::Unknown))
}
