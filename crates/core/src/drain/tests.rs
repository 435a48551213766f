//! One drain, step by step.

use super::*;

const RULES: DrainRules =
    DrainRules { overdue_after: Duration::from_secs(90), hard_deadline: None };

fn reading(open: u64, completed: u64, died: u64) -> Reading {
    let ended = Outcomes { completed, upstream_died: died, ..Outcomes::default() };
    Reading { open, ended }
}

/// All steps of one moment.
fn steps(drain: &mut Drain, now: u64, open: u64, rules: &DrainRules) -> Vec<Turn> {
    std::iter::from_fn(|| drain.step(Moment(now), open, true, rules)).collect()
}

fn adds_up(drain: &Drain) -> bool {
    drain.open_at_start + drain.joined == drain.outcomes.total() + drain.open + drain.moved
}

#[test]
fn what_is_open_is_counted_out() {
    let mut drain = Drain::new(Cause::Operator, Moment(1_000));
    assert_eq!(drain.step(Moment(1_000), 9, false, &RULES), None, "nobody has counted since");
    // What ended before it began is none of its business.
    drain.counted(&reading(9, 0, 0), &reading(3, 6, 0));
    assert_eq!(steps(&mut drain, 1_100, 3, &RULES), [Turn::Began]);
    assert_eq!((drain.open_at_start, drain.outcomes), (3, Outcomes::default()));
    drain.counted(&reading(3, 6, 0), &reading(2, 7, 1));
    assert_eq!(steps(&mut drain, 2_000, 2, &RULES), []);
    assert_eq!((drain.joined, drain.outcomes.total()), (1, 2));
    assert!(adds_up(&drain), "{drain:?}");
    drain.counted(&reading(2, 7, 1), &reading(0, 9, 1));
    assert_eq!(steps(&mut drain, 4_000, 0, &RULES), [Turn::Drained]);
    assert_eq!(drain.stage, Stage::Drained { took: Duration::from_secs(3) });
    assert_eq!(drain.outcomes, Outcomes { completed: 3, upstream_died: 1, ..Outcomes::default() });
    assert!(adds_up(&drain) && !drain.outcomes.is_clean(), "{drain:?}");
    // What comes after the end changes nothing that was told.
    drain.counted(&reading(0, 9, 1), &reading(1, 9, 9));
    assert_eq!(steps(&mut drain, 500_000, 1, &RULES), []);
    assert_eq!(drain.outcomes.upstream_died, 1);
}

#[test]
fn a_drain_of_nothing_ends_as_soon_as_that_is_known() {
    let mut drain = Drain::new(Cause::Dark, Moment(1_000));
    assert_eq!(steps(&mut drain, 1_000, 0, &RULES), [Turn::Began, Turn::Drained]);
    assert_eq!(drain.stage, Stage::Drained { took: Duration::ZERO });
}

#[test]
fn it_is_overdue_once_and_nothing_is_closed_without_a_hard_deadline() {
    let mut drain = Drain::new(Cause::Operator, Moment(0));
    assert_eq!(steps(&mut drain, 0, 1, &RULES), [Turn::Began]);
    assert_eq!(steps(&mut drain, 89_999, 1, &RULES), []);
    assert_eq!(steps(&mut drain, 90_000, 1, &RULES), [Turn::Overdue]);
    assert_eq!(steps(&mut drain, 900_000_000, 1, &RULES), []);
    assert!(drain.is_overdue && !drain.is_forced);
}

#[test]
fn a_hard_deadline_asks_once_for_what_is_open_to_be_closed() {
    let rules = DrainRules { hard_deadline: Some(Duration::from_mins(1)), ..RULES };
    let mut drain = Drain::new(Cause::Operator, Moment(0));
    assert_eq!(steps(&mut drain, 0, 2, &rules), [Turn::Began]);
    assert_eq!(steps(&mut drain, 60_000, 2, &rules), [Turn::Deadline]);
    assert_eq!(steps(&mut drain, 61_000, 2, &rules), []);
    assert_eq!(steps(&mut drain, 95_000, 1, &rules), [Turn::Overdue], "one does not close");
}

#[test]
fn only_the_verdicts_go_on_as_each_other() {
    for one in Cause::ALL {
        for other in Cause::ALL {
            let is_verdict = |it| matches!(it, Cause::Mismatch | Cause::Dark);
            let goes_on = one == other || (is_verdict(one) && is_verdict(other));
            assert_eq!(Drain::new(one, Moment(0)).goes_on_as(other), goes_on, "{one:?} {other:?}");
        }
    }
}

#[test]
fn counts_are_taken_apart_and_put_together() {
    let (one, two) = (reading(1, 5, 2), reading(2, 7, 2));
    assert_eq!(two.ended.since(&one.ended), Outcomes { completed: 2, ..Outcomes::default() });
    assert_eq!(one.and(&two), reading(3, 12, 4));
    assert_eq!(one.begun(), 8);
    assert_eq!(Outcome::ALL.map(|it| two.ended.of(it)), [7, 0, 2, 0]);
}
