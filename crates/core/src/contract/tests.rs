//! What counts as a difference, and how it is told.

use super::*;

fn contract(expect: Expectation) -> Contract {
    let mut contract = Contract::default();
    contract.keys[INDEX_HASH.index()].expect = Some(expect);
    contract
}

fn report(found: Found) -> Report {
    Report { found: vec![Found::Missing, found], ..Report::default() }
}

#[test]
fn missing_wrong_type_and_different_are_told_apart() {
    let expect = Expectation { accepts: Accepts::Exactly("a1".into()), weight: Weight::Veto };
    let contract = contract(expect);
    let kind = |found| {
        let differences = contract.differences(&report(found), Moment(0));
        differences.first().map(Mismatch::kind)
    };
    assert_eq!(kind(Found::Missing), Some("missing"));
    assert_eq!(kind(Found::WrongType("array")), Some("wrong_type"));
    assert_eq!(kind(Found::Value(Value::Flag(false))), Some("wrong_type"));
    assert_eq!(kind(Found::Value("".into())), Some("different"));
    assert_eq!(kind(Found::Value("A1".into())), Some("different"));
    assert_eq!(kind(Found::Value("a1".into())), None);
}

#[test]
fn the_second_value_of_a_rotation_is_right_until_its_moment() {
    let accepts = Accepts::Either { new: "new".into(), old: "old".into(), until: Moment(100) };
    let contract = contract(Expectation { accepts, weight: Weight::Veto });
    let differs = |found: &str, now| {
        !contract.differences(&report(Found::Value(found.into())), Moment(now)).is_empty()
    };
    assert!(!differs("old", 99));
    assert!(differs("old", 100));
    assert!(!differs("new", 99) && !differs("new", 100));
}

#[test]
fn a_rotation_ends_once() {
    let accepts = Accepts::Either { new: "new".into(), old: "old".into(), until: Moment(100) };
    let rotating = contract(Expectation { accepts, weight: Weight::Veto });
    let ends = |before, now| rotating.rotation_ends(Moment(before), Moment(now));
    assert!(ends(99, 100) && ends(0, 200));
    assert!(!ends(98, 99) && !ends(100, 101) && !ends(100, 100));
    let accepts = Accepts::Exactly("new".into());
    let settled = contract(Expectation { accepts, weight: Weight::Veto });
    assert!(!settled.rotation_ends(Moment(0), Moment(u64::MAX)));
}

#[test]
fn endpoints_must_agree_only_on_keys_that_veto_and_say_so() {
    let agreed =
        |accepts, weight| contract(Expectation { accepts, weight }).agreed().collect::<Vec<_>>();
    assert_eq!(agreed(Accepts::Agreed, Weight::Veto), [INDEX_HASH]);
    assert_eq!(agreed(Accepts::Agreed, Weight::Degrade), []);
    assert_eq!(agreed(Accepts::Agreed, Weight::Observe), []);
    assert_eq!(agreed(Accepts::Exactly("a1".into()), Weight::Veto), []);
}

#[test]
fn a_difference_is_told_in_words() {
    let told = |accepts, found| {
        let contract = contract(Expectation { accepts, weight: Weight::Veto });
        let differences = contract.differences(&report(found), Moment(0));
        differences.first().map(Mismatch::to_string).unwrap_or_default()
    };
    let exactly = || Accepts::Exactly("a1".into());
    let text = "index_hash is b2, expected a1";
    assert_eq!(told(exactly(), Found::Value("b2".into())), text);
    assert_eq!(told(exactly(), Found::Missing), "index_hash is missing, expected a1");
    let text = "index_hash is of type array, expected a1";
    assert_eq!(told(exactly(), Found::WrongType("array")), text);
    let text = "index_hash is the integer 7, expected a1";
    assert_eq!(told(exactly(), Found::Value(Value::Integer(7))), text);
    let text = "index_hash is missing, expected any value";
    assert_eq!(told(Accepts::Agreed, Found::Missing), text);
    let either = Accepts::Either { new: "a2".into(), old: "a1".into(), until: Moment(u64::MAX) };
    let text = "index_hash is the boolean true, expected a2 or a1";
    assert_eq!(told(either, Found::Value(Value::Flag(true))), text);
}

#[test]
fn a_header_names_a_value_by_how_it_is_written() {
    assert!(Value::Integer(12).is_written("12"));
    assert!(Value::Integer(-12).is_written("-12") && Value::Integer(0).is_written("0"));
    assert!(!Value::Integer(12).is_written("twelve"));
    for other in ["012", "+12", " 12", "12.0", "-012"] {
        assert!(!Value::Integer(12).is_written(other), "{other}");
        assert!(!Value::Integer(-12).is_written(other), "{other}");
    }
    assert!(!Value::Integer(0).is_written("-0") && !Value::Integer(0).is_written("+0"));
    assert!(Value::Flag(false).is_written("false"));
    assert!(!Value::from("a1").is_written("A1"));
}
