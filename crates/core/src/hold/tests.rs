//! When a lost region is held back, and for how long.

use super::*;
use std::time::Duration;

fn rules(mode: Failback) -> FailbackRules {
    FailbackRules {
        mode,
        hysteresis: Duration::from_secs(30),
        flips: 3,
        within: Duration::from_mins(10),
        freeze: Duration::from_mins(30),
    }
}

#[test]
fn the_first_green_of_a_region_is_no_failback() {
    let rules = rules(Failback::Manual);
    let mut hold = Hold::default();
    hold.observe(Moment(0), false, &rules);
    hold.observe(Moment(1), true, &rules);
    assert_eq!(hold.held(&rules), None);
}

#[test]
fn a_lost_region_waits_for_the_longer_of_failback_and_hysteresis() {
    let rules = rules(Failback::After(Duration::from_secs(10)));
    let mut hold = Hold::default();
    hold.observe(Moment(0), true, &rules);
    hold.observe(Moment(1000), false, &rules);
    hold.observe(Moment(2000), true, &rules);
    hold.observe(Moment(31_999), true, &rules);
    assert_eq!(hold.held(&rules), Some(Held::Recovering));
    hold.observe(Moment(32_000), true, &rules);
    assert_eq!(hold.held(&rules), None);
}

#[test]
fn manual_failback_waits_for_the_operator() {
    let rules = rules(Failback::Manual);
    let mut hold = Hold::default();
    hold.observe(Moment(0), true, &rules);
    hold.observe(Moment(1), false, &rules);
    hold.observe(Moment(2), true, &rules);
    hold.observe(Moment(9_000_000), true, &rules);
    assert_eq!(hold.held(&rules), Some(Held::Manual));
    hold.release();
    assert_eq!(hold.held(&rules), None);
}

#[test]
fn losses_count_together_within_their_span_and_are_forgotten_beyond_it() {
    let rules = rules(Failback::After(Duration::ZERO));
    for (last_s, held) in [(600, Held::Frozen), (601, Held::Recovering)] {
        let mut hold = Hold::default();
        for second in [0, 300, last_s] {
            hold.observe(Moment(second * 1000), true, &rules);
            hold.observe(Moment(second * 1000), false, &rules);
        }
        assert_eq!(hold.held(&rules), Some(held), "{last_s}");
    }
}

#[test]
fn no_more_losses_are_remembered_than_may_be() {
    let mut rules = rules(Failback::After(Duration::ZERO));
    (rules.flips, rules.within) = (u32::MAX, Duration::MAX);
    let mut hold = Hold::default();
    for moment in 0..200 {
        hold.observe(Moment(moment), true, &rules);
        hold.observe(Moment(moment), false, &rules);
    }
    assert_eq!(hold.losses.len(), LOSSES_MAX);
    assert_eq!(hold.losses.back(), Some(&Moment(199)));
}

#[test]
fn a_flapping_region_freezes_and_thaws() {
    let rules = rules(Failback::After(Duration::ZERO));
    let mut hold = Hold::default();
    for round in 0..3_u64 {
        hold.observe(Moment(round * 60_000), true, &rules);
        hold.observe(Moment(round * 60_000 + 40_000), false, &rules);
    }
    hold.observe(Moment(170_000), true, &rules);
    assert_eq!(hold.held(&rules), Some(Held::Frozen));
    hold.observe(Moment(160_000 + 1_800_000), true, &rules);
    assert_eq!(hold.held(&rules), None);
}
