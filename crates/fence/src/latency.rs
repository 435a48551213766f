//! How long the store takes, by operation, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To claim a key.
    Claim,
    /// To begin a lease anew.
    Renew,
    /// To write an answer down.
    Complete,
    /// To write a doubt down.
    Doubt,
    /// To give a claim back.
    Release,
    /// To meet the family of an event.
    Family,
    /// To show, list or resolve, for operators.
    Look,
    /// To say who owns what.
    Ownership,
    /// To forget what is over.
    Maintain,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Claim,
        Self::Renew,
        Self::Complete,
        Self::Doubt,
        Self::Release,
        Self::Family,
        Self::Look,
        Self::Ownership,
        Self::Maintain,
    ];

    /// The operation as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Renew => "renew",
            Self::Complete => "complete",
            Self::Doubt => "doubt",
            Self::Release => "release",
            Self::Family => "family",
            Self::Look => "look",
            Self::Ownership => "ownership",
            Self::Maintain => "maintain",
        }
    }
}

/// Upper bounds of the buckets in microseconds, each included; the last has none.
const BOUNDS_US: [u32; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
/// How many buckets there are, the one without a bound included.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// How long one operation takes, and how often it fails.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    failures: AtomicU64,
}

impl Latency {
    /// Counts one operation.
    pub(crate) fn took(&self, time: Duration, has_failed: bool) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| u64::from(*bound) < us);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(has_failed), Ordering::Relaxed);
    }

    /// How many operations took up to each of the bounds in seconds and longer than the one before;
    /// the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|it| f64::from(*it) / 1_000_000.0);
        bounds.chain([f64::INFINITY]).zip(self.buckets.iter().map(|it| it.load(Ordering::Relaxed)))
    }

    /// What all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed))
    }

    /// How many of them failed, or did not end in time.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// How long every operation takes.
#[derive(Debug, Default)]
pub struct Latencies([Latency; Operation::ALL.len()]);

impl Latencies {
    /// How long one of them takes.
    pub fn of(&self, operation: Operation) -> &Latency {
        let [claim, renew, complete, doubt, release, family, look, ownership, maintain] = &self.0;
        match operation {
            Operation::Claim => claim,
            Operation::Renew => renew,
            Operation::Complete => complete,
            Operation::Doubt => doubt,
            Operation::Release => release,
            Operation::Family => family,
            Operation::Look => look,
            Operation::Ownership => ownership,
            Operation::Maintain => maintain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket_and_nothing_is_left_out() {
        let latencies = Latencies::default();
        let claims = latencies.of(Operation::Claim);
        for (us, has_failed) in [(100, false), (101, false), (9_000_000, true)] {
            claims.took(Duration::from_micros(us), has_failed);
        }
        let filled: Vec<_> = claims.buckets().filter(|(_, count)| *count != 0).collect();
        assert_eq!(filled, [(0.0001, 1), (0.00025, 1), (f64::INFINITY, 1)]);
        assert_eq!(claims.sum(), Duration::from_micros(9_000_201));
        assert_eq!((claims.failures(), claims.buckets().count()), (1, 13));
        assert!(latencies.of(Operation::Release).buckets().all(|(_, count)| count == 0));
    }
}
