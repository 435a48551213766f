//! What this process has told the store of late, to be written again if the store forgets its last
//! moments.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Answer, Body, Owner, Record, State};
use tidegate_core::fence::rules::Terms;
use tokio::time::Instant;

/// How long it is remembered: far longer than a replica lags behind, and far shorter than the time
/// after which somebody may resolve a doubt.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
/// Most records that are remembered, and most bytes of their answers. Beyond, the oldest are not.
const REMEMBERED_MAX: usize = 65_536;
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The last claims and outcomes.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: HashMap<FenceKey, (Instant, Record)>,
    /// In the order in which they came; what came again is here more than once.
    order: VecDeque<(Instant, FenceKey)>,
    bytes: usize,
}

impl Memory {
    /// A claim was won.
    pub(super) fn won(&self, key: FenceKey, terms: &Terms, attempt: u8, now: Moment) {
        self.with(|kept| kept.put(key, terms.record(attempt, now)));
    }

    /// An outcome was written down.
    pub(super) fn settled(&self, key: FenceKey, terms: &Terms, state: State, now: Moment) {
        self.with(|kept| {
            let ended = terms.ended(state, now);
            let claimed = kept.records.get(&key).filter(|(_, it)| it.owner == terms.owner);
            let record = match claimed {
                Some((_, Record { attempt, created, lease_until, is_degraded, .. })) => Record {
                    attempt: *attempt,
                    created: *created,
                    lease_until: *lease_until,
                    is_degraded: *is_degraded,
                    ..ended
                },
                None => ended,
            };
            kept.put(key, record);
        });
    }

    /// Its owner gives it back, or somebody knows that it was not executed.
    pub(super) fn forget_of(&self, key: FenceKey, owner: Owner) {
        self.with(|kept| {
            if kept.records.get(&key).is_some_and(|(_, record)| record.owner == owner) {
                kept.remove(key);
            }
        });
    }

    /// All that is remembered.
    pub(super) fn all(&self) -> Vec<(FenceKey, Record)> {
        self.with(|kept| {
            kept.trim(Instant::now());
            kept.records.iter().map(|(key, (_, record))| (*key, record.clone())).collect()
        })
    }

    /// Held for a few instructions, and never while anything is waited for.
    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn put(&mut self, key: FenceKey, record: Record) {
        let now = Instant::now();
        self.remove(key);
        self.bytes += size(&record);
        self.records.insert(key, (now, record));
        self.order.push_back((now, key));
        self.trim(now);
    }

    fn remove(&mut self, key: FenceKey) {
        if let Some((_, record)) = self.records.remove(&key) {
            self.bytes -= size(&record);
        }
    }

    fn trim(&mut self, now: Instant) {
        while let Some((came, key)) = self.order.front().copied() {
            let is_much = REMEMBERED_MAX < self.order.len() || BYTES_MAX < self.bytes;
            if !is_much && now - came < REMEMBERED_FOR {
                return;
            }
            self.order.pop_front();
            // It may have come again since.
            if self.records.get(&key).is_some_and(|(last, _)| *last == came) {
                self.remove(key);
            }
        }
    }
}

fn size(record: &Record) -> usize {
    let State::Completed(Answer { headers, body, .. }) = &record.state else { return 0 };
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + if let Body::Whole(body) = body { body.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use tidegate_core::fence::record::Incarnation;
    use tidegate_core::fence::retention::Retention;
    use tidegate_core::id::Epoch;

    use super::*;

    fn terms(serial: u64) -> Terms {
        Terms {
            owner: Owner { incarnation: Incarnation(1), serial },
            fingerprint: None,
            epoch: Epoch(1),
            lease: Duration::from_secs(30),
            retention: Retention::LONGEST,
            is_repeatable: false,
            is_degraded: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_minute_is_remembered_and_no_more() {
        let (memory, [one, two]) = (Memory::default(), [FenceKey([1; 32]), FenceKey([2; 32])]);
        memory.won(one, &terms(1), 3, Moment(10));
        memory.won(two, &terms(2), 1, Moment(10));
        tokio::time::advance(REMEMBERED_FOR / 2).await;
        let answer = State::Completed(Answer::known_executed());
        memory.settled(one, &terms(1), answer.clone(), Moment(20));
        tokio::time::advance(REMEMBERED_FOR / 2).await;
        let all = memory.all();
        assert_eq!(all.len(), 1, "what came again stays");
        let Record { created, attempt, state, .. } = all[0].1.clone();
        assert_eq!((created, attempt, state), (Moment(10), 3, answer));
        memory.forget_of(one, terms(2).owner);
        assert_eq!(memory.all().len(), 1, "it is another owner's");
        memory.forget_of(one, terms(1).owner);
        assert!(memory.all().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn neither_many_nor_large_ones_fill_the_memory() {
        let memory = Memory::default();
        let body = Body::Whole(vec![0; BYTES_MAX / 4].into());
        let large = State::Completed(Answer { status: 200, headers: Vec::new(), body });
        for nth in 0..9 {
            memory.settled(FenceKey([nth; 32]), &terms(1), large.clone(), Moment(1));
        }
        assert_eq!(memory.all().len(), 4);
        for nth in 0..=REMEMBERED_MAX {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&nth.to_be_bytes());
            memory.won(FenceKey(key), &terms(1), 1, Moment(1));
        }
        assert_eq!(memory.all().len(), REMEMBERED_MAX);
        assert_eq!(memory.with(|kept| kept.bytes), 0);
    }
}
