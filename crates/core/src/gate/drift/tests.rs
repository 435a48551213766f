//! Tests of drift: the borders of every limit, and what each fault is called.

use proptest::prelude::*;

use super::*;
use crate::gate::lambda::Lambda;
use crate::gate::probes::{Answer, Measure, Question, Run};

const K: usize = 4;

fn set() -> ProbeSet {
    let question = |at: usize| Question {
        id: format!("q{at}").as_str().into(),
        wordings: vec![format!("what is {at}?").as_str().into()],
        gold: Vec::new(),
        baseline: None,
    };
    ProbeSet { questions: (0..10).map(question).collect(), seeds: vec![1, 2], top_k: K }
}

fn documents(list: &str) -> Vec<Name> {
    list.chars().map(|it| it.to_string().as_str().into()).collect()
}

/// What a region answers that has this ΔS everywhere, after its answers were changed.
fn measured(set: &ProbeSet, delta_s: f64, change: impl Fn(usize, &mut Answer)) -> Measurement {
    let runs: Vec<Run> = set
        .slots()
        .enumerate()
        .map(|(at, slot)| {
            let mut answer = Answer {
                delta_s: Some(delta_s),
                vectors: None,
                retrieved: documents("abcd"),
                lambda: Some(Lambda::Convergent),
                seed_applied: Some(true),
                index_hash: Some("i1".into()),
            };
            change(at, &mut answer);
            (slot, Ok(answer))
        })
        .collect();
    set.measure(Measure::Told, &runs).expect("usable answers")
}

/// The words for what is red about a region whose reference has a ΔS of 0.41 everywhere.
fn judged(limits: &Limits, change: impl Fn(usize, &mut Answer)) -> Vec<&'static str> {
    let set = set();
    let reference = measured(&set, 0.41, |_, _| ());
    let own = measured(&set, 0.41, change);
    let faults = judge(&set, limits, &own, Some(Reference::Region(&reference)));
    assert!(faults.iter().all(|it| !it.to_string().is_empty()));
    faults.iter().map(Fault::word).collect()
}

#[test]
fn a_drift_of_exactly_the_limit_passes_and_a_millionth_more_does_not() {
    let limits = Limits::default();
    let to = |delta_s: f64| {
        move |at: usize, it: &mut Answer| {
            if at == 7 {
                it.delta_s = Some(delta_s);
            }
        }
    };
    assert_eq!(judged(&limits, to(0.44)), [""; 0]);
    assert_eq!(judged(&limits, to(0.38)), [""; 0]);
    assert_eq!(judged(&limits, to(0.440_001)), ["drift"]);
    assert_eq!(judged(&limits, to(0.379_999)), ["drift"], "better is different, too");
}

#[test]
fn one_bad_question_is_not_hidden_by_the_others() {
    let bad = |at: usize, it: &mut Answer| {
        if at == 19 {
            it.delta_s = Some(0.5);
        }
    };
    let by = |aggregate| judged(&Limits { aggregate, ..Limits::default() }, bad);
    assert_eq!(by(Aggregate::Max), ["drift"]);
    assert_eq!(by(Aggregate::Mean), [""; 0]);
    assert_eq!(by(Aggregate::MedianP95), [""; 0]);
}

#[test]
fn median_and_p95_have_limits_of_their_own() {
    let limits = Limits { aggregate: Aggregate::MedianP95, ..Limits::default() };
    let from = |first: usize, delta_s: f64| {
        move |at: usize, it: &mut Answer| {
            if at >= first {
                it.delta_s = Some(delta_s);
            }
        }
    };
    assert_eq!(judged(&limits, from(18, 0.52)), ["drift"], "p95 is 0.11");
    assert_eq!(judged(&limits, from(18, 0.51)), [""; 0], "p95 is 0.1");
    assert_eq!(judged(&limits, from(9, 0.445)), ["drift"], "the median is 0.035");
    let mean = Limits { aggregate: Aggregate::Mean, ..Limits::default() };
    assert_eq!(judged(&mean, from(0, 0.44)), [""; 0]);
    assert_eq!(judged(&mean, from(0, 0.440_001)), ["drift"]);
}

#[test]
fn two_regions_that_are_equally_bad_are_both_red() {
    let set = set();
    let limits = Limits::default();
    let bad = measured(&set, 0.45, |_, _| ());
    assert_eq!(judge(&set, &limits, &bad, Some(Reference::Region(&bad))), []);
    let worse = measured(&set, 0.450_001, |_, _| ());
    let faults = judge(&set, &limits, &worse, Some(Reference::Region(&worse)));
    assert_eq!(faults.iter().map(Fault::word).collect::<Vec<_>>(), ["median"]);
    let risk = measured(&set, 0.41, |at, it| {
        if at == 3 {
            it.delta_s = Some(0.6);
        }
    });
    let faults = judge(&set, &limits, &risk, Some(Reference::Region(&risk)));
    assert_eq!(
        faults.first().expect("a fault").to_string(),
        "delta_s is 0.6 on question q1, and 0.6 is a risk"
    );
}

#[test]
fn lambda_has_to_converge_with_each_seed() {
    let limits = Limits::default();
    let state = |seed: usize, count: usize, lambda: Lambda| {
        judged(&limits, move |at, it| {
            if at % 2 == seed && at / 2 < count {
                it.lambda = Some(lambda);
            }
        })
    };
    assert_eq!(state(0, 2, Lambda::Divergent), [""; 0], "8 of 10 converge");
    assert_eq!(state(0, 3, Lambda::Divergent), ["lambda"]);
    assert_eq!(state(1, 3, Lambda::Unknown), ["lambda"]);
    assert_eq!(state(1, 1, Lambda::Chaotic), ["lambda"]);
    assert_eq!(state(1, 1, Lambda::Recursive), [""; 0]);
    assert_eq!(state(1, 2, Lambda::Recursive), ["lambda"]);
}

