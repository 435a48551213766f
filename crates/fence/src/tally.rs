//! What the fence has done so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::latency::Latencies;

/// A count that many add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there have been.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one fence.
#[derive(Debug, Default)]
pub struct Tally {
    /// Claims that won their key.
    pub won: Count,
    /// Claims that met a write under way.
    pub busy: Count,
    /// Claims that waited for the answer to a write under way.
    pub waited: Count,
    /// Claims that met an answer.
    pub done: Count,
    /// Claims that met another request under their key.
    pub clashes: Count,
    /// Claims that met a doubt.
    pub in_doubt: Count,
    /// Claims that the store refused or did not answer.
    pub refused: Count,
    /// Claims of which nobody knows whether the store has made them; they are given back.
    pub unsure: Count,
    /// Answers that were written down.
    pub completed: Count,
    /// Claims that were given back with a proof.
    pub released: Count,
    /// Doubts that were written down.
    pub doubted: Count,
    /// Outcomes that met the record of another owner: two may have delivered one write.
    pub escapes: Count,
    /// Outcomes whose claim the store had lost.
    pub resurrected: Count,
    /// Records in doubt that were forgotten.
    pub unsafe_expiries: Count,
    /// Outcomes that have to be written later, because the store is away.
    pub postponed: Count,
    /// Outcomes that will never be written, because too many are waiting for that already. Their
    /// keys are in doubt when their leases are over.
    pub lost: Count,
    /// How long the store takes.
    pub latencies: Latencies,
}
