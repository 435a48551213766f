//! Whoever breaks things while a campaign runs, and writes down what and when.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::history::Trouble;
use crate::runtime::lock;

const POLL_EVERY: Duration = Duration::from_millis(5);

/// The clock, the dice and the notes of whoever breaks things.
#[derive(Debug)]
pub struct Nemesis {
    began: Instant,
    is_over: AtomicBool,
    rng: Mutex<Rng>,
    troubles: Mutex<Vec<Trouble>>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, began: Instant) -> Self {
        Self {
            began,
            is_over: AtomicBool::new(false),
            // Not the same numbers as the campaign has.
            rng: Mutex::new(Rng::with_seed(!seed)),
            troubles: Mutex::default(),
        }
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn troubles(&self) -> Vec<Trouble> {
        lock(&self.troubles).clone()
    }

    /// Lets some milliseconds pass. Answers whether the campaign still runs; if it does not, there
    /// is nothing more to break.
    pub fn rests(&self, ms: Range<u64>) -> bool {
        let until = Instant::now() + Duration::from_millis(self.number(ms));
        while Instant::now() < until && !self.is_over.load(Ordering::Relaxed) {
            std::thread::sleep(POLL_EVERY);
        }
        !self.is_over.load(Ordering::Relaxed)
    }

    /// A number from a range.
    pub fn number(&self, range: Range<u64>) -> u64 {
        lock(&self.rng).u64(range)
    }

    /// Does something bad, and whatever is needed until its effects are over.
    pub fn causes<T>(&self, what: &str, deed: impl FnOnce() -> T) -> T {
        let from = self.began.elapsed();
        let came = deed();
        let to = self.began.elapsed();
        lock(&self.troubles).push(Trouble { from, to, of: None, what: what.to_owned() });
        came
    }
}
