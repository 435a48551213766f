//! Tokens that are ours, that were, and that never have been.

use proptest::prelude::*;

use super::*;

const NOW: Moment = Moment(1_700_000_000_000);
const TTL: Duration = Duration::from_mins(15);

fn key(id: &str, byte: u8) -> StickyKey {
    StickyKey { id: id.into(), secret: [byte; SECRET_BYTES_MIN].into() }
}

fn ring(keys: &[StickyKey]) -> Keyring {
    Keyring::new(keys)
}

fn issue(ring: &Keyring, region: &str, release: Option<&str>) -> String {
    ring.issue((region, release), NOW, TTL).expect("a token")
}

#[test]
fn a_token_says_where_its_client_was() {
    let ring = ring(&[key("k1", 1)]);
    for release in [None, Some("r-2025-08-27"), Some("v1.2.3+b/c d%20"), Some("é"), Some("%")] {
        let token = issue(&ring, "eu-west-1", release);
        assert!(
            token.bytes().all(|it| it.is_ascii_graphic() && !b"\",;\\".contains(&it)),
            "{token}"
        );
        assert_eq!(token.matches('.').count(), 6, "{token}");
        let read = ring.verify(&token, NOW).expect("it is ours");
        assert_eq!((&*read.region, read.release.as_deref()), ("eu-west-1", release));
        assert_eq!(read.expires_s, 1_700_000_900);
    }
    let token = issue(&ring, "eu-west-1", Some("r1"));
    assert!(token.starts_with("v1.k1.eu-west-1.r1..1700000900."), "{token}");
}

/// Computed by another program: `hmac.new(bytes([1]) * 32, b"v1.k1.eu.r1..1700000900", "sha256")`.
#[test]
fn a_signature_is_the_standard_one() {
    let token = issue(&ring(&[key("k1", 1)]), "eu", Some("r1"));
    assert_eq!(token, "v1.k1.eu.r1..1700000900.jmzCwFFIJTIrlFYM71EDUlpBDTFWwYs_MVCmmAZkb80");
}

#[test]
fn the_time_of_a_token_ends() {
    let ring = ring(&[key("k1", 1)]);
    let token = issue(&ring, "eu", None);
    let verify = |later_ms| ring.verify(&token, Moment(NOW.0 + later_ms)).map(|it| it.expires_s);
    assert!(verify(899_999).is_ok());
    assert_eq!(verify(900_000), Err(TokenError::Expired));
    assert_eq!(ring.verify(&token, Moment(u64::MAX)), Err(TokenError::Expired));
    let for_ever = ring.issue(("eu", None), Moment(u64::MAX), Duration::MAX).expect("a token");
    assert!(ring.verify(&for_ever, NOW).is_ok());
}

#[test]
fn a_token_is_due_in_the_second_half_of_its_time() {
    let due = |later_s: u64| Token::is_due(1_700_000_900, Moment(NOW.0 + later_s * 1000), TTL);
    assert_eq!([0, 450, 451, 899, 900, 5000].map(due), [false, false, true, true, true, true]);
    assert!(Token::is_due(1_700_000_901, NOW, TTL), "the policy has become stricter");
}

#[test]
fn keys_are_rotated_without_losing_a_session() {
    let [a, b] = [key("a", 1), key("b", 2)];
    let [old, adding] = [vec![a.clone()], vec![a.clone(), b.clone()]].map(|it| ring(&it));
    let [signing, new] = [vec![b.clone(), a], vec![b]].map(|it| ring(&it));
    let by_a = issue(&adding, "eu", None);
    assert!(old.verify(&by_a, NOW).is_ok() && signing.verify(&by_a, NOW).is_ok());
    let by_b = issue(&signing, "eu", None);
    assert!(adding.verify(&by_b, NOW).is_ok() && new.verify(&by_b, NOW).is_ok());
    assert_eq!(new.verify(&by_a, NOW), Err(TokenError::UnknownKey));
    assert_eq!(old.verify(&by_b, NOW), Err(TokenError::UnknownKey));
    // The same name for another secret is a forgery, not a stranger.
    let other = ring(&[key("a", 3)]);
    assert_eq!(other.verify(&by_a, NOW), Err(TokenError::Forged));
}

