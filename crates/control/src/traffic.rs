//! What happens to the requests of one endpoint, counted without a lock.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::balance::{Load, peak};
use tidegate_core::drain::{Outcome, Outcomes, Reading};
use tidegate_core::ejection::Tally;

use crate::clock;
use crate::ledger::slots::Slots;
use crate::ledger::{Facts, Kind, Whose};

/// Time after which half of a latency peak is forgotten.
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// Counters of one endpoint and the entries of what it has open; shared by every world in which
/// it stands.
#[derive(Debug)]
pub struct Traffic {
    whose: Whose,
    slots: Slots,
    open: AtomicU64,
    unlisted: AtomicU64,
    completed: AtomicU64,
    client_closed: AtomicU64,
    upstream_died: AtomicU64,
    forced: AtomicU64,
    /// How often everything that was open was told to close.
    closings: AtomicU64,
    lines: Mutex<Lines>,
    answered: AtomicU64,
    failed: AtomicU64,
    connected: AtomicU64,
    unconnected: AtomicU64,
    first_byte_us: AtomicU64,
    peak_us: AtomicU64,
    peak_at_ms: AtomicU64,
}

impl Traffic {
    /// Counters that have counted nothing yet.
    pub(crate) fn of(whose: Whose) -> Self {
        Self {
            whose,
            slots: Slots::default(),
            open: AtomicU64::default(),
            unlisted: AtomicU64::default(),
            completed: AtomicU64::default(),
            client_closed: AtomicU64::default(),
            upstream_died: AtomicU64::default(),
            forced: AtomicU64::default(),
            closings: AtomicU64::default(),
            lines: Mutex::default(),
            answered: AtomicU64::default(),
            failed: AtomicU64::default(),
            connected: AtomicU64::default(),
            unconnected: AtomicU64::default(),
            first_byte_us: AtomicU64::default(),
            peak_us: AtomicU64::default(),
            peak_at_ms: AtomicU64::default(),
        }
    }

    /// Whose counters these are.
    pub(crate) fn whose(&self) -> &Whose {
        &self.whose
    }

    /// The entries of what is open.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// How many are open without an entry, because all slots were taken.
    pub(crate) fn unlisted(&self) -> u64 {
        self.unlisted.load(Ordering::Relaxed)
    }

    /// What is open and how everything else has ended.
    ///
    /// An exchange that ends while this reads may be seen as open and as ended, never as neither:
    /// who waits for the last one must not be told of it too early.
    pub fn reading(&self) -> Reading {
        let open = self.open.load(Ordering::Acquire);
        let ended = Outcomes {
            completed: self.completed.load(Ordering::Relaxed),
            client_closed: self.client_closed.load(Ordering::Relaxed),
            upstream_died: self.upstream_died.load(Ordering::Relaxed),
            forced: self.forced.load(Ordering::Relaxed),
        };
        Reading { open, ended }
    }

    /// Closes everything that is open: connections that are kept for this at once, and all other
    /// exchanges at their next piece.
    pub fn close(&self) {
        self.closings.fetch_add(1, Ordering::Relaxed);
        for line in self.locked_lines().kept.values() {
            // It may be closed already.
            drop(line.shutdown(Shutdown::Both));
        }
    }

    /// Keeps a second handle of a connection until it is forgotten, to close it; answers its
    /// number, which is not 0.
    ///
    /// This and [`Traffic::forget`] take a lock. Only what serves under a policy with a hard
    /// deadline gets here, and only when a connection is made or ends.
    pub fn keep(&self, line: TcpStream) -> u64 {
        let mut lines = self.locked_lines();
        lines.last += 1;
        let number = lines.last;
        lines.kept.insert(number, line);
        number
    }

    /// The connection of this number has ended.
    pub fn forget(&self, number: u64) {
        self.locked_lines().kept.remove(&number);
    }

    /// How many connections are kept to be closed.
    pub fn lines(&self) -> usize {
        self.locked_lines().kept.len()
    }

