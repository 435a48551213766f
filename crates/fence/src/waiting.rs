//! Duplicates that wait for the answer to the first request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::Record;
use tokio::sync::watch;

/// How the first request ended, as far as this process knows.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// It has not.
    NotYet,
    /// With an answer or a doubt.
    With(Arc<Record>),
    /// The key is free again.
    Freed,
}

/// Who waits for which key. Whoever settles a key looks at a number first, so that a write that
/// nobody waits for touches no lock.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    count: AtomicUsize,
    keys: Mutex<HashMap<FenceKey, watch::Sender<Ended>>>,
}

/// One that waits. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Waiter<'w> {
    waiting: &'w Waiting,
    key: FenceKey,
    ended: watch::Receiver<Ended>,
}

impl Waiting {
    /// Waits for a key from now on.
    pub(crate) fn join(&self, key: FenceKey) -> Waiter<'_> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let ended = self.with(|keys| {
            keys.entry(key).or_insert_with(|| watch::Sender::new(Ended::NotYet)).subscribe()
        });
        Waiter { waiting: self, key, ended }
    }

    /// Tells everybody who waits for the key.
    pub(crate) fn tell(&self, key: FenceKey, ended: impl FnOnce() -> Ended) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Who comes later asks the store, which knows by now.
        if let Some(sender) = self.with(|keys| keys.remove(&key)) {
            sender.send_replace(ended());
        }
    }

    /// Held for a few instructions, and never while anything is waited for.
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<FenceKey, watch::Sender<Ended>>) -> T) -> T {
        change(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiter<'_> {
    /// The end, when this process hears of it. Without one, only the caller's patience ends it.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn ended(&mut self) -> Ended {
        match self.ended.wait_for(|it| !matches!(it, Ended::NotYet)).await {
            Ok(ended) => ended.clone(),
            // Nobody can tell any more.
            Err(_gone) => Ended::Freed,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiting.count.fetch_sub(1, Ordering::SeqCst);
        self.waiting.with(|keys| {
            // Somebody may have told, and another one joined since.
            let is_last = |sender: &watch::Sender<Ended>| {
                sender.receiver_count() <= 1 && sender.subscribe().same_channel(&self.ended)
            };
            if keys.get(&self.key).is_some_and(is_last) {
                keys.remove(&self.key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_told_and_nobody_is_remembered() {
        let waiting = Waiting::default();
        let [key, other] = [FenceKey([1; 32]), FenceKey([2; 32])];
        let [mut one, mut two] = [waiting.join(key), waiting.join(key)];
        let third = waiting.join(other);
        waiting.tell(key, || Ended::Freed);
        assert!(matches!(one.ended().await, Ended::Freed));
        assert!(matches!(two.ended().await, Ended::Freed));
        drop((one, two, third));
        assert_eq!(waiting.count.load(Ordering::SeqCst), 0);
        assert!(waiting.with(|keys| keys.is_empty()));
        waiting.tell(key, || unreachable!("nobody waits"));
    }
}
