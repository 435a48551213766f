//! Answers of every kind, and what is read out of them.

use super::*;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use tidegate_core::contract::{Expectation, Weight};

use crate::trial::demanding;

fn key(source: Source, accepts: Option<Accepts>) -> Key {
    let expect = accepts.map(|accepts| Expectation { accepts, weight: Weight::Veto });
    Key { name: "own".into(), source, expect }
}

fn contract(source: Source, accepts: Option<Accepts>) -> Contract {
    Contract { keys: vec![key(source, accepts)] }
}

fn pointer(pointer: &str) -> Contract {
    contract(Source::Pointer(pointer.into()), Some(Accepts::Agreed))
}

fn header(accepts: Accepts) -> Contract {
    contract(Source::Header("x-own".into()), Some(accepts))
}

fn headers(values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        headers.append(HeaderName::from_static("x-own"), value);
    }
    headers
}

/// What is found at the only key.
fn found(contract: &Contract, values: &[&[u8]], body: &str) -> Found {
    let report = parse(contract, &headers(values), body.as_bytes()).expect("a report");
    report.found.into_iter().next().expect("one key")
}

fn check(body: &str, at: &str, expected: &Found) {
    assert_eq!(&found(&pointer(at), &[], body), expected, "{at} in {body}");
}

#[test]
fn values_are_read_where_the_pointer_points() {
    check(r#"{"a":"x"}"#, "/a", &Found::Value("x".into()));
    check(r#"{"a":{"b":["x","y"]}}"#, "/a/b/1", &Found::Value("y".into()));
    check(r#"{"a~b/c":"x"}"#, "/a~0b~1c", &Found::Value("x".into()));
    check(r#"{"a":""}"#, "/a", &Found::Value("".into()));
    check(r#"{"a":12}"#, "/a", &Found::Value(Value::Integer(12)));
    check(r#"{"a":-9223372036854775808}"#, "/a", &Found::Value(Value::Integer(i64::MIN)));
    check(r#"{"a":false}"#, "/a", &Found::Value(Value::Flag(false)));
    check(r#"{"a":"x"}"#, "/b", &Found::Missing);
}

#[test]
fn what_cannot_be_compared_keeps_its_kind() {
    check(r#"{"a":1.0}"#, "/a", &Found::WrongType("number"));
    check(r#"{"a":9223372036854775808}"#, "/a", &Found::WrongType("number"));
    check(r#"{"a":[1]}"#, "/a", &Found::WrongType("array"));
    check(r#"{"a":{}}"#, "/a", &Found::WrongType("object"));
    check(r#"{"a":null}"#, "/a", &Found::WrongType("null"));
    let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(VALUE_BYTES_MAX));
    assert!(matches!(found(&pointer("/a"), &[], &fits), Found::Value(_)));
    let larger = format!(r#"{{"a":"{}"}}"#, "x".repeat(VALUE_BYTES_MAX + 1));
    check(&larger, "/a", &Found::WrongType("oversized string"));
}

#[test]
fn a_header_is_read_as_the_kind_that_is_expected() {
    let read = |accepts, values: &[&[u8]]| found(&header(accepts), values, "");
    let text = || Accepts::Exactly("12".into());
    let integer = || Accepts::Exactly(Value::Integer(12));
    assert_eq!(read(text(), &[b"12"]), Found::Value("12".into()));
    assert_eq!(read(integer(), &[b"12"]), Found::Value(Value::Integer(12)));
    assert_eq!(read(integer(), &[b"twelve"]), Found::Value("twelve".into()));
    assert_eq!(
        read(Accepts::Exactly(Value::Flag(true)), &[b"true"]),
        Found::Value(Value::Flag(true))
    );
    assert_eq!(read(text(), &[b" 12 "]), Found::Value("12".into()));
    assert_eq!(read(text(), &[]), Found::Missing);
    assert_eq!(read(text(), &[b"12", b"13"]), Found::WrongType("repeated header"));
    assert_eq!(read(text(), &[b"\xff"]), Found::WrongType("header that is not UTF-8"));
}

#[test]
fn a_body_that_is_no_object_fails_only_where_one_is_expected() {
    for body in ["", "<html>", "[]", "null", "12", "{", "{\"a\":1} x"] {
        let demanding = parse(&demanding("x"), &HeaderMap::new(), body.as_bytes());
        assert_eq!(demanding, Err(ProbeFailure::NotJson), "{body}");
        let open = parse(&Contract::default(), &HeaderMap::new(), body.as_bytes());
        assert_eq!(open.map(|it| it.ready), Ok(None), "{body}");
        assert_eq!(
            found(&header(Accepts::Agreed), &[b"x"], body),
            Found::Value("x".into()),
            "{body}"
        );
    }
}

#[test]
fn what_is_never_compared_is_carried_along() {
    let body = br#"{
        "release_id": "r1", "revision": 7, "build_ts": "2025-08-01T00:00:00Z", "ready": false,
        "blob_manifest": {"count": 3, "digest": "sha256:5e1f"},
        "queue": {"depth": 4, "oldest_age_ms": 1500, "watermark": 9}
    }"#;
    let report = parse(&Contract::default(), &HeaderMap::new(), body).expect("a report");
    assert_eq!(report.release_id.as_deref(), Some("r1"));
    assert_eq!(report.revision.as_deref(), Some("7"));
    assert_eq!(report.build_ts.as_deref(), Some("2025-08-01T00:00:00Z"));
    assert_eq!(report.ready, Some(false));
    assert_eq!(report.blob_manifest, Some(BlobManifest { count: 3, digest: "sha256:5e1f".into() }));
    let watermark = Some("9".into());
    assert_eq!(report.queue, Some(Queue { depth: 4, oldest_age_ms: 1500, watermark }));
}

#[test]
fn what_is_half_there_or_of_another_type_is_left_out() {
    let body = br#"{"release_id": ["r1"], "revision": true, "ready": "yes", "queue": {"depth": -1},
        "blob_manifest": {"count": 3}}"#;
    let report = parse(&Contract::default(), &HeaderMap::new(), body).expect("a report");
    let found = vec![Found::Missing; 4];
    assert_eq!(report, Report { found, ..Report::default() });
}

#[test]
fn a_deep_body_is_no_reason_to_fall_over() {
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    let outcome = parse(&demanding("x"), &HeaderMap::new(), deep.as_bytes());
    assert_eq!(outcome, Err(ProbeFailure::NotJson));
}

/// Texts that are nearly JSON, which random bytes hardly ever are.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    "[\\[\\]{}:,\" a-d0-9.eE+\\-\\\\unltrfs]{0,200}".prop_map(|inner| {
        format!("{{\"index_hash\":{inner},\"queue\":{{\"depth\":{inner}}}}}").into_bytes()
    })
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_there_is_an_outcome(
        body in prop_oneof![prop::collection::vec(any::<u8>(), 0..2000), nearly_json()],
        value in prop::collection::vec(32..=126_u8, 0..400),
    ) {
        let mut contract = demanding("x");
        let accepts = Some(Accepts::Exactly(Value::Integer(1)));
        contract.keys.push(key(Source::Header("x-own".into()), accepts));
        let report = parse(&contract, &headers(&[&value]), &body);
        prop_assert!(report.is_err() || report.is_ok_and(|it| it.found.len() == 5));
    }
}
