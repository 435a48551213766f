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
    /// What is being tried. It stays here until the store has answered, because whoever sweeps may be
    /// interrupted while it waits for that.
    current: Option<Leftover>,
    /// What has to be tried again, in the order of the moments.
    later: VecDeque<(Instant, Leftover)>,
}

impl Sweeper {
    pub(crate) fn new() -> (mpsc::Sender<Leftover>, Self) {
        let (sender, arriving) = mpsc::channel(LEFT_MAX);
        (sender, Self { arriving, current: None, later: VecDeque::new() })
    }

    /// Does the next thing, when there is one. Never ends by itself while the fence lives.
    ///
    /// # Cancel safety
    /// What is being tried when the future is dropped is tried again; everything may arrive twice.
    pub(crate) async fn sweep(&mut self, shared: &Shared) {
        if self.current.is_none() {
            let next = self.later.front().map(|(at, _)| *at);
            self.current = tokio::select! {
                biased;
                () = sleep_until(next) => self.later.pop_front().map(|(_, leftover)| leftover),
                arrived = self.arriving.recv() => arrived,
            };
        }
        if self.current.is_none() {
            return std::future::pending().await;
        }
        self.attempt(shared).await;
    }

    /// Tries all that is left once, for this long.
    pub(crate) async fn finish(&mut self, shared: &Shared, within: Duration) {
        let everything = async {
            while let Ok(leftover) = self.arriving.try_recv() {
                self.later.push_back((Instant::now(), leftover));
            }
            self.attempt(shared).await;
            for (_, leftover) in std::mem::take(&mut self.later) {
                self.current = Some(leftover);
                self.attempt(shared).await;
            }
        };
        if timeout(within, everything).await.is_err() {
            tracing::warn!("the fence ends before all outcomes are written");
        }
    }

    /// Tries the current one once.
    async fn attempt(&mut self, shared: &Shared) {
        let Some(current) = &mut self.current else { return };
        current.tries += 1;
        let is_done = is_done(shared, current).await;
        let Some(leftover) = self.current.take_if(|_| !is_done) else {
            self.current = None;
            return;
        };
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

#[cfg(test)]
mod tests {
    use tidegate_core::Moment;
    use tidegate_core::fence::record::{Incarnation, Owner};
    use tidegate_core::fence::retention::Retention;
    use tidegate_core::id::Epoch;
    use tidegate_harness::TempDir;

    use super::*;
    use crate::embedded::{Embedded, Settings};
    use crate::fence::{Fence, Limits};
    use crate::store::Store;

    /// A release that came before its claim was lost when maintenance interrupted it: its key stayed
    /// taken until the end of the lease.
    #[tokio::test]
    async fn what_is_interrupted_is_tried_again() {
        let directory = TempDir::new();
        let store = |number| {
            let settings = Settings {
                path: directory.path().join("fence.db"),
                bytes_max: 0,
                retention: Retention::LONGEST,
                clock: || Moment(1),
                incarnation: Incarnation(number),
            };
            Store::Embedded(Embedded::open(&settings).expect("a file"))
        };
        let (fence, mut keeper) =
            Fence::new(store(1), Incarnation(1), Limits::default(), || Moment(1));
        let key = FenceKey([7; 32]);
        let terms = Arc::new(Terms {
            owner: Owner { incarnation: Incarnation(1), serial: 1 },
            fingerprint: None,
            epoch: Epoch(1),
            lease: Duration::from_mins(10),
            retention: Retention::LONGEST,
            is_repeatable: false,
            is_degraded: false,
        });
        let (sweeper, shared) = keeper.parts();
        shared.leave(
            key,
            &terms,
            What::Release { proof: NonDelivery::NeverBegun, is_unsure: true },
        );
        tokio::select! {
            biased;
            () = sweeper.sweep(shared) => {}
            () = std::future::ready(()) => {}
        }
        store(2).claim(key, &terms).await.expect("it answers");
        let released = async {
            while fence.show(key).await.expect("it answers").is_some() {
                timeout(PAUSE_MIN, sweeper.sweep(shared)).await.ok();
            }
        };
        timeout(Duration::from_mins(1), released).await.expect("it is tried again");
    }
}
