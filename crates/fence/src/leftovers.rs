//! What nobody waits for any more: claims to be given back, and outcomes to be written later.
//!
//! A guard that is dropped cannot wait for a store, so it leaves here what has to be done. So does
//! whoever has waited long enough. If too much is left, some of it is lost, and that is safe: the
//! keys are in doubt when their leases are over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::proof::NonDelivery;
use tidegate_core::fence::record::{Answer, Doubt};
use tidegate_core::fence::rules::Terms;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::fence::Shared;

/// Most that is left to do; with the largest answers that are kept, 64 MiB.
pub(crate) const LEFT_MAX: usize = 4096;
/// How often something is tried, and how long is waited between two tries, at first and at most.
const TRIES_MAX: u32 = 40;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A claim whose fate is unknown may reach the store late, so its release is sent more than once.
const RELEASES: u32 = 5;

/// Something that is left to do.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) key: FenceKey,
    pub(crate) terms: Arc<Terms>,
    pub(crate) what: What,
    tries: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Nothing was sent, and the claim may not even have been made yet.
    Release { proof: NonDelivery, is_unsure: bool },
    /// It ended like this.
    Complete(Arc<Answer>),
    /// Nobody knows how it ended.
    Doubt(Doubt),
}

impl Leftover {
    pub(crate) fn new(key: FenceKey, terms: Arc<Terms>, what: What) -> Self {
        Self { key, terms, what, tries: 0 }
    }
}

/// Does what is left to do, for as long as it is polled.
#[derive(Debug)]
pub(crate) struct Sweeper {
    arriving: mpsc::Receiver<Leftover>,
    /// What has to be tried again, in the order of the moments.
    later: VecDeque<(Instant, Leftover)>,
}

impl Sweeper {
    pub(crate) fn new() -> (mpsc::Sender<Leftover>, Self) {
        let (sender, arriving) = mpsc::channel(LEFT_MAX);
        (sender, Self { arriving, later: VecDeque::new() })
    }

    /// Does the next thing, when there is one. Never ends by itself while the fence lives.
    ///
    /// # Cancel safety
    /// What is being tried when the future is dropped is lost; see the module.
    pub(crate) async fn sweep(&mut self, shared: &Shared) {
        let next = self.later.front().map(|(at, _)| *at);
        let leftover = tokio::select! {
            biased;
            () = sleep_until(next) => self.later.pop_front().map(|(_, leftover)| leftover),
            arrived = self.arriving.recv() => arrived,
        };
        match leftover {
            Some(leftover) => self.attempt(shared, leftover).await,
            None => std::future::pending().await,
        }
    }

    /// Tries all that is left once, for this long.
    pub(crate) async fn finish(&mut self, shared: &Shared, within: Duration) {
        let everything = async {
            while let Ok(leftover) = self.arriving.try_recv() {
                self.later.push_back((Instant::now(), leftover));
            }
            for (_, leftover) in std::mem::take(&mut self.later) {
                self.attempt(shared, leftover).await;
            }
        };
        if timeout(within, everything).await.is_err() {
            tracing::warn!("the fence ends before all outcomes are written");
        }
    }

    async fn attempt(&mut self, shared: &Shared, mut leftover: Leftover) {
        leftover.tries += 1;
        if is_done(shared, &leftover).await {
            return;
        }
        if TRIES_MAX <= leftover.tries || LEFT_MAX <= self.later.len() {
            shared.tally.lost.add_one();
            return;
        }
        let doubled = 1_u32.checked_shl(leftover.tries).unwrap_or(u32::MAX);
        let at = Instant::now() + PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX);
        let place = self.later.partition_point(|(other, _)| *other <= at);
        self.later.insert(place, (at, leftover));
    }
}

/// Tries it once. Whether there is nothing left of it to do.
async fn is_done(shared: &Shared, leftover: &Leftover) -> bool {
    let Leftover { key, terms, what, tries } = leftover;
    match what {
        What::Release { proof, is_unsure } => {
            let released = shared.release(*key, terms, *proof).await;
            // "Nothing to release" may mean that the claim is still on its way.
            released.is_ok_and(|was_there| was_there || !is_unsure || RELEASES <= *tries)
        }
        What::Complete(answer) => shared.complete(*key, terms, answer).await.is_ok(),
        What::Doubt(doubt) => shared.doubt(*key, terms, *doubt).await.is_ok(),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
