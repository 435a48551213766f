//! What happens to the requests of one endpoint, counted without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_core::Moment;
use tidegate_core::balance::{Load, peak};
use tidegate_core::ejection::Tally;

/// Time after which half of a latency peak is forgotten.
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// Counters of one endpoint; shared by every world in which it stands.
#[derive(Debug, Default)]
pub struct Traffic {
    open: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    connected: AtomicU64,
    unconnected: AtomicU64,
    first_byte_us: AtomicU64,
    peak_us: AtomicU64,
    peak_at_ms: AtomicU64,
}

impl Traffic {
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

/// One open request at one endpoint. Dropping it closes the request, whatever ended it.
#[derive(Debug)]
pub struct OpenRequest {
    region: Arc<Open>,
    endpoint: Arc<Traffic>,
}

impl OpenRequest {
    /// Opens a request at an endpoint of a region.
    pub fn new(region: &Arc<Open>, endpoint: &Arc<Traffic>) -> Self {
        region.0.fetch_add(1, Ordering::Relaxed);
        endpoint.open.fetch_add(1, Ordering::Relaxed);
        Self { region: Arc::clone(region), endpoint: Arc::clone(endpoint) }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let region = self.region.0.fetch_sub(1, Ordering::Relaxed);
        let endpoint = self.endpoint.open.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(0 < region && 0 < endpoint, "a request was closed twice");
    }
}
