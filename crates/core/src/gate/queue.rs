//! The tail of a work queue: how much waits, how old it is, and whether it grows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::contract::Queue;
use crate::moment::Moment;

/// Most readings that are kept of one queue.
pub const READINGS_MAX: usize = 32;
/// Readings from which a slope is worked out at the least.
pub const SLOPE_READINGS_MIN: usize = 3;

/// Longest time that a slope is worked out over, in milliseconds: its square still is a number.
const TIME_MS_MAX: i128 = 1 << 40;

/// When a tail is clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueLimits {
    /// Most entries that wait; no bound if `None`.
    pub depth_max: Option<u64>,
    /// How old the oldest one is at the most.
    pub oldest_max: Duration,
    /// How many entries more there may be each minute.
    pub growth_max: u32,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { depth_max: None, oldest_max: Duration::from_secs(5), growth_max: 0 }
    }
}

/// What was read of one queue, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    readings: VecDeque<(Moment, Queue)>,
}

/// Why a tail is not clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dirty {
    /// Nothing was read.
    #[error("nothing was read of the queue")]
    Unread,
    /// Too much waits.
    #[error("{0} entries wait, and {1} are allowed")]
    Deep(u64, u64),
    /// The oldest entry waits for too long.
    #[error("the oldest entry waits since {0} ms, and {1} ms are allowed")]
    Old(u64, u128),
    /// There are entries, and too few readings to know whether they become more.
    #[error("{0} entries wait, and too little was read to know whether they become more")]
    Unproven(u64),
    /// Entries become more.
    #[error("the queue grows by {0} entries a minute, and {1} are allowed")]
    Growing(i64, u32),
}

impl Dirty {
    /// What is wrong as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Deep(..) => "deep",
            Self::Old(..) => "old",
            Self::Unproven(_) => "unproven",
            Self::Growing(..) => "growing",
        }
    }
}

impl Tail {
    /// Takes note of a reading. One that is not later than the last replaces it.
    pub fn read(&mut self, now: Moment, queue: Queue) {
        if self.readings.back().is_some_and(|(at, _)| now <= *at) {
            self.readings.pop_back();
        }
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back((now, queue));
    }

    /// The last reading.
    pub fn last(&self) -> Option<&(Moment, Queue)> {
        self.readings.back()
    }

    /// By how many entries the queue grows each minute, by the least squares of all readings;
    /// rounded up. `None` while there are fewer than [`SLOPE_READINGS_MIN`].
    pub fn growth(&self) -> Option<i64> {
        if self.readings.len() < SLOPE_READINGS_MIN {
            return None;
        }
        let start = self.readings.front()?.0;
        let (mut n, mut t, mut d, mut td, mut tt) = (0_i128, 0_i128, 0_i128, 0_i128, 0_i128);
        for (at, queue) in &self.readings {
            let time = i128::try_from(at.since(start).as_millis()).ok()?.min(TIME_MS_MAX);
            let depth = i128::from(queue.depth);
            (n, t, d) = (n + 1, t + time, d + depth);
            (td, tt) = (td.checked_add(time.checked_mul(depth)?)?, tt + time * time);
        }
        let above = n.checked_mul(td)?.checked_sub(t.checked_mul(d)?)?.checked_mul(60_000)?;
        let below = n * tt - t * t;
        if below == 0 {
            return None;
        }
        let rounded = above.div_euclid(below) + i128::from(above.rem_euclid(below) != 0);
        i64::try_from(rounded).ok()
    }