#[test]
fn the_key_of_the_process_is_used_where_the_policy_has_none() {
    let (process, of_policy) = (key("p-1", 7), key("k1", 1));
    let mut rules = StickyRules::default();
    let token = issue(&Keyring::of(&rules, Some(&process)), "eu", None);
    assert!(token.starts_with("v1.p-1."), "{token}");
    assert!(Keyring::of(&rules, None).issue(("eu", None), NOW, TTL).is_none());
    assert_eq!(Keyring::of(&rules, None).verify(&token, NOW), Err(TokenError::UnknownKey));
    rules.keys.push(of_policy);
    let ring = Keyring::of(&rules, Some(&process));
    assert_eq!(ring.verify(&token, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn what_is_too_long_is_not_read_and_not_issued() {
    let ring = ring(&[key("k1", 1)]);
    assert_eq!(ring.verify(&"v".repeat(513), NOW), Err(TokenError::TooLong));
    assert_eq!(ring.verify(&"v".repeat(512), NOW), Err(TokenError::Malformed));
    let token = issue(&ring, "eu", Some(&".".repeat(200)));
    assert_eq!(ring.verify(&token, NOW).expect("it is ours").release, None);
    assert_eq!(ring.issue((&"é".repeat(100), None), NOW, TTL), None);
}

#[test]
fn no_secret_is_shown() {
    let key = StickyKey { id: "k1".into(), secret: b"0123456789abcdef0123456789abcdef"[..].into() };
    let rules = StickyRules { keys: vec![key], ..StickyRules::default() };
    let shown = format!("{:#?} {rules:?}", ring(&rules.keys));
    assert!(shown.contains("k1") && !shown.contains("0123456789") && !shown.contains("48, 49"));
}

#[test]
fn words_are_stable() {
    let words = TokenError::ALL.map(TokenError::word);
    assert_eq!(words, ["too_long", "malformed", "unknown_key", "forged", "expired"]);
}

/// A token that is not ours may be refused for any reason, and is not read.
fn refused(token: &str) -> Result<(), TestCaseError> {
    let ring = ring(&[key("k1", 1), key("k2", 2)]);
    prop_assert!(ring.verify(token, NOW).is_err(), "{}", token);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_at_any_byte_is_refused(
        release in "\\PC{0,12}", place: prop::sample::Index, byte in 0..=127_u8,
    ) {
        let mut token = issue(&ring(&[key("k2", 2)]), "eu-west-1", Some(&release)).into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        refused(&String::from_utf8(token).expect("it is ASCII"))?;
    }

    #[test]
    fn any_piece_of_a_token_is_refused(from: prop::sample::Index, more in "[ -~]{1,4}") {
        let token = issue(&ring(&[key("k1", 1)]), "eu", Some("r1"));
        let at = from.index(token.len());
        refused(&token[..at])?;
        refused(&token[at + 1..])?;
        refused(&format!("{}{more}{}", &token[..at], &token[at..]))?;
        refused(&format!("{token}{more}"))?;
    }

    #[test]
    fn any_text_is_refused(text: String, dots in "[v1k.%a-zA-Z0-9_-]{0,600}") {
        refused(&text)?;
        refused(&dots)?;
        refused(&format!("v1.k1.{dots}"))?;
    }

    #[test]
    fn a_foreign_key_is_refused(secret in prop::collection::vec(2..=255_u8, 1..80), region in "[a-z]{1,9}") {
        let foreign = StickyKey { id: "k1".into(), secret: secret.into() };
        let token = issue(&ring(&[foreign]), &region, None);
        prop_assert_eq!(ring(&[key("k1", 1)]).verify(&token, NOW), Err(TokenError::Forged));
    }

    #[test]
    fn any_field_is_read_back(region in "\\PC{1,20}", release in "\\PC{1,20}") {
        let ring = ring(&[key("k.1", 1)]);
        if let Some(token) = ring.issue((&region, Some(&release)), NOW, TTL) {
            let read = ring.verify(&token, NOW).expect("it is ours");
            prop_assert_eq!(read.region, region);
            prop_assert!(read.release.is_none_or(|it| it == release));
        }
    }
}
