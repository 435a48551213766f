//! Tests of measurements: each thing that makes answers unusable is named, and nothing panics.

use proptest::prelude::*;

use super::*;

fn name(text: impl AsRef<str>) -> Name {
    text.as_ref().into()
}

/// So many questions in so many wordings, at depth 3, with the seeds 1 and 2.
fn set(questions: usize, wordings: usize) -> ProbeSet {
    let question = |at: usize| Question {
        id: name(format!("q{at}")),
        wordings: (0..wordings).map(|it| name(format!("question {at} in wording {it}"))).collect(),
        gold: Vec::new(),
        baseline: None,
    };
    ProbeSet { questions: (0..questions).map(question).collect(), seeds: vec![1, 2], top_k: 3 }
}

fn good() -> Answer {
    Answer {
        delta_s: Some(0.4),
        vectors: None,
        retrieved: ["a", "b", "c"].map(name).to_vec(),
        lambda: Some(Lambda::Convergent),
        seed_applied: Some(true),
        index_hash: Some(name("i1")),
    }
}

fn all_good(set: &ProbeSet) -> Vec<Run> {
    set.slots().map(|slot| (slot, Ok(good()))).collect()
}

/// The word for what is wrong after one answer of a good run was changed.
fn spoiled(measure: Measure, spoil: impl Fn(&mut Answer)) -> &'static str {
    let set = set(2, 1);
    let mut runs = all_good(&set);
    if let Some((_, Ok(answer))) = runs.get_mut(3) {
        spoil(answer);
    }
    set.measure(measure, &runs).map_or_else(|it| it.why.word(), |_| "-")
}

#[test]
fn each_flaw_of_an_answer_is_named() {
    let told = |spoil: fn(&mut Answer)| spoiled(Measure::Told, spoil);
    assert_eq!(told(|_| ()), "-");
    assert_eq!(told(|it| it.delta_s = None), "no_figure");
    assert_eq!(told(|it| it.delta_s = Some(f64::NAN)), "not_finite");
    assert_eq!(told(|it| it.delta_s = Some(41.0)), "out_of_range");
    assert_eq!(told(|it| it.index_hash = None), "no_index_hash");
    assert_eq!(told(|it| it.index_hash = Some("i2".into())), "index_changed");
    assert_eq!(told(|it| it.retrieved.truncate(2)), "too_shallow");
    assert_eq!(told(|it| it.retrieved.clear()), "too_shallow");
    assert_eq!(told(|it| it.retrieved[2] = "a".into()), "repeated_document");
    assert_eq!(told(|it| it.vectors = Some((vec![1.0, 0.0], vec![1.0, 0.0]))), "contradictory");
    assert_eq!(told(|it| it.vectors = Some((vec![3.0, 4.0], vec![3.0, 0.0]))), "-", "0.4 as told");
}

#[test]
fn each_flaw_of_vectors_is_named() {
    let with = |a: &[f64], b: &[f64]| {
        let vectors = (a.to_vec(), b.to_vec());
        let set = set(1, 1);
        let spoil = |it: &mut Answer| (it.delta_s, it.vectors) = (None, Some(vectors.clone()));
        let mut runs = all_good(&set);
        for (_, it) in &mut runs {
            spoil(it.as_mut().unwrap());
        }
        set.measure(Measure::Vectors, &runs).map_or_else(|it| it.why.word(), |_| "-")
    };
    assert_eq!(with(&[3.0, 4.0], &[3.0, 0.0]), "-");
    assert_eq!(with(&[], &[1.0]), "empty_vector");
    assert_eq!(with(&[1.0], &[1.0, 2.0]), "vector_size");
    assert_eq!(with(&[0.0], &[1.0]), "zero_vector");
    assert_eq!(with(&[f64::NAN], &[1.0]), "not_finite");
    assert_eq!(spoiled(Measure::Vectors, |_| ()), "no_vectors");
}

#[test]
fn a_run_that_failed_or_was_never_made_spoils_the_whole() {
    let set = set(2, 3);
    let mut runs = all_good(&set);
    let last = runs.pop().expect("a run");
    let missing = set.measure(Measure::Told, &runs).expect_err("one is missing");
    assert_eq!(missing.to_string(), "question q1, wording 2, seed 2: it was not asked");
    runs.push((last.0, Err(ProbeFailure::Timeout)));
    let failed = set.measure(Measure::Told, &runs).expect_err("one has failed");
    assert_eq!(failed.why, Flaw::Failed(ProbeFailure::Timeout));
    let nothing = ProbeSet::default().measure(Measure::Told, &[]).expect_err("no question");
    assert_eq!(nothing.why.word(), "too_few_questions");
}

#[test]
fn an_index_that_changes_during_the_run_is_named_with_both_hashes() {
    let set = set(3, 1);
    let mut runs = all_good(&set);
    runs.iter_mut().skip(4).for_each(|(_, it)| it.as_mut().unwrap().index_hash = Some("i2".into()));
    let changed = set.measure(Measure::Told, &runs).expect_err("two indexes");
    let said = "question q2, wording 0, seed 1: the index changed from i1 to i2 during the run";
    assert_eq!(changed.to_string(), said);
}