    /// Whether the tail is clean, as of the last reading.
    ///
    /// # Errors
    /// It is not, or nobody can know.
    pub fn judge(&self, limits: &QueueLimits) -> Result<(), Dirty> {
        let (_, queue) = self.last().ok_or(Dirty::Unread)?;
        if let Some(max) = limits.depth_max.filter(|it| *it < queue.depth) {
            return Err(Dirty::Deep(queue.depth, max));
        }
        let oldest_max = limits.oldest_max.as_millis();
        if oldest_max < u128::from(queue.oldest_age_ms) {
            return Err(Dirty::Old(queue.oldest_age_ms, oldest_max));
        }
        if queue.depth == 0 {
            return Ok(());
        }
        match self.growth() {
            None => Err(Dirty::Unproven(queue.depth)),
            Some(growth) if i64::from(limits.growth_max) < growth => {
                Err(Dirty::Growing(growth, limits.growth_max))
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tail of readings a second apart: depth and age of the oldest entry in milliseconds.
    fn tail(readings: &[(u64, u64)]) -> Tail {
        let mut tail = Tail::default();
        for (second, (depth, oldest_age_ms)) in (1..).zip(readings) {
            let queue = Queue { depth: *depth, oldest_age_ms: *oldest_age_ms, watermark: None };
            tail.read(Moment(second * 1000), queue);
        }
        tail
    }

    #[test]
    fn tails() {
        let limits = QueueLimits { depth_max: Some(100), ..QueueLimits::default() };
        let judge = |readings: &[(u64, u64)]| tail(readings).judge(&limits);
        assert_eq!(judge(&[]), Err(Dirty::Unread));
        assert_eq!(judge(&[(0, 0)]), Ok(()), "an empty queue needs no slope");
        assert_eq!(judge(&[(9, 0), (5, 0), (0, 0)]), Ok(()));
        assert_eq!(judge(&[(101, 0)]), Err(Dirty::Deep(101, 100)));
        assert_eq!(judge(&[(1, 5001)]), Err(Dirty::Old(5001, 5000)));
        assert_eq!(judge(&[(3, 5000), (3, 5000), (3, 5000)]), Ok(()), "5 s are allowed");
        assert_eq!(judge(&[(3, 10), (3, 10)]), Err(Dirty::Unproven(3)));
        assert_eq!(judge(&[(3, 10), (4, 10), (5, 10)]), Err(Dirty::Growing(60, 0)));
        assert_eq!(judge(&[(5, 10), (4, 10), (3, 10)]), Ok(()));
        assert_eq!(judge(&[(5, 10), (9, 10), (5, 10)]), Ok(()), "there and back is no growth");
        // A claim of no entries whose oldest is old contradicts itself, and is not clean.
        assert_eq!(judge(&[(0, 9000)]), Err(Dirty::Old(9000, 5000)));
    }

    #[test]
    fn growth_that_is_allowed_is_clean() {
        let limits = QueueLimits { growth_max: 60, ..QueueLimits::default() };
        assert_eq!(tail(&[(3, 10), (4, 10), (5, 10)]).judge(&limits), Ok(()));
        assert_eq!(tail(&[(3, 10), (5, 10), (7, 10)]).judge(&limits), Err(Dirty::Growing(120, 60)));
    }

    #[test]
    fn only_the_last_readings_are_kept() {
        let many: Vec<(u64, u64)> = (0..100).map(|it| (100 - it, 0)).collect();
        let tail = tail(&many);
        assert_eq!(tail.readings.len(), READINGS_MAX);
        assert_eq!(tail.growth(), Some(-60));
        let mut once = Tail::default();
        let queue = Queue { depth: 1, oldest_age_ms: 0, watermark: None };
        (0..9).for_each(|_| once.read(Moment(5), queue.clone()));
        assert_eq!((once.readings.len(), once.growth()), (1, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_reading_overflows(readings in prop::collection::vec((any::<u64>(), any::<u64>()), 0..40)) {
            let mut tail = Tail::default();
            let mut now = 0_u64;
            for (step, depth) in readings {
                now = now.saturating_add(step);
                tail.read(Moment(now), Queue { depth, oldest_age_ms: 0, watermark: None });
            }
            tail.judge(&QueueLimits::default()).ok();
        }

        #[test]
        fn a_queue_that_never_falls_and_rises_once_grows(rises in prop::collection::vec(0..50_u64, 3..30)) {
            let mut depth = 1;
            let readings: Vec<_> = rises.iter().map(|it| { depth += it; (depth, 0) }).collect();
            let growth = tail(&readings).growth().expect("enough readings");
            prop_assert_eq!(growth > 0, rises.iter().skip(1).any(|it| *it > 0));
        }
    }
}
