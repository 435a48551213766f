//! Tasks by name: started and stopped one by one, and none forgotten.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::hash::Hash;

use tokio::task::{AbortHandle, Id, JoinSet};

/// Tasks by key. Dropping it stops them all.
#[derive(Debug)]
pub(crate) struct Tasks<K> {
    set: JoinSet<()>,
    running: HashMap<K, AbortHandle>,
    keys: HashMap<Id, K>,
}

impl<K> Default for Tasks<K> {
    fn default() -> Self {
        Self { set: JoinSet::new(), running: HashMap::new(), keys: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Tasks<K> {
    /// Starts a task; one with the same key that still runs is stopped.
    pub(crate) fn start(&mut self, key: K, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.keys.insert(handle.id(), key.clone());
        if let Some(before) = self.running.insert(key, handle) {
            before.abort();
        }
    }

    /// Stops every task whose key is not kept.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.running.retain(|key, handle| {
            let kept = is_kept(key);
            if !kept {
                handle.abort();
            }
            kept
        });
    }

    /// Whether a task with this key runs.
    pub(crate) fn is_running(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }

    /// Waits until a task has panicked, and answers its key; such a task does not run any more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the wait is given up.
    pub(crate) async fn panicked(&mut self) -> K {
        while let Some(ended) = self.set.join_next_with_id().await {
            let (id, panicked) = match ended {
                Ok((id, ())) => (id, false),
                Err(error) => (error.id(), error.is_panic()),
            };
            let Some(key) = self.keys.remove(&id) else { continue };
            if self.running.get(&key).is_some_and(|it| it.id() == id) {
                self.running.remove(&key);
            }
            if panicked {
                return key;
            }
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_key_of_a_task_that_panicked_is_told_and_the_others_run_on() {
        let mut tasks = Tasks::default();
        tasks.start("good", pending());
        tasks.start("bad", async { panic!("this is what the test is about") });
        assert_eq!(tasks.panicked().await, "bad");
        assert!(tasks.is_running(&"good") && !tasks.is_running(&"bad"));
    }

    #[tokio::test]
    async fn what_is_not_kept_is_stopped() {
        let held = Arc::new(());
        let mut tasks = Tasks::default();
        for key in ["kept", "gone", "replaced", "replaced"] {
            let held = Arc::clone(&held);
            tasks.start(key, async move {
                pending::<()>().await;
                drop(held);
            });
        }
        tasks.keep(|it| *it != "gone");
        tasks.start("bad", async { panic!("wakes the wait below") });
        assert_eq!(tasks.panicked().await, "bad");
        while Arc::strong_count(&held) > 3 {
            tokio::task::yield_now().await;
        }
        assert!(!tasks.is_running(&"gone") && tasks.is_running(&"replaced"));
    }
}
