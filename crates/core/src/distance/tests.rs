//! What moves a measure, and what does not.

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
    let arrives =
        |from: u64, to: u64| (0..100).fold(from, |average, _| averaged(Some(average), to, 8)) == to;
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
