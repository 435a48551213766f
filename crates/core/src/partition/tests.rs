//! Partitions of values, and where requests say which value is theirs.

use std::collections::HashMap;
use std::time::Duration;

use crate::Moment;
use crate::id::{PartitionId, RegionId};
use crate::policy::owning::{Mode, OwnershipRules, PartitionPolicy, TokenRules, TokenSecret};

use super::{NoPartition, bearer, claim, path_segment, pointer};

fn rules(named: &[(&str, &str)], rest: &[&str]) -> OwnershipRules {
    let mut partitions: Vec<PartitionPolicy> = Vec::new();
    let mut add = |name: &str| {
        partitions.push(PartitionPolicy { name: name.into(), home: RegionId(0) });
        PartitionId(u16::try_from(partitions.len() - 1).expect("few"))
    };
    let mut named: Vec<_> =
        named.iter().map(|(value, name)| ((*value).into(), add(name))).collect();
    let rest = rest.iter().map(|it| add(it)).collect();
    named.sort();
    let (mode, version, lease) = (Mode::ActiveActive, 1, Duration::from_secs(10));
    OwnershipRules { mode, version, partitions, named, rest, lease }
}

fn placed(rules: &OwnershipRules, value: &str) -> String {
    let id = rules.place(value).expect("it has a partition");
    rules.partitions[id.index()].name.to_string()
}

#[test]
fn a_named_value_has_its_own_partition_and_all_others_share_the_rest() {
    let rules = rules(&[("b", "one"), ("a", "two")], &["rest@eu", "rest@us"]);
    assert_eq!([placed(&rules, "a"), placed(&rules, "b")], ["two", "one"]);
    assert!(placed(&rules, "c").starts_with("rest@"));
    assert_eq!(rules.place(""), Err(NoPartition::Missing));
    assert_eq!(rules.place(&"x".repeat(129)), Err(NoPartition::Unreadable));
    let closed = super::tests::rules(&[("a", "one")], &[]);
    assert_eq!(closed.place("z"), Err(NoPartition::Unknown));
}

#[test]
fn the_rest_is_shared_evenly_and_moves_only_to_what_is_new() {
    let (three, four) =
        (rules(&[], &["r@a", "r@b", "r@c"]), rules(&[], &["r@d", "r@c", "r@b", "r@a"]));
    let mut shares: HashMap<String, u32> = HashMap::new();
    let mut moved = 0;
    for number in 0..30_000 {
        let value = format!("tenant-{number}");
        let (before, after) = (placed(&three, &value), placed(&four, &value));
        *shares.entry(before.clone()).or_default() += 1;
        if before != after {
            assert_eq!(after, "r@d", "{value} moved between partitions that stay");
            moved += 1;
        }
    }
    assert!(shares.values().all(|it| (9_500..10_500).contains(it)), "{shares:?}");
    assert!((7_000..8_000).contains(&moved), "{moved}");
}

#[test]
fn a_value_is_placed_alike_by_every_version_of_the_program() {
    // Two balancers of two versions must agree, so these never change.
    let rules = rules(&[], &["rest@us-east-1", "rest@eu-west-1", "rest@ap-south-1"]);
    let placed = ["tenant-a", "tenant-b", "ø", "a", "g"].map(|it| placed(&rules, it));
    assert_eq!(placed, PLACED);
}

/// Computed by another program as well.
const PLACED: [&str; 5] =
    ["rest@ap-south-1", "rest@eu-west-1", "rest@eu-west-1", "rest@eu-west-1", "rest@ap-south-1"];

#[test]
fn a_digest_is_that_of_everything_that_places_a_value() {
    let digest = rules(&[("a", "one")], &["r@a", "r@b"]).digest();
    for other in [
        rules(&[("b", "one")], &["r@a", "r@b"]),
        rules(&[("a", "one")], &["r@a"]),
        rules(&[("a", "one")], &["r@a", "r@c"]),
        rules(&[("a", "one"), ("b", "two")], &["r@a", "r@b"]),
    ] {
        assert_ne!(other.digest(), digest);
    }
    let mut same = rules(&[("a", "one")], &["r@a", "r@b"]);
    same.version = 9;
    same.partitions[0].home = RegionId(4);
    assert_eq!(same.digest(), digest, "homes and versions do not place anything");
}

