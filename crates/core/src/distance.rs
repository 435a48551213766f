//! Measured distance: steady enough that jitter cannot move traffic.
//!
//! The measure is the time of probes, which every region gets alike. First-byte times of traffic
//! differ by what is asked, not by where, so they enter only as each region's slowdown against its
//! own past: a region that gets no traffic is not nearer for it.

use crate::moment::Moment;
use crate::policy::MeasuringRules;

#[cfg(test)]
mod tests;

/// The most by which slow first bytes push a region away, in sixteenths.
const SLOWDOWN_MAX: u64 = 64;

/// The measured distance of one region. Plain data, so that a board's memory can hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distance {
    /// The average time of probes, in microseconds.
    pub probe_us: Option<u64>,
    /// The average first-byte time of the last answers, in microseconds.
    pub recent_us: Option<u64>,
    /// The average first-byte time of many answers, in microseconds.
    pub usual_us: Option<u64>,
    /// The distance that counts, in microseconds.
    pub settled_us: Option<u64>,
    /// Since when the measure is outside the band around it, if it is.
    pub strays_since: Option<Moment>,
    /// When the last probe was answered.
    pub seen: Option<Moment>,
}

impl Distance {
    /// Takes in the time of one probe that was answered.
    ///
    /// Each one forgives a part of the slowdown: a region that is too slow to be chosen has no
    /// answers that could show that it is not slow any more.
    pub fn probed(&mut self, now: Moment, took_us: u64) {
        self.seen = Some(now);
        self.probe_us = Some(averaged(self.probe_us, took_us, 8));
        self.recent_us = self.usual_us.map(|usual| averaged(self.recent_us, usual, 8));
    }

    /// Takes in the mean first-byte time of some answers.
    pub fn answered(&mut self, mean_us: u64) {
        self.recent_us = Some(averaged(self.recent_us, mean_us, 8));
        self.usual_us = Some(averaged(self.usual_us, mean_us, 256));
    }

    /// The distance that counts at this moment, in microseconds; `None` without a fresh measure.
    pub fn settle(&mut self, now: Moment, rules: &MeasuringRules) -> Option<u64> {
        let fresh = self.seen.is_some_and(|at| now.since(at) < rules.stale_after);
        let Some(current) = self.current().filter(|_| fresh) else {
            (self.settled_us, self.strays_since) = (None, None);
            return None;
        };
        let settled = *self.settled_us.get_or_insert(current);
        if is_within(settled, current, rules.band_percent) {
            self.strays_since = None;
        } else if rules.hold <= now.since(*self.strays_since.get_or_insert(now)) {
            self.settled_us = Some(current);
            self.strays_since = None;
        }
        self.settled_us
    }

    fn current(&self) -> Option<u64> {
        let slowdown = match (self.recent_us, self.usual_us) {
            (Some(recent), Some(usual)) => {
                recent.saturating_mul(16).checked_div(usual).unwrap_or(16).clamp(16, SLOWDOWN_MAX)
            }
            (None, _) | (_, None) => 16,
        };
        Some(self.probe_us?.saturating_mul(slowdown) / 16)
    }
}

/// An exponential average: each sample moves it by one part in `parts`.
fn averaged(average: Option<u64>, sample: u64, parts: u64) -> u64 {
    let Some(average) = average else { return sample };
    if average <= sample {
        average.saturating_add((sample - average).div_ceil(parts))
    } else {
        average - (average - sample).div_ceil(parts)
    }
}

fn is_within(settled: u64, current: u64, band_percent: u8) -> bool {
    settled.abs_diff(current).saturating_mul(100) <= settled.saturating_mul(band_percent.into())
}
