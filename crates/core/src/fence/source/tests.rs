//! Ids as their senders write them, and as they should not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::key::FenceKey;
use super::*;

fn given<T>(headers: &[(&str, &str)], body: &str, ask: impl FnOnce(&Given<'_>) -> T) -> T {
    let values = |name: &str| {
        let named = headers.iter().filter(|(it, _)| *it == name);
        named.map(|(_, value)| value.as_bytes()).collect()
    };
    ask(&Given { headers: &values, body: body.as_bytes(), body_sha256: [7; 32] })
}

fn name(source: Source, headers: &[(&str, &str)], body: &str) -> Result<Unscoped, KeyError> {
    given(headers, body, |given| source.name(given))
}

#[test]
fn a_key_is_the_same_quoted_or_bare() {
    let read = |value: &str| idempotency_key(&[value.as_bytes()]);
    let malformed = Err(KeyError::Malformed("Idempotency-Key"));
    assert_eq!(read("8e03978e-40d5"), Ok("8e03978e-40d5".to_owned()));
    assert_eq!(read("\"8e03978e-40d5\""), read("8e03978e-40d5"));
    assert_eq!(read("  \"a\"\t"), Ok("a".to_owned()));
    assert_eq!(read(r#""a\"b\\c""#), Ok(r#"a"b\c"#.to_owned()));
    assert_eq!(read(&"x".repeat(255)), Ok("x".repeat(255)));
    for odd in [
        "",
        "\"\"",
        "a b",
        "\"a b\"",
        "\"a",
        "a\"",
        "\"",
        r#""a"b""#,
        r#""a\n""#,
        r#""a\""#,
        r#""a"; p=1"#,
        "é",
        "a\u{7f}",
        &"x".repeat(256),
    ] {
        assert_eq!(read(odd), malformed, "{odd}");
    }
    assert_eq!(idempotency_key(&[]), Err(KeyError::Missing("Idempotency-Key")));
    assert_eq!(idempotency_key(&[b"a", b"a"]), Err(KeyError::Repeated("Idempotency-Key")));
    assert_eq!(idempotency_key(&[b"\xff"]), malformed);
}

#[test]
fn webhooks_are_named_by_their_ids() {
    let standard = name(Source::StandardWebhooks, &[("webhook-id", "msg_1")], "");
    assert_eq!(standard, Ok(Unscoped::of(&[b"standard-webhooks", b"msg_1"])));
    let github = name(Source::GitHub, &[("x-github-delivery", "72d3162e")], "{}");
    assert_eq!(github, Ok(Unscoped::of(&[b"github", b"72d3162e", &[7; 32]])));
    let stripe = name(Source::Stripe, &[], r#"{"object":"event","id":"evt_1"}"#);
    assert_eq!(stripe, Ok(Unscoped::of(&[b"stripe", b"evt_1"])));
    let missing = |name| Err(KeyError::Missing(name));
    assert_eq!(name(Source::StandardWebhooks, &[], ""), missing("webhook-id"));
    assert_eq!(name(Source::GitHub, &[], ""), missing("x-github-delivery"));
    assert_eq!(name(Source::Stripe, &[], "{}"), missing("id"));
    assert_eq!(name(Source::Stripe, &[], r#"{"id":""}"#), Err(KeyError::Malformed("id")));
    assert_eq!(name(Source::Stripe, &[], "id=evt_1"), Err(KeyError::BadBody));
}

#[test]
fn cloud_events_are_named_by_source_and_id() {
    let event = Ok(Unscoped::of(&[b"cloudevents", b"/shop", b"42"]));
    let binary = [("content-type", "text/plain"), ("ce-source", "/shop"), ("ce-id", "42")];
    assert_eq!(name(Source::CloudEvents, &binary, "x"), event);
    let kind = [("content-type", "application/CloudEvents+json; charset=utf-8")];
    let body = r#"{"specversion":"1.0","id":"42","source":"/shop","data":{"id":"7"}}"#;
    assert_eq!(name(Source::CloudEvents, &kind, body), event);
    assert_eq!(name(Source::CloudEvents, &binary[..2], "x"), Err(KeyError::Missing("ce-id")));
    assert_eq!(name(Source::CloudEvents, &kind, "[]"), Err(KeyError::BadBody));
    let batch = [("content-type", "application/cloudevents-batch+json")];
    assert_eq!(name(Source::CloudEvents, &batch, "[]"), Err(KeyError::Missing("ce-source")));
}

#[test]
fn one_id_is_another_key_from_another_source() {
    let all = [
        name(Source::IdempotencyKey, &[("idempotency-key", "a")], ""),
        name(Source::StandardWebhooks, &[("webhook-id", "a")], ""),
        name(Source::GitHub, &[("x-github-delivery", "a")], ""),
        name(Source::Stripe, &[], r#"{"id":"a"}"#),
    ];
    let names: std::collections::HashSet<Unscoped> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(names.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_key_can_be_quoted(key in "[!-~]{1,255}") {
        let escaped = key.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = format!("\"{escaped}\"");
        prop_assert_eq!(idempotency_key(&[quoted.as_bytes()]), Ok(key.clone()));
        if !key.contains('"') {
            prop_assert_eq!(idempotency_key(&[key.as_bytes()]), Ok(key));
        }
    }

    #[test]
    fn a_key_is_visible_and_short_whatever_comes(
        value in vec(prop_oneof![3 => 0x20..0x7f_u8, 1 => any::<u8>()], 0..300),
        quoted: bool,
    ) {
        let value = if quoted { [b"\"", &*value, b"\""].concat() } else { value };
        if let Ok(key) = idempotency_key(&[&value]) {
            prop_assert!((1..=ID_BYTES_MAX).contains(&key.len()));
            prop_assert!(key.bytes().all(|it| it.is_ascii_graphic()), "{key:?}");
        }
    }

    #[test]
    fn whatever_comes_is_named_or_refused_and_always_the_same(
        headers in vec(vec(any::<u8>(), 0..12), 0..3),
        body in prop_oneof![
            vec(any::<u8>(), 0..40),
            r#"\{("(id|source|x)":("[a\\u00-9]{0,5}"|[0-9]{1,2}|\[\]),?){0,3}\}"#.prop_map(String::into_bytes),
        ],
    ) {
        let kind: &[u8] = b"application/cloudevents+json";
        let ask = |source: Source| {
            let values = |name: &str| match name {
                "content-type" if body.len().is_multiple_of(2) => vec![kind],
                _ => headers.iter().map(Vec::as_slice).collect(),
            };
            source.name(&Given { headers: &values, body: &body, body_sha256: [7; 32] })
        };
        for source in [
            Source::IdempotencyKey,
            Source::StandardWebhooks,
            Source::GitHub,
            Source::Stripe,
            Source::CloudEvents,
        ] {
            prop_assert_eq!(ask(source), ask(source));
            if headers.len() != 1 && !source.needs_body() {
                prop_assert!(ask(source).is_err(), "none or several");
            }
        }
    }

    #[test]
    fn a_key_is_read_as_it_is_shown(bytes: [u8; 32], odd in "[0-9a-fA-F ×+]{60,68}") {
        let key = FenceKey(bytes);
        prop_assert_eq!(FenceKey::parse(&key.to_string()), Some(key));
        if let Some(key) = FenceKey::parse(&odd) {
            prop_assert_eq!(key.to_string(), odd.to_lowercase());
        }
    }
}
