//! Tickets: a claim that was won, from its beginning to its outcome.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::fence::fingerprint::Fingerprint;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt, Owner};
use tidegate_core::fence::rules::{Settled, Terms};
use tokio::time::Instant;

use crate::fence::Shared;
use crate::leftovers::What;

/// The claim is too old to begin: somebody may have declared the write not executed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much time has passed since the claim")]
pub struct TooLate;

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The store has it.
    Done(Settled),
    /// The store did not answer, and will be told later. Until then duplicates hear that the write
    /// is under way, and when its lease is over, that it is in doubt.
    Postponed,
}

/// A claim of which nothing was sent yet. Dropping it gives the key back: that nothing was sent is
/// the proof.
#[derive(Debug)]
#[must_use = "a ticket that is dropped gives its key back"]
pub struct Ticket(Option<Held>);

/// A claim of which something may have been sent. Dropping it writes a doubt.
#[derive(Debug)]
#[must_use = "an exchange that is dropped without an outcome is a doubt"]
pub struct Sending(Option<Held>);

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    key: FenceKey,
    terms: Arc<Terms>,
    attempt: u8,
    /// When the claim was sent.
    sent: Instant,
}

/// Keeps the lease of a claim alive, for whoever looks after a long exchange. It proves nothing and
/// settles nothing.
#[derive(Clone, Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    key: FenceKey,
    terms: Arc<Terms>,
}

impl Lease {
    /// How often it is to be renewed.
    pub fn every(&self) -> Duration {
        self.terms.lease / 3
    }

    /// Begins the lease anew. `false` when it is over, or settled, or the store does not answer:
    /// others may be told that the write is in doubt. The outcome is taken all the same.
    ///
    /// # Cancel safety
    /// The lease may begin anew after the future is dropped, which does no harm.
    pub async fn renew(&self) -> bool {
        self.shared.renew(self.key, &self.terms).await.unwrap_or(false)
    }
}

impl Ticket {
    pub(crate) fn new(
        shared: Arc<Shared>,
        key: FenceKey,
        terms: Arc<Terms>,
        attempt: u8,
        sent: Instant,
    ) -> Self {
        Self(Some(Held { shared, key, terms, attempt, sent }))
    }

    /// Whose claim it is, for the endpoint to see.
    pub fn owner(&self) -> Owner {
        self.0.as_ref().map_or(Owner::NOBODY, |held| held.terms.owner)
    }

    /// Counts the claims under this key; above 1 only where endpoints are idempotent.
    pub fn attempt(&self) -> u8 {
        self.0.as_ref().map_or(0, |held| held.attempt)
    }

    /// What keeps its lease alive; always there while there is a ticket to ask.
    pub fn lease(&self) -> Option<Lease> {
        self.0.as_ref().map(Held::lease)
    }

    /// Says that something will be sent now. To be called right before the first byte can leave,
    /// with nothing to wait for in between.
    ///
    /// # Errors
    /// Too much time has passed since the claim was sent; the key is given back.
    pub fn begin(mut self) -> Result<Sending, TooLate> {
        let held = self.0.take_if(|it| it.sent.elapsed() <= it.shared.limits.start_window);
        held.map(|held| Sending(Some(held))).ok_or(TooLate)
    }

    /// Gives the key back now, and waits until the store has it.
    ///
    /// # Cancel safety
    /// The key is given back in any case.
    pub async fn give_back(mut self, proof: NonDelivery) -> Settlement {
        match self.0.take() {
            Some(held) => held.release(proof).await,
            None => Settlement::Postponed,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.leave(What::Release { proof: NonDelivery::NeverBegun, is_unsure: false });
        }
    }
}

impl Sending {
    /// Whose claim it is, for the endpoint to see.
    pub fn owner(&self) -> Owner {
        self.0.as_ref().map_or(Owner::NOBODY, |held| held.terms.owner)
    }

    /// The fingerprint that was not known when the key was claimed; it is written down with the
    /// outcome. One that was known stays.
    pub fn fingerprint(&mut self, fingerprint: Fingerprint) {
        if let Some(held) = &mut self.0 {
            let terms = Arc::make_mut(&mut held.terms);
            terms.fingerprint = terms.fingerprint.or(Some(fingerprint));
        }
    }

    /// Says that the write will be sent to another endpoint, after a proof that the last one did
    /// not get it.
    ///
    /// # Errors
    /// The lease may be over, so somebody may declare the write not executed; it has to be released.
    pub fn begin_again(&self) -> Result<(), TooLate> {
        let is_held =
            |it: &Held| it.sent.elapsed() + it.shared.limits.start_window <= it.terms.lease;
        if self.0.as_ref().is_some_and(is_held) { Ok(()) } else { Err(TooLate) }
    }

    /// The endpoint has answered.
    ///
    /// # Cancel safety
    /// The answer is written down in any case.
    pub async fn complete(mut self, answer: Answer) -> Settlement {
        match self.0.take() {
            Some(held) => held.settle(What::Complete(Arc::new(answer))).await,
            None => Settlement::Postponed,
        }
    }

    /// Nobody knows whether the write was executed.
    ///
    /// # Cancel safety
    /// The doubt is written down in any case.
    pub async fn doubt(mut self, doubt: Doubt) -> Settlement {
        match self.0.take() {
            Some(held) => held.settle(What::Doubt(doubt)).await,
            None => Settlement::Postponed,
        }
    }

    /// It is certain that the write was not executed.
    ///
    /// # Cancel safety
    /// The key is given back in any case.
    pub async fn release(mut self, proof: NonDelivery) -> Settlement {
        match self.0.take() {
            Some(held) => held.release(proof).await,
            None => Settlement::Postponed,
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.leave(What::Doubt(Doubt::Dropped));
        }
    }
}

/// An outcome that is being told to the store. Dropped before that is done, it is left behind.
struct Telling {
    held: Held,
    what: Option<What>,
}

impl Held {
    fn lease(&self) -> Lease {
        let Self { shared, key, terms, .. } = self;
        Lease { shared: Arc::clone(shared), key: *key, terms: Arc::clone(terms) }
    }

    fn leave(&self, what: What) {
        self.shared.leave(self.key, &self.terms, what);
    }

    async fn release(self, proof: NonDelivery) -> Settlement {
        self.settle(What::Release { proof, is_unsure: false }).await
    }

    async fn settle(self, what: What) -> Settlement {
        let mut telling = Telling { held: self, what: Some(what.clone()) };
        let Held { shared, key, terms, .. } = &telling.held;
        let told = match &what {
            What::Release { proof, .. } => {
                let released = shared.release(*key, terms, *proof).await;
                released.map(|was_there| if was_there { Settled::Stored } else { Settled::Already })
            }
            What::Complete(answer) => shared.complete(*key, terms, answer).await,
            What::Doubt(doubt) => shared.doubt(*key, terms, *doubt).await,
        };
        let Ok(settled) = told else {
            shared.tally.postponed.add_one();
            return Settlement::Postponed;
        };
        telling.what = None;
        Settlement::Done(settled)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            self.held.leave(what);
        }
    }
}