    fn locked_lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Completed => &self.completed,
            Outcome::ClientClosed => &self.client_closed,
            Outcome::UpstreamDied => &self.upstream_died,
            Outcome::Forced => &self.forced,
        }
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection could not be made.
    pub fn unconnected(&self) {
        self.unconnected.fetch_add(1, Ordering::Relaxed);
    }

    /// The head of an answer arrived.
    pub fn answered(&self, now: Moment, first_byte: Duration, failed: bool) {
        let sample_us = u64::try_from(first_byte.as_micros()).unwrap_or(u64::MAX);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.first_byte_us.fetch_add(sample_us, Ordering::Relaxed);
        // Two answers at the same time may each overwrite the other's peak: one sample of many.
        let passed_ms = now.0.saturating_sub(self.peak_at_ms.swap(now.0, Ordering::Relaxed));
        let previous = self.peak_us.load(Ordering::Relaxed);
        let next = peak(previous, sample_us, passed_ms.saturating_mul(1000), decay_us());
        self.peak_us.store(next, Ordering::Relaxed);
    }

    /// An exchange broke after something had been sent and before the head of an answer.
    pub fn broken(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything since the process started.
    pub fn tally(&self) -> Tally {
        Tally {
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            connected: self.connected.load(Ordering::Relaxed),
            unconnected: self.unconnected.load(Ordering::Relaxed),
            first_byte_us: self.first_byte_us.load(Ordering::Relaxed),
        }
    }

    /// What it carries, with its peak as it is remembered at this moment.
    ///
    /// Without the fall over time an endpoint that was slow once would get no request any more,
    /// and so no chance to be seen fast again.
    pub fn load_at(&self, share: u32, now: Moment) -> Load {
        let load = self.load(share);
        let passed_ms = now.0.saturating_sub(self.peak_at_ms.load(Ordering::Relaxed));
        let peak_us = peak(load.peak_us, 0, passed_ms.saturating_mul(1000), decay_us());
        Load { peak_us, ..load }
    }

    /// What it carries, with its peak as it was after the last answer.
    pub fn load(&self, share: u32) -> Load {
        Load {
            open: self.open.load(Ordering::Relaxed),
            peak_us: self.peak_us.load(Ordering::Relaxed),
            share,
        }
    }
}

/// Connections that can be closed, by number.
#[derive(Debug, Default)]
struct Lines {
    kept: HashMap<u64, TcpStream>,
    last: u64,
}

fn decay_us() -> u64 {
    u64::try_from(PEAK_DECAY.as_micros()).unwrap_or(u64::MAX)
}

/// How many requests a region has open; shared by every world in which it stands.
#[derive(Debug, Default)]
pub struct Open(AtomicU64);

impl Open {
    /// The number at this moment.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One open exchange with one endpoint. Dropping it closes the exchange, whatever ended it.
///
/// Unless somebody says otherwise, it was we who closed it: a request that panics and one that is
/// still open when the process ends are dropped without a word.
#[derive(Debug)]
pub struct Entry {
    traffic: Arc<Traffic>,
    slot: Option<u32>,
    outcome: Outcome,
    /// How often everything had been closed when it began.
    closings: u64,
}

impl Entry {
    /// Opens an exchange with an endpoint.
    pub fn open(traffic: &Arc<Traffic>, facts: Facts) -> Self {
        traffic.whose.open.0.fetch_add(1, Ordering::Relaxed);
        traffic.open.fetch_add(1, Ordering::Relaxed);
        let slot = traffic.slots.take(facts);
        if slot.is_none() {
            traffic.unlisted.fetch_add(1, Ordering::Relaxed);
        }
        let closings = traffic.closings.load(Ordering::Relaxed);
        Self { traffic: Arc::clone(traffic), slot, outcome: Outcome::Forced, closings }
    }

    /// Whether it was told to close since it began.
    pub fn is_closed(&self) -> bool {
        self.traffic.closings.load(Ordering::Relaxed) != self.closings
    }

    /// A piece of the request's body came from the client.
    pub fn received(&self, bytes: usize) {
        if let Some(slot) = self.slot {
            self.traffic.slots.passed(slot, (wide(bytes), 0), clock::coarse());
        }
    }

    /// A piece of the answer's body went to the client.
    pub fn sent(&self, bytes: usize) {
        if let Some(slot) = self.slot {
            self.traffic.slots.passed(slot, (0, wide(bytes)), clock::coarse());
        }
    }

    /// Bytes that came from the client so far; 0 when the exchange has no entry.
    pub fn bytes_in(&self) -> u64 {
        self.slot.map_or(0, |slot| self.traffic.slots.bytes_in(slot))
    }

    /// The exchange turned out to be of this kind.
    pub fn becomes(&self, kind: Kind) {
        if let Some(slot) = self.slot {
            self.traffic.slots.becomes(slot, kind);
        }
    }

    /// This is how it ends, unless somebody says otherwise before it is dropped.
    pub fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let traffic = &self.traffic;
        match self.slot {
            Some(slot) => traffic.slots.give_back(slot),
            None => drop(traffic.unlisted.fetch_sub(1, Ordering::Relaxed)),
        }
        // First how it ended, then that it did: see `Traffic::reading`.
        traffic.ended(self.outcome).fetch_add(1, Ordering::Relaxed);
        let endpoint = traffic.open.fetch_sub(1, Ordering::Release);
        let region = traffic.whose.open.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(0 < region && 0 < endpoint, "an exchange was closed twice");
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
