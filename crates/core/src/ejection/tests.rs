//! Who goes out, for how long, and who comes back.

use super::*;
use std::time::Duration;

fn rules() -> EjectionRules {
    EjectionRules {
        enabled: true,
        connect_failures: 3,
        window: Duration::from_secs(10),
        volume_min: 20,
        budget_percent: 50,
        base: Duration::from_secs(10),
        max: Duration::from_mins(1),
    }
}

#[test]
fn a_few_failed_answers_are_no_evidence() {
    let mut ejection = Ejection::default();
    let tally = Tally { answered: 19, failed: 19, ..Tally::default() };
    assert!(!ejection.observe(Moment(1000), tally, &rules()));
    let tally = Tally { answered: 20, failed: 20, ..Tally::default() };
    assert!(ejection.observe(Moment(1250), tally, &rules()));
}

#[test]
fn a_budget_may_be_used_up_and_not_overdrawn() {
    for (failed, is_out) in [(10, false), (11, true)] {
        let mut ejection = Ejection::default();
        let tally = Tally { answered: 20, failed, ..Tally::default() };
        assert_eq!(ejection.observe(Moment(1000), tally, &rules()), is_out, "{failed}");
    }
}

#[test]
fn nothing_is_ejected_where_the_policy_says_so() {
    let mut ejection = Ejection::default();
    let tally = Tally { answered: 99, failed: 99, unconnected: 99, ..Tally::default() };
    let rules = EjectionRules { enabled: false, ..rules() };
    assert!(!ejection.observe(Moment(1000), tally, &rules) && !ejection.is_out());
}

#[test]
fn connections_that_fail_in_a_row_eject_and_one_that_works_forgives() {
    let mut ejection = Ejection::default();
    let tally = |unconnected, connected| Tally { connected, unconnected, ..Tally::default() };
    assert!(!ejection.observe(Moment(0), tally(2, 0), &rules()));
    assert!(!ejection.observe(Moment(1), tally(2, 1), &rules()));
    assert!(!ejection.observe(Moment(2), tally(4, 1), &rules()));
    assert!(ejection.observe(Moment(3), tally(5, 1), &rules()));
}

#[test]
fn it_returns_after_its_time_and_only_with_a_probe_that_vouches() {
    let mut ejection = Ejection::default();
    let tally = Tally { unconnected: 3, ..Tally::default() };
    assert!(ejection.observe(Moment(1000), tally, &rules()));
    assert!(!ejection.settle(Moment(10_999), Some(Moment(2000))));
    assert!(!ejection.settle(Moment(11_000), Some(Moment(1000))));
    assert!(!ejection.settle(Moment(11_000), None));
    assert!(ejection.settle(Moment(11_000), Some(Moment(2000))));
    assert!(!ejection.is_out());
}

#[test]
fn ejections_in_a_row_double_up_to_the_longest() {
    let mut ejection = Ejection::default();
    let mut now = Moment(0);
    let mut lengths = Vec::new();
    for round in 1..=5 {
        let tally = Tally { unconnected: round * 3, ..Tally::default() };
        assert!(ejection.observe(now, tally, &rules()));
        let from = now;
        while !ejection.settle(now, Some(now)) {
            now = now.plus(Duration::from_secs(1));
        }
        lengths.push(now.since(from).as_secs());
    }
    assert_eq!(lengths, [10, 20, 40, 60, 60]);
}

/// The slate was once wiped while the endpoint was out: a longest ejection is as long as the
/// time without trouble that it takes, so the next one was a first one again.
#[test]
fn time_that_is_spent_outside_is_no_time_without_trouble() {
    let mut ejection = Ejection::default();
    let mut now = Moment(0);
    let mut lengths = Vec::new();
    for round in 1..=6 {
        let tally = Tally { unconnected: round * 3, ..Tally::default() };
        assert!(ejection.observe(now, tally, &rules()));
        let from = now;
        while !ejection.settle(now, Some(now)) {
            now = now.plus(Duration::from_secs(1));
            assert!(!ejection.observe(now, tally, &rules()));
        }
        lengths.push(now.since(from).as_secs());
        now = now.plus(Duration::from_secs(5));
    }
    assert_eq!(lengths, [10, 20, 40, 60, 60, 60]);
    now = now.plus(Duration::from_secs(61));
    let tally = Tally { unconnected: 18, ..Tally::default() };
    assert!(!ejection.observe(now, tally, &rules()));
    let tally = Tally { unconnected: 21, ..Tally::default() };
    assert!(ejection.observe(now, tally, &rules()));
    assert!(ejection.settle(now.plus(Duration::from_secs(10)), Some(now.plus(rules().base))));
}

#[test]
fn an_old_window_does_not_count() {
    let mut ejection = Ejection::default();
    let tally = Tally { answered: 15, failed: 15, ..Tally::default() };
    assert!(!ejection.observe(Moment(0), tally, &rules()));
    let tally = Tally { answered: 30, failed: 30, ..Tally::default() };
    assert!(!ejection.observe(Moment(10_001), tally, &rules()));
}
