//! Signatures made by other programs, and what happens to them on the way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

const AT: Moment = Moment(1_700_000_000_000);
const BODY: &str = r#"{"id":"evt_1"}"#;

struct Case {
    scheme: Scheme,
    secret: &'static str,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
}

impl Case {
    fn check(&self, secrets: &[Secret], now: Moment) -> Result<Option<Moment>, SignatureError> {
        self.check_body(self.body.as_bytes(), secrets, now)
    }

    fn check_body(
        &self,
        body: &[u8],
        secrets: &[Secret],
        now: Moment,
    ) -> Result<Option<Moment>, SignatureError> {
        let values = |name: &str| {
            let named = self.headers.iter().filter(|(it, _)| *it == name);
            named.map(|(_, value)| value.as_bytes()).collect()
        };
        let given = Given { headers: &values, body, body_sha256: [0; 32] };
        verify(self.scheme, secrets, &given, now, TOLERANCE)
    }

    fn at(&self, now: Moment) -> Result<Option<Moment>, SignatureError> {
        self.check(&[Secret::parse(self.scheme, self.secret).unwrap()], now)
    }
}

/// Computed with Python's hmac; GitHub's is the example of its documentation.
fn cases() -> [Case; 3] {
    let case = |scheme, secret, headers: &[(&'static str, &str)], body| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Case { scheme, secret, headers, body }
    };
    [
        case(
            Scheme::StandardWebhooks,
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            &[
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", "1700000000"),
                ("webhook-signature", "v1a,xx v1,L7Hc3tUaUcL1j6PFWZNtNb6DHk1VpI+TqSNBIDmUK90="),
            ],
            BODY,
        ),
        case(
            Scheme::GitHub,
            "It's a Secret to Everybody",
            &[(
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            "Hello, World!",
        ),
        case(
            Scheme::Stripe,
            "whsec_abc",
            &[(
                "stripe-signature",
                "t=1700000000,v0=1,v1=79f159714a0d01d9505691104b38e71f0dbb0d4bdeef387b113d07b870f50db3",
            )],
            BODY,
        ),
    ]
}

#[test]
fn signatures_of_the_senders_are_believed() {
    let [standard, github, stripe] = cases();
    assert_eq!(standard.at(AT), Ok(Some(AT)));
    assert_eq!(github.at(AT), Ok(None));
    assert_eq!(stripe.at(AT), Ok(Some(AT)));
}

#[test]
fn anything_else_that_is_signed_is_a_forgery() {
    for case in cases() {
        let other = Case { body: "{}", ..case };
        assert_eq!(other.at(AT), Err(SignatureError::Forged));
        assert_eq!(other.check(&[], AT), Err(SignatureError::Forged));
    }
    for (place, value) in [(0, "msg_2"), (1, "1700000001")] {
        let [mut standard, ..] = cases();
        standard.headers[place].1 = value.to_owned();
        assert_eq!(standard.at(AT), Err(SignatureError::Forged));
    }
}

#[test]
fn a_secret_is_rotated_without_losing_a_webhook() {
    for case in cases() {
        let [new, old] =
            [Secret::new(b"another").unwrap(), Secret::parse(case.scheme, case.secret).unwrap()];
        assert!(case.check(&[new.clone(), old], AT).is_ok());
        assert_eq!(case.check(&[new], AT), Err(SignatureError::Forged));
    }
    assert!(Secret::new(b"").is_none() && Secret::parse(Scheme::GitHub, "").is_none());
    assert!(Secret::parse(Scheme::StandardWebhooks, "whsec_not base64").is_none());
    assert!(!format!("{:?}", Secret::new(b"hidden")).contains("hidden"));
}

#[test]
fn an_old_signature_is_stale() {
    let [standard, github, stripe] = cases();
    let later = |seconds: u64| Moment(AT.0 + seconds * 1000);
    for case in [standard, stripe] {
        assert!(case.at(later(300)).is_ok());
        assert_eq!(case.at(later(301)), Err(SignatureError::Stale));
        assert_eq!(case.at(Moment(AT.0 - 301_000)), Err(SignatureError::Stale));
    }
    assert!(github.at(later(100_000)).is_ok(), "it has no time");
}

#[test]
fn odd_signatures_are_named() {
    let with = |scheme: usize, place: usize, value: Option<&str>| {
        let mut case = cases().into_iter().nth(scheme).unwrap();
        match value {
            Some(value) => value.clone_into(&mut case.headers[place].1),
            None => drop(case.headers.remove(place)),
        }
        case.at(AT)
    };
    assert_eq!(with(0, 0, None), Err(SignatureError::Missing("webhook-id")));
    assert_eq!(with(0, 1, None), Err(SignatureError::Missing("webhook-timestamp")));
    assert_eq!(with(1, 0, None), Err(SignatureError::Missing("x-hub-signature-256")));
    let malformed = Err(SignatureError::Malformed);
    for odd in ["", "v1,not base64", "v2,L7Hc3tUaUcL1j6PFWZNtNb6DHk1VpI+TqSNBIDmUK90="] {
        assert_eq!(with(0, 2, Some(odd)), malformed, "{odd}");
    }
    for odd in ["", "+1700000000", "1.7e9", "99999999999999999999999"] {
        assert_eq!(with(0, 1, Some(odd)), malformed, "{odd}");
    }
    for odd in ["sha1=00", "sha256=", "sha256=zz"] {
        assert_eq!(with(1, 0, Some(odd)), malformed, "{odd}");
    }
    for odd in ["", "t=1700000000", "v1=00", "t=x,v1=00"] {
        assert_eq!(with(2, 0, Some(odd)), malformed, "{odd}");
    }
}

/// What somebody may send who has no secret.
fn signature() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        "v1,",
        "v1=",
        "v1a,",
        "t=",
        "1700000000",
        "sha256=",
        " ",
        ",",
        "=",
        "L7Hc3tUaUcL1j6PFWZNtNb6DHk1VpI+TqSNBIDmUK90=",
        "79f159714a0d01d9505691104b38e71f0dbb0d4bdeef387b113d07b870f50db3",
        "99999999999999999999",
    ]);
    let token = token.prop_map(|it| it.as_bytes().to_vec());
    let part = prop_oneof![6 => token, 1 => vec(any::<u8>(), 0..6)];
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_signs_without_a_secret(
        headers in vec(vec(signature(), 0..3), 5),
        body in vec(any::<u8>(), 0..20),
    ) {
        let names = [
            "webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256",
            "stripe-signature",
        ];
        let values = |name: &str| {
            let place = names.iter().position(|it| *it == name);
            let values = place.and_then(|place| headers.get(place)).into_iter().flatten();
            values.map(Vec::as_slice).collect()
        };
        let given = Given { headers: &values, body: &body, body_sha256: [0; 32] };
        let secrets = [Secret::new(b"hidden").unwrap()];
        for scheme in [Scheme::StandardWebhooks, Scheme::GitHub, Scheme::Stripe] {
            prop_assert!(verify(scheme, &secrets, &given, AT, TOLERANCE).is_err());
        }
    }

    #[test]
    fn any_change_of_a_signed_body_is_a_forgery(place: Index, mask in 1..=255_u8, more: u8) {
        for case in cases() {
            let secrets = [Secret::parse(case.scheme, case.secret).unwrap()];
            let mut body = case.body.as_bytes().to_vec();
            let place = place.index(body.len());
            body[place] ^= mask;
            let forged = Err(SignatureError::Forged);
            prop_assert_eq!(case.check_body(&body, &secrets, AT), forged);
            prop_assert_eq!(case.check_body(&body[..place], &secrets, AT), forged);
            body[place] ^= mask;
            prop_assert!(case.check_body(&body, &secrets, AT).is_ok());
            body.push(more);
            prop_assert_eq!(case.check_body(&body, &secrets, AT), forged);
        }
    }

    #[test]
    fn the_name_and_the_time_of_a_webhook_are_signed(place: Index, mask in 1..=127_u8) {
        for header in [0, 1] {
            let [mut standard, ..] = cases();
            let mut value = standard.headers[header].1.clone().into_bytes();
            let place = place.index(value.len());
            value[place] = (value[place] ^ mask) & 127;
            standard.headers[header].1 = String::from_utf8(value).unwrap();
            prop_assert!(standard.at(AT).is_err());
        }
    }
}