#[test]
fn segments_of_a_path() {
    let check = |path, place, expected| assert_eq!(path_segment(path, place), expected, "{path}");
    check("/v1/acme/orders", 2, Ok("acme"));
    check("/v1/acme", 1, Ok("v1"));
    check("/v1", 2, Err(NoPartition::Missing));
    check("/v1//orders", 2, Err(NoPartition::Missing));
    check("/v1/ac%6de", 2, Err(NoPartition::Unreadable));
    check("/v1/../x", 2, Err(NoPartition::Unreadable));
}

#[test]
fn pointers_into_bodies() {
    let check = |body: &str, at, expected: Result<&str, NoPartition>| {
        assert_eq!(pointer::read(body.as_bytes(), at), expected.map(str::to_owned), "{body}");
    };
    check(r#"{"tenant":{"id":"acme"},"x":[1]}"#, "/tenant/id", Ok("acme"));
    check(r#"{"tenants":["a","b"]}"#, "/tenants/1", Ok("b"));
    check(r#"{"a/b":{"~":42}}"#, "/a~1b/~0", Ok("42"));
    check(r#"{"tenant":null}"#, "/tenant", Err(NoPartition::Missing));
    check(r#"{"other":1}"#, "/tenant", Err(NoPartition::Missing));
    check(r#"{"tenant":"a"}"#, "/tenant/id", Err(NoPartition::Missing));
    let unreadable = Err(NoPartition::Unreadable);
    check(r#"{"tenant":{}}"#, "/tenant", unreadable);
    check(r#"{"tenant":1.5}"#, "/tenant", unreadable);
    check(r#"{"tenant":true}"#, "/tenant", unreadable);
    // What an endpoint makes of two equal names is not known here.
    check(r#"{"tenant":"a","tenant":"b"}"#, "/tenant", unreadable);
    check(r#"{"tenant":"a","\u0074enant":"b"}"#, "/tenant", unreadable);
    check(r#"{"t":{"id":"a"},"t":{"id":"b"}}"#, "/t/id", unreadable);
    check(r#"{"tenant":"a"} x"#, "/tenant", unreadable);
    check("", "/tenant", unreadable);
    assert_eq!(
        [pointer::names(""), pointer::names("a"), pointer::names("/~2")],
        [None, None, None]
    );
}

/// `{"alg":"HS256","typ":"JWT"}`.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

#[test]
fn tokens_are_believed_when_they_are_signed_and_in_time() {
    let secret = TokenSecret(b"0123456789abcdef0123456789abcdef"[..].into());
    let rules = TokenRules {
        header: "authorization".into(),
        claim: "tenant".into(),
        secrets: vec![TokenSecret(b"another secret"[..].into()), secret],
    };
    let read = |token: &str, now: u64| claim(token, &rules, Moment(now * 1000));
    assert_eq!(read(SIGNED, 1_999_999_999), Ok("acme".to_owned()));
    assert_eq!(read(bearer(&format!("Bearer {SIGNED}")), 0), Ok("acme".to_owned()));
    assert_eq!(read(SIGNED, 2_000_000_000), Err(NoPartition::BadToken), "its time is over");
    assert_eq!(read("", 0), Err(NoPartition::Missing));
    for place in 0..SIGNED.len() {
        let mut tampered = SIGNED.as_bytes().to_vec();
        tampered[place] ^= 1;
        let tampered = String::from_utf8(tampered).expect("ASCII");
        assert_eq!(read(&tampered, 0), Err(NoPartition::BadToken), "{place}");
    }
    // `{"alg":"none"}`, and a head that demands what is not known.
    for head in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdfQ"] {
        assert_eq!(read(&SIGNED.replace(HEAD, head), 0), Err(NoPartition::BadToken));
    }
    assert_eq!(read(&format!("{HEAD}."), 0), Err(NoPartition::BadToken));
}

/// Of the head above and `{"tenant":"acme","exp":2000000000}`, made by another program.
const SIGNED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0ZW5hbnQiOiJhY21lIiwiZXhwIjoyMDAwMDAwMDAwfQ.\
    2O1KFxSJuMylY3aPR2DlouktPRx9_7v5kz33CaXmcF8";
