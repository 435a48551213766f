//! Tests of manifests: the canonical form, and where two lists differ.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn inventory(lines: &[(&str, u64, &str)]) -> Inventory {
    let line = |(sha256, size, key): &(&str, u64, &str)| format!("{sha256}  {size}  {key}\n");
    Inventory::parse(&lines.iter().map(line).collect::<String>()).expect("a list")
}

#[test]
fn the_digest_is_that_of_the_terms() {
    let own = inventory(&[(EMPTY, 0, "doc/1.txt"), (ABC, 3, "img/a.png")]).summary();
    let digest = "c6151b724a4e87bcb7c0ff5cf066e6bbe36eadc3bbfdef703fa7caef59ef0b9a";
    assert_eq!((own.count, &*own.digest), (2, digest));
    let nothing = inventory(&[]).summary();
    assert_eq!((nothing.count, &*nothing.digest), (0, EMPTY));
    assert!(is_same_digest(digest, &format!("sha256:{}", digest.to_uppercase())));
    assert!(!is_same_digest(digest, EMPTY));
}

#[test]
fn a_list_that_is_none_says_where() {
    let parse = |text: &str| Inventory::parse(text).expect_err("no list");
    let good = format!("{ABC}  3  b\n");
    assert_eq!(parse(&format!("{ABC}  3  b")), BadManifest::CutOff);
    assert_eq!(parse("\n"), BadManifest::Line(1));
    assert_eq!(parse(&format!("{good}{ABC}  3 c\n")), BadManifest::Line(2));
    assert_eq!(parse(&format!("{good}{}  3  c\n", &ABC[1..])), BadManifest::Line(2));
    assert_eq!(parse(&format!("{good}{}  3  c\n", ABC.to_uppercase())), BadManifest::Line(2));
    assert_eq!(parse(&format!("{good}{ABC}  +3  c\n")), BadManifest::Line(2));
    assert_eq!(parse(&format!("{good}{ABC}  3  \n")), BadManifest::Line(2));
    assert_eq!(parse(&format!("{good}{ABC}  3  a\n")), BadManifest::Order(2));
    assert_eq!(parse(&format!("{good}{good}")), BadManifest::Order(2));
    assert_eq!(parse("<!doctype html>\n"), BadManifest::Line(1));
}

#[test]
fn differing_keys_are_named() {
    let own = inventory(&[(ABC, 3, "a"), (ABC, 3, "b"), (ABC, 3, "d")]);
    let other = inventory(&[(ABC, 3, "b"), (ABC, 3, "c"), (EMPTY, 0, "d")]);
    let differences = own.differences(&other);
    let named: Vec<_> = differences.first.iter().map(|(key, how)| (&**key, *how)).collect();
    assert_eq!(named, [("a", Differs::Extra), ("c", Differs::Missing), ("d", Differs::Changed)]);
    assert_eq!(differences.to_string(), "3 keys differ: a is extra, c is missing, d is changed");
    assert_eq!(own.differences(&own), Differences::default());
}

#[test]
fn the_list_of_differences_is_bounded_and_its_count_is_not() {
    let keys: Vec<String> = (0..DIFFERENCES_MAX + 5).map(|it| format!("{it:04}")).collect();
    let lines: Vec<_> = keys.iter().map(|it| (ABC, 3, &**it)).collect();
    let differences = inventory(&lines).differences(&inventory(&[]));
    assert_eq!(
        (differences.count, differences.first.len()),
        (DIFFERENCES_MAX + 5, DIFFERENCES_MAX)
    );
    assert!(differences.to_string().ends_with("0019 is extra, and 5 more"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn differences_are_those_of_sets(
        own in prop::collection::btree_map("[a-f]{1,2}", any::<bool>(), 0..12),
        other in prop::collection::btree_map("[a-f]{1,2}", any::<bool>(), 0..12),
    ) {
        let list = |map: &BTreeMap<String, bool>| {
            let lines = map.iter().map(|(key, it)| (if *it { ABC } else { EMPTY }, 3, &**key));
            inventory(&lines.collect::<Vec<_>>())
        };
        let (a, b) = (list(&own), list(&other));
        let keys = own.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
        let differing = keys.iter().filter(|it| own.get(**it) != other.get(**it)).count();
        prop_assert_eq!(a.differences(&b).count, differing);
        prop_assert_eq!(b.differences(&a).count, differing);
        prop_assert_eq!(differing == 0, a.summary() == b.summary());
    }

    #[test]
    fn no_text_panics(text in "[a-f0-9 \n]{0,80}") {
        Inventory::parse(&text).ok();
    }
}
