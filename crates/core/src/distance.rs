//! Measured distance: steady enough that jitter cannot move traffic.
//!
//! The measure is the time of probes, which every region gets alike. First-byte times of traffic
//! differ by what is asked, not by where, so they enter only as each region's slowdown against its
//! own past: a region that gets no traffic is not nearer for it.

use crate::moment::Moment;
use crate::policy::MeasuringRules;

/// The most by which slow first bytes push a region away, in sixteenths.
const SLOWDOWN_MAX: u64 = 64;

/// The measured distance of one region.
#[derive(Clone, Debug, Default)]
pub struct Distance {
    probe_us: Option<u64>,
    recent_us: Option<u64>,
    usual_us: Option<u64>,
    settled_us: Option<u64>,
    strays_since: Option<Moment>,
    seen: Option<Moment>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RULES: MeasuringRules = MeasuringRules {
        band_percent: 20,
        hold: Duration::from_secs(30),
        stale_after: Duration::from_mins(1),
    };

    fn second(second: u64) -> Moment {
        Moment(second * 1000)
    }

    #[test]
    fn jitter_inside_the_band_moves_nothing() {
        let mut distance = Distance::default();
        for tick in 0..200 {
            distance.probed(second(tick), if tick % 2 == 0 { 9_500 } else { 10_500 });
            let settled = distance.settle(second(tick), &RULES);
            assert_eq!(settled, Some(9_500));
        }
    }

    #[test]
    fn a_change_counts_once_it_has_lasted() {
        let mut distance = Distance::default();
        distance.probed(second(0), 10_000);
        assert_eq!(distance.settle(second(0), &RULES), Some(10_000));
        let settled: Vec<_> = (1..60)
            .map(|tick| {
                distance.probed(second(tick), 40_000);
                distance.settle(second(tick), &RULES).unwrap_or_default()
            })
            .collect();
        assert_eq!(settled[20], 10_000);
        assert!(settled[58] > 30_000, "{settled:?}");
    }

    #[test]
    fn an_average_moves_by_its_part_and_arrives() {
        assert_eq!(averaged(None, 7, 8), 7);
        assert_eq!(averaged(Some(1000), 1800, 8), 1100);
        assert_eq!(averaged(Some(1800), 1000, 8), 1700);
        let arrives = |from: u64, to: u64| {
            (0..100).fold(from, |average, _| averaged(Some(average), to, 8)) == to
        };
        assert!(arrives(1000, 1003) && arrives(1003, 1000) && arrives(9, 9));
        assert_eq!(averaged(Some(u64::MAX), 0, 1), 0);
        assert_eq!(averaged(Some(0), u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn an_old_measure_is_none() {
        let mut distance = Distance::default();
        distance.probed(second(0), 10_000);
        assert_eq!(distance.settle(second(59), &RULES), Some(10_000));
        assert_eq!(distance.settle(second(60), &RULES), None);
    }

    #[test]
    fn first_bytes_count_against_a_regions_own_past_only() {
        let mut slow_but_steady = Distance::default();
        slow_but_steady.probed(second(0), 10_000);
        (0..100).for_each(|_| slow_but_steady.answered(2_000_000));
        assert_eq!(slow_but_steady.settle(second(0), &RULES), Some(10_000));
        let mut slowing = Distance::default();
        slowing.probed(second(0), 10_000);
        (0..100).for_each(|_| slowing.answered(100_000));
        (0..20).for_each(|_| slowing.answered(400_000));
        assert!(slowing.settle(second(0), &RULES) > Some(20_000));
    }

    /// A region that was once too slow to be chosen gets no answers that could show otherwise; it
    /// stayed away for good.
    #[test]
    fn a_slow_region_that_gets_no_traffic_comes_near_again() {
        let mut distance = Distance::default();
        distance.probed(second(0), 10_000);
        (0..100).for_each(|_| distance.answered(100_000));
        (0..20).for_each(|_| distance.answered(400_000));
        assert!(distance.settle(second(0), &RULES) > Some(20_000));
        for tick in 1..120 {
            distance.probed(second(tick), 10_000);
            distance.settle(second(tick), &RULES);
        }
        assert!(distance.settle(second(120), &RULES) <= Some(12_000));
    }
}