#[test]
fn seeds_that_a_region_ignores_are_red_unless_the_policy_puts_up_with_them() {
    let ignored = |_, it: &mut Answer| it.seed_applied = Some(false);
    assert_eq!(judged(&Limits::default(), ignored), ["seeds_ignored"]);
    let lenient = Limits { seeds_may_be_ignored: true, ..Limits::default() };
    assert_eq!(judged(&lenient, ignored), [""; 0]);
}

#[test]
fn other_documents_and_another_order_are_red() {
    let limits = Limits::default();
    let retrieved = |list: &'static str| {
        judged(&limits, move |at, it| {
            if at == 5 {
                it.retrieved = documents(list);
            }
        })
    };
    assert_eq!(retrieved("bacd"), [""; 0], "5 of 6 pairs");
    assert_eq!(retrieved("dcba"), ["order"]);
    assert_eq!(retrieved("abcx"), [""; 0], "3 of 5 is 60 %");
    assert_eq!(retrieved("abxy"), ["overlap"]);
    assert_eq!(retrieved("xyzw"), ["overlap"]);
}

#[test]
fn gold_that_is_not_found_is_red() {
    let mut set = set();
    let wanted = |it: &mut Question, gold: &str| it.gold = documents(gold);
    set.questions.iter_mut().for_each(|it| wanted(it, "c"));
    wanted(&mut set.questions[0], "x");
    let own = measured(&set, 0.41, |_, _| ());
    let words = |set: &ProbeSet, own: &Measurement| {
        let faults = judge(set, &Limits::default(), own, Some(Reference::Region(own)));
        faults.iter().map(Fault::word).collect::<Vec<_>>()
    };
    assert_eq!(words(&set, &own), [""; 0], "9 of 10 will do");
    wanted(&mut set.questions[1], "x");
    let own = measured(&set, 0.41, |_, _| ());
    assert_eq!(words(&set, &own), ["gold"]);
}

#[test]
fn what_cannot_be_compared_is_red() {
    let set = set();
    let own = measured(&set, 0.41, |_, _| ());
    let words = |set: &ProbeSet, reference| {
        let faults = judge(set, &Limits::default(), &own, reference);
        faults.iter().map(Fault::word).collect::<Vec<_>>()
    };
    assert_eq!(words(&set, None), ["no_reference"]);
    assert_eq!(words(&set, Some(Reference::Set)), ["no_reference"]);
    let shorter = ProbeSet { top_k: 3, ..set.clone() };
    let other = measured(&shorter, 0.41, |_, _| ());
    assert_eq!(words(&set, Some(Reference::Region(&other))), ["no_reference"]);
    assert_eq!(words(&shorter, Some(Reference::Region(&own))), ["no_reference"]);
    let few = Limits { questions_min: 11, ..Limits::default() };
    let faults = judge(&set, &few, &own, Some(Reference::Region(&own)));
    assert_eq!(faults.iter().map(Fault::word).collect::<Vec<_>>(), ["too_few_questions"]);
}

#[test]
fn a_set_with_baselines_needs_no_other_region() {
    let mut set = set();
    set.questions.iter_mut().for_each(|it| it.baseline = Millionths::of(0.41));
    let own = measured(&set, 0.44, |_, _| ());
    assert_eq!(judge(&set, &Limits::default(), &own, Some(Reference::Set)), []);
    let summed = drift(&set, &own, Reference::Set).expect("a drift");
    let limit = Millionths::new(30_000);
    assert_eq!((summed.max, summed.median, summed.p95, summed.mean), (limit, limit, limit, limit));
    assert_eq!(summed.signed_mean, 30_000);
    let worse = measured(&set, 0.440_001, |_, _| ());
    assert_eq!(judge(&set, &Limits::default(), &worse, Some(Reference::Set)).len(), 1);
}

#[test]
fn orders() {
    let of = |a: &str, b: &str| same_order(&documents(a), &documents(b));
    assert_eq!(of("abc", "abc"), Millionths::ONE);
    assert_eq!(of("abc", "cba"), Millionths::ZERO);
    assert_eq!(of("abc", "xby"), Millionths::ONE, "one in both is no pair");
    assert_eq!(of("abcd", "abdc"), Millionths::new(833_333));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_answers_never_drift(figures in prop::collection::vec(0.0..1.0_f64, 20)) {
        let set = set();
        let own = measured(&set, 0.0, |at, it| it.delta_s = figures.get(at).copied());
        let drift = drift(&set, &own, Reference::Region(&own));
        prop_assert_eq!(drift, Some(Drift::default()));
    }

    #[test]
    fn drift_is_symmetric_and_its_parts_are_in_order(
        figures in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 20),
    ) {
        let set = set();
        let own = measured(&set, 0.0, |at, it| it.delta_s = figures.get(at).map(|it| it.0));
        let other = measured(&set, 0.0, |at, it| it.delta_s = figures.get(at).map(|it| it.1));
        let there = drift(&set, &own, Reference::Region(&other)).expect("a drift");
        let back = drift(&set, &other, Reference::Region(&own)).expect("a drift");
        prop_assert_eq!((there.max, there.median, there.p95), (back.max, back.median, back.p95));
        prop_assert!(there.median <= there.p95 && there.p95 <= there.max && there.mean <= there.max);
        prop_assert_eq!(there.signed_mean, -back.signed_mean);
    }
}
