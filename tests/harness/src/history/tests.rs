//! The checker checked: a history that breaks one rule is found to break that rule, and no other.

use std::time::Duration;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn name(scope: &str, key: &str) -> WriteName {
    WriteName { scope: scope.to_owned(), key: key.to_owned() }
}

/// What the endpoint answers to an attempt: different for each.
fn answer_to(attempt: u64) -> Digest {
    [u8::try_from(attempt).unwrap(); 32]
}

fn answered(attempt: u64) -> Told {
    Told::Answer { status: 201, replayed: false, digest: answer_to(attempt) }
}

fn replayed(attempt: u64) -> Told {
    Told::Answer { status: 201, replayed: true, digest: answer_to(attempt) }
}

/// Attempt number `id` runs from `id` × 100 ms for 50 ms, and is executed 10 ms after its start.
fn attempt(id: u64, name: &WriteName, told: Told) -> Attempt {
    let start = ms(id * 100);
    Attempt { id, name: name.clone(), payload: [7; 32], start, end: start + ms(50), told }
}

fn line(id: u64, name: &WriteName) -> Execution {
    let (name, method) = (name.clone(), "POST".to_owned());
    Execution {
        name,
        attempt: id,
        at: ms(id * 100 + 10),
        method,
        epoch: Some(1),
        answer: answer_to(id),
    }
}

fn trouble(from_ms: u64, to_ms: u64) -> Trouble {
    Trouble { from: ms(from_ms), to: ms(to_ms), of: None, what: "a kill".to_owned() }
}

/// Two scopes with the same key, each executed once and replayed once.
fn good() -> History {
    let (a, b) = (name("a", "k"), name("b", "k"));
    History {
        attempts: vec![
            attempt(1, &a, answered(1)),
            attempt(2, &b, answered(2)),
            attempt(3, &a, replayed(1)),
            attempt(4, &b, replayed(2)),
        ],
        executions: vec![line(1, &a), line(2, &b)],
        troubles: Vec::new(),
    }
}

#[track_caller]
fn check(history: &History, expected: &[Rule]) {
    let judgement = history.judge();
    let found: Vec<Rule> = judgement.breaches.iter().map(|it| it.rule).collect();
    assert_eq!(found, expected, "{:#?}", judgement.breaches);
}

#[test]
fn a_good_history_is_flawless_and_counted() {
    let judgement = good().judge();
    judgement.assert_flawless();
    let counts = judgement.counts;
    assert_eq!((counts.writes, counts.attempts, counts.done), (2, 4, 2));
    assert_eq!((counts.presented, counts.executed, counts.in_doubt), (2, 0, 0));
    assert!((counts.duplicates_at_most() - (1.0 - 0.05_f64.sqrt())).abs() < 1e-9);
    assert_eq!(counts.told, BTreeMap::from([("answered", 2), ("replayed", 2)]));
}

#[test]
fn a_second_execution_is_found() {
    let mut history = good();
    history.executions.push(line(3, &name("a", "k")));
    check(&history, &[Rule::AtMostOnce]);
    let counts = history.judge().counts;
    assert_eq!((counts.presented, counts.executed), (2, 1));
}

#[test]
fn a_second_execution_by_the_same_attempt_is_found() {
    let mut history = good();
    let again = Execution { answer: [99; 32], ..line(1, &name("a", "k")) };
    history.executions.push(again);
    check(&history, &[Rule::AtMostOnce]);
}

#[test]
fn a_write_reported_as_done_and_never_executed_is_found() {
    let mut history = good();
    history.executions.remove(0);
    check(&history, &[Rule::DoneIsDone, Rule::DoneIsDone]);
    let mut history = good();
    history.attempts.push(attempt(5, &name("a", "lost"), Told::Executed));
    check(&history, &[Rule::DoneIsDone]);
}

#[test]
fn a_success_that_comes_before_the_execution_is_found() {
    let mut history = good();
    history.executions[0].at = ms(200);
    check(&history, &[Rule::DoneIsDone]);
}

#[test]
fn a_refused_write_that_was_executed_is_found() {
    let mut history = good();
    history.attempts[0].told = Told::Refused;
    check(&history, &[Rule::RefusedIsNotDone]);
}

#[test]
fn a_replay_with_another_body_is_found() {
    let mut history = good();
    history.attempts[2].told = Told::Answer { status: 201, replayed: true, digest: [88; 32] };
    check(&history, &[Rule::ReplayIsTheAnswer]);
}