#[test]
fn ignored_seeds_are_counted_also_where_the_region_says_nothing_of_them() {
    let set = set(2, 1);
    let mut runs = all_good(&set);
    runs[0].1.as_mut().unwrap().seed_applied = Some(false);
    runs[1].1.as_mut().unwrap().seed_applied = None;
    assert_eq!(set.measure(Measure::Told, &runs).unwrap().seeds_ignored, 2);
}

#[test]
fn lambda_is_derived_from_two_seeds_where_the_region_does_not_tell_it() {
    let set = set(1, 1);
    let derived = |spoil: fn(&mut Answer)| {
        let mut runs = all_good(&set);
        for (_, it) in &mut runs {
            it.as_mut().unwrap().lambda = None;
        }
        spoil(runs[1].1.as_mut().unwrap());
        set.measure(Measure::Told, &runs)
            .unwrap()
            .runs
            .iter()
            .map(|it| it.lambda)
            .collect::<Vec<_>>()
    };
    assert_eq!(derived(|_| ()), [Lambda::Convergent; 2]);
    assert_eq!(derived(|it| it.delta_s = Some(0.43)), [Lambda::Recursive; 2]);
    assert_eq!(derived(|it| it.retrieved[0] = "x".into()), [Lambda::Recursive; 2]);
    let others = |it: &mut Answer| it.retrieved = ["x", "y", "z"].map(name).to_vec();
    assert_eq!(derived(others), [Lambda::Chaotic; 2]);
    let told = |it: &mut Answer| it.lambda = Some(Lambda::Divergent);
    assert_eq!(derived(told), [Lambda::Convergent, Lambda::Divergent]);
}

#[test]
fn one_seed_derives_nothing() {
    let set = ProbeSet { seeds: vec![7], ..set(1, 1) };
    let mut runs = all_good(&set);
    runs[0].1.as_mut().unwrap().lambda = None;
    let measured = set.measure(Measure::Told, &runs).unwrap();
    assert_eq!(measured.runs[0].lambda, Lambda::Unknown);
    assert!(measured.lambdas()[0].judge().is_err());
}

#[test]
fn gold_counts_where_a_question_names_it() {
    let mut set = set(3, 1);
    set.questions[0].gold = vec![name("c"), name("nowhere")];
    set.questions[1].gold = vec![name("nowhere")];
    let measured = set.measure(Measure::Told, &all_good(&set)).unwrap();
    assert_eq!(measured.gold_share(), Millionths::new(500_000));
    assert_eq!(measured.runs[4].has_gold, None);
}

#[test]
fn sets_that_differ_in_anything_asked_have_other_digests() {
    let digests = [
        set(2, 1),
        set(2, 2),
        set(1, 1),
        ProbeSet { seeds: vec![1], ..set(2, 1) },
        ProbeSet { top_k: 4, ..set(2, 1) },
    ]
    .map(|it| it.digest());
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[at + 1..].contains(digest), "{at}");
    }
    let mut with_gold = set(2, 1);
    with_gold.questions[0].gold.push(name("a"));
    assert_eq!(with_gold.digest(), set(2, 1).digest(), "gold changes no answer");
}

#[test]
fn jaccards() {
    let of = |a: &[&str], b: &[&str]| {
        let list = |it: &[&str]| it.iter().map(name).collect::<Vec<_>>();
        jaccard(&list(a), &list(b))
    };
    assert_eq!(of(&["a", "b"], &["b", "a"]), Millionths::ONE);
    assert_eq!(of(&["a", "b"], &["b", "c"]), Millionths::new(333_333));
    assert_eq!(of(&["a"], &["b"]), Millionths::ZERO);
    assert_eq!(of(&[], &[]), Millionths::ONE);
}

prop_compose! {
    fn any_answer()(
        delta_s in prop::option::of(any::<f64>()),
        vectors in prop::option::of((
            prop::collection::vec(any::<f64>(), 0..4),
            prop::collection::vec(any::<f64>(), 0..4),
        )),
        retrieved in prop::collection::vec("[a-e]", 0..5),
        lambda in prop::option::of("[a-z<>→×-]{0,3}"),
        seed_applied in any::<Option<bool>>(),
        index in prop::option::of("[ij]"),
    ) -> Answer {
        Answer {
            delta_s,
            vectors,
            retrieved: retrieved.iter().map(name).collect(),
            lambda: lambda.map(|it| Lambda::from_word(&it)),
            seed_applied,
            index_hash: index.map(name),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_region_answers_is_measured_or_named(
        answers in prop::collection::vec(prop::option::of(any_answer()), 8),
        vectors in any::<bool>(),
    ) {
        let set = set(2, 2);
        let measure = if vectors { Measure::Vectors } else { Measure::Told };
        let outcomes = answers.into_iter().map(|it| it.ok_or(ProbeFailure::Broken));
        let runs: Vec<Run> = set.slots().zip(outcomes).collect();
        match set.measure(measure, &runs) {
            Ok(measured) => {
                prop_assert_eq!(measured.runs.len(), 8);
                prop_assert!(measured.runs.iter().all(|it| it.retrieved.len() == set.top_k));
            }
            Err(unusable) => prop_assert!(!unusable.to_string().is_empty()),
        }
    }
}