#[test]
fn a_replay_of_another_write_of_the_scope_is_found() {
    let mut history = good();
    let other = name("a", "other");
    history.attempts.push(attempt(5, &other, answered(5)));
    history.executions.push(line(5, &other));
    history.attempts.push(attempt(6, &other, replayed(1)));
    check(&history, &[Rule::ReplayIsTheAnswer]);
}

#[test]
fn an_error_that_claims_to_be_a_replay_is_compared_too() {
    let mut history = good();
    history.attempts[2].told = Told::Answer { status: 500, replayed: true, digest: [88; 32] };
    check(&history, &[Rule::ReplayIsTheAnswer]);
    // An error without that claim may come from a box on the way.
    history.attempts[2].told = Told::Answer { status: 502, replayed: false, digest: [88; 32] };
    check(&history, &[]);
}

#[test]
fn an_answer_that_crosses_scopes_is_found() {
    let mut history = good();
    history.attempts[3].told = replayed(1);
    check(&history, &[Rule::ScopesAreApart]);
}

#[test]
fn a_mismatch_without_another_payload_is_found() {
    let mut history = good();
    history.attempts[2].told = Told::Mismatch;
    check(&history, &[Rule::MismatchIsMismatch]);
    history.attempts[2].payload = [8; 32];
    check(&history, &[]);
    // What was executed is no other payload, though there was one.
    let mut history = good();
    history.attempts[2].told = Told::Mismatch;
    let other = attempt(0, &name("a", "k"), Told::Nothing);
    history.attempts.push(Attempt { payload: [8; 32], ..other });
    check(&history, &[Rule::MismatchIsMismatch]);
}

#[test]
fn an_answer_to_another_payload_is_found() {
    for told in [replayed(1), Told::Executed, Told::InFlight] {
        let mut history = good();
        history.attempts[2].payload = [8; 32];
        history.attempts[2].told = told;
        check(&history, &[Rule::MismatchIsMismatch]);
    }
    // What may be said to anybody: it was not sent, or nothing at all.
    for told in [Told::Refused, Told::Nothing, Told::Failed] {
        let mut history = good();
        history.attempts[2].payload = [8; 32];
        history.attempts[2].told = told;
        check(&history, &[]);
    }
}

#[test]
fn doubt_without_trouble_is_found() {
    let mut history = good();
    history.attempts[0].told = Told::Nothing;
    history.attempts[2].told = Told::InDoubt;
    check(&history, &[Rule::DoubtHasAReason]);
    history.troubles.push(trouble(400, 500));
    check(&history, &[Rule::DoubtHasAReason]);
    history.troubles.push(trouble(120, 130));
    check(&history, &[]);
}

#[test]
fn trouble_of_an_attempt_explains_the_doubt_of_its_write_only() {
    let mut history = good();
    for told in [0, 1] {
        history.attempts[told].told = Told::Failed;
        history.attempts[told + 2].told = Told::InDoubt;
    }
    history.troubles.push(Trouble { of: Some(1), ..trouble(0, 9999) });
    check(&history, &[Rule::DoubtHasAReason]);
    assert_eq!(history.judge().breaches[0].name, name("b", "k"));
    let counts = history.judge().counts;
    assert_eq!(counts.in_doubt, 2);
    assert!((counts.in_doubt_per_10_000() - 10_000.0).abs() < 1e-9);
}

#[test]
fn an_answer_that_is_forgotten_is_found() {
    let mut history = good();
    history.attempts[2].told = Told::InFlight;
    check(&history, &[Rule::DoneStaysDone]);
    history.attempts[2].told = Told::InDoubt;
    check(&history, &[Rule::DoubtHasAReason, Rule::DoneStaysDone]);
    history.troubles.push(trouble(155, 156));
    check(&history, &[]);
}

#[test]
fn an_epoch_that_goes_back_is_found() {
    let mut history = good();
    history.executions[0].epoch = Some(2);
    check(&history, &[Rule::EpochsGrow]);
    history.executions[1].epoch = None;
    check(&history, &[]);
}

#[test]
fn an_effect_that_nobody_asked_for_is_found() {
    let mut history = good();
    history.executions.push(line(9, &name("a", "nobody")));
    check(&history, &[Rule::NothingFromNowhere]);
    // Nor may it come before it was asked for.
    let mut history = good();
    history.executions[0].at = ms(99);
    check(&history, &[Rule::NothingFromNowhere]);
}
