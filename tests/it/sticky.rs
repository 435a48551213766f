//! Sessions: clients that are kept where they were, by a signed token in a cookie or a header.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a broken test should panic"
)]

use serde_json::Value;
use tidegate_harness::{H2, Reply, Request, wait_until};

use crate::setting::{PolicyText, SOON, Setting, in_short};

mod keys;
mod moves;
mod releases;
mod streams;

const HEADER: &str = "X-Region-Session";

/// A policy whose only route is sticky in this way, with these members of `sticky:`.
fn sticky(how: &str, rules: &str) -> PolicyText {
    let plain = PolicyText::default();
    PolicyText {
        routes: format!("  - {{ name: all, match: {{ path: / }}, sticky: {how} }}"),
        more: format!("{}\nsticky: {{ {rules} }}", plain.more),
        ..plain
    }
}

/// The token that an answer carries in its header, which its cookie must carry as well.
#[track_caller]
fn token_of(reply: &Reply) -> Option<String> {
    let token = reply.header(HEADER).map(str::to_owned);
    assert_eq!(cookie_of(reply), token, "{reply:?}");
    token
}

/// The token in the cookie that an answer sets.
fn cookie_of(reply: &Reply) -> Option<String> {
    let cookies = reply.header_all("set-cookie");
    let ours: Vec<_> = cookies.iter().filter_map(|it| it.strip_prefix("tidegate=")).collect();
    assert!(ours.len() < 2, "{reply:?}");
    Some(ours.first()?.split(';').next()?.to_owned())
}

/// The value of a request's `Cookie` with this token.
fn cookie(token: &str) -> String {
    format!("tidegate={token}")
}

impl Setting {
    /// A token of a client that was sent to a region.
    #[track_caller]
    fn session_in(&self, region: &str) -> String {
        let reply = self.get("/", &[("X-Region-Pin", &format!("{region}; strict"))]);
        assert_eq!(reply.header("x-region"), Some(region), "{reply:?}");
        token_of(&reply).expect("a token")
    }

    /// What a GET with a token in its header comes to.
    fn back(&self, token: &str) -> String {
        self.comes_to("/", &[(HEADER, token)])
    }

    /// How often sessions had this outcome.
    fn sessions(&self, outcome: &str) -> f64 {
        self.metric(&format!("tidegate_sessions_total{{outcome=\"{outcome}\"}}"))
    }

    /// Waits until a region is out, or back.
    fn until_drained(&self, region: &str, drained: bool) {
        self.operate(region, if drained { "drain" } else { "undrain" });
        wait_until(SOON, "the drain", || self.region(region)["drained"] == drained);
    }
}

#[test]
fn a_client_comes_back_to_its_region_by_cookie_and_by_header() {
    let setting = Setting::three(&sticky("session", ""));
    let first = setting.get("/", &[]);
    assert_eq!(in_short(&first), "near nearest");
    let token = token_of(&first).expect("a token");
    assert!(token.starts_with("v1.process-") && token.contains(".near.r-2025-08-01.."), "{token}");
    let set = first.header("set-cookie").unwrap();
    let attributes = "; Path=/; Max-Age=900; HttpOnly; SameSite=Lax";
    assert_eq!(set, format!("{}{attributes}", cookie(&token)));

    let far = setting.session_in("far");
    let by_header = setting.get("/", &[(HEADER, &far)]);
    assert_eq!((&*in_short(&by_header), token_of(&by_header)), ("far session", None));
    let by_cookie = setting.get("/", &[("Cookie", &cookie(&far)), ("X-Request-Id", "cookie")]);
    assert_eq!((&*in_short(&by_cookie), token_of(&by_cookie)), ("far session", None));
    let both = setting.get("/", &[("Cookie", &cookie(&far)), (HEADER, &token)]);
    assert_eq!(in_short(&both), "near session");
    let cookies = format!("a=b; tidegate=old; {}; {}", cookie(&far), cookie(&token));
    assert_eq!(setting.comes_to("/", &[("Cookie", &cookies)]), "far session");
    assert_eq!(setting.line_of("cookie")["session"], "honoured");
    assert_eq!((setting.sessions("honoured"), setting.sessions("issued")), (4.0, 2.0));
}

#[test]
fn it_is_the_same_over_http_2_with_cookies_in_pieces() {
    let setting = Setting::three(&sticky("session", ""));
    let token = setting.session_in("far");
    let h2 = H2::open(&setting.url("")).unwrap();
    let first = h2.send(&Request::get(&setting.url("/"))).unwrap();
    assert_eq!((in_short(&first), token_of(&first).is_some()), ("near nearest".to_owned(), true));
    let request = Request::get(&setting.url("/")).header("cookie", "a=b");
    let back = h2.send(&request.header("cookie", &cookie(&token)).header("cookie", "c=d")).unwrap();
    assert_eq!((&*in_short(&back), token_of(&back)), ("far session", None));
    assert_eq!(back.json()["headers"]["cookie"], serde_json::json!(["a=b", "c=d"]));
    let by_header = h2.send(&Request::get(&setting.url("/")).header(HEADER, &token)).unwrap();
    assert_eq!(in_short(&by_header), "far session");
}

#[test]
fn an_endpoint_sees_nothing_of_it_and_has_no_say() {
    let setting = Setting::three(&sticky("session", ""));
    let token = setting.session_in("far");
    let cookies = format!("a=\"b;  {}; c = d", cookie(&token));
    let headers = [
        ("Cookie", &*cookies),
        ("X-Reply-X-Region-Session", "forged"),
        ("X-Reply-Set-Cookie", "tidegate=forged"),
    ];
    let reply = setting.get("/", &headers);
    assert_eq!((&*in_short(&reply), token_of(&reply)), ("far session", None));
    assert_eq!(reply.json()["headers"]["cookie"], serde_json::json!(["a=\"b; c = d"]));
    let reply = setting.get("/", &[(HEADER, &token), ("X-Reply-Set-Cookie", "theirs=kept")]);
    assert_eq!(reply.json()["headers"]["x-region-session"], Value::Null);
    assert_eq!(reply.header_all("set-cookie"), ["theirs=kept"]);
    let only = setting.get("/", &[("Cookie", &cookie(&token))]);
    assert_eq!(only.json()["headers"]["cookie"], Value::Null);
}

#[test]
fn routes_that_are_not_sticky_know_nothing_of_sessions() {
    let setting = Setting::three(&PolicyText {
        routes: "  - { name: sticky, match: { path: /s }, sticky: session }\n\
                 \x20 - { name: plain, match: { path: / } }"
            .to_owned(),
        ..PolicyText::default()
    });
    let token = token_of(&setting.get("/s", &[("X-Region-Pin", "far")])).expect("a token");
    let plain = setting.get("/", &[("Cookie", &cookie(&token)), ("X-Request-Id", "plain")]);
    assert_eq!((&*in_short(&plain), token_of(&plain)), ("near nearest", None));
    assert_eq!(setting.line_of("plain")["session"], Value::Null);
    assert_eq!(setting.comes_to("/s", &[("Cookie", &cookie(&token))]), "far session");
}

#[test]
fn the_cookie_is_secure_when_a_believed_peer_says_so() {
    let set = |more: &str| {
        let policy = sticky("session", "");
        let more = format!("{}\n{more}", policy.more);
        let setting = Setting::of(&["near"], &PolicyText { more, ..policy });
        let reply = setting.get("/", &[("X-Forwarded-Proto", "https")]);
        reply.header("set-cookie").unwrap().ends_with("; SameSite=Lax; Secure")
    };
    assert!(set("trusted_peers: [ 127.0.0.0/8 ]"));
    assert!(!set(""));
}

#[test]
fn answers_of_our_own_carry_no_token() {
    let setting = Setting::three(&sticky("session", ""));
    let far = setting.session_in("far");
    let asks = [
        (("X-Index-Hash", "nobodys"), "409 contract_unmet"),
        (("X-Region-Pin", "nowhere; strict"), "503 pin_unavailable"),
        (("X-Fault", "die-after-executing"), "502 endpoint_broken"),
    ];
    for ((name, value), answer) in asks {
        for token in ["", &far] {
            let request = Request::post(&setting.url("/"), "x").header(name, value);
            let reply = request.header(HEADER, token).send().unwrap();
            assert_eq!((&*in_short(&reply), token_of(&reply)), (answer, None));
        }
    }
}

#[test]
fn pins_and_demands_beat_the_session() {
    let setting = Setting::three(&sticky("session", ""));
    let far = setting.session_in("far");
    let check = |headers: &[(&str, &str)], to: &str| {
        let headers = [&[(HEADER, &*far)], headers].concat();
        assert_eq!(setting.comes_to("/", &headers), to);
    };
    check(&[("X-Region-Pin", "middle")], "middle pin; session=moved");
    check(&[("X-Region-Pin", "far")], "far pin");
    check(&[("X-Region-Pin", "mars")], "far session; pin=unknown");
    check(&[("X-Index-Hash", "nobodys")], "409 contract_unmet");
    setting.regions[1].set_key("model_tag", "only-here");
    wait_until(SOON, "the model is seen", || {
        setting.comes_to("/", &[("X-Model-Tag", "only-here")]) == "middle nearest"
    });
    check(&[("X-Model-Tag", "only-here")], "middle nearest; session=moved");
    let moved = setting.get("/", &[("X-Model-Tag", "only-here"), (HEADER, &far)]);
    assert!(token_of(&moved).expect("a token").contains(".middle."));
}

#[test]
fn explain_reads_tokens_and_says_the_same() {
    let setting = Setting::three(&sticky("session", ""));
    let far = setting.session_in("far");
    let admin = setting.socket();
    let explain = |token: &str| {
        let header = format!("{HEADER}: {token}");
        let said =
            crate::setting::tidegate(&["explain", "GET", "/", "--admin", &admin, "-H", &header]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let told = explain(&far);
    assert!(told.contains("goes to far (session)"), "{told}");
    assert!(told.contains("far is honoured") && told.contains("near: not_in_session"), "{told}");
    assert!(!told.contains(&far), "{told}");
    let told = explain(&far[1..]);
    assert!(told.contains("goes to near") && told.contains("the token is malformed"), "{told}");
    setting.until_drained("far", true);
    let told = explain(&far);
    assert!(told.contains("far is moved") && told.contains("far: drained"), "{told}");
}

#[test]
fn a_tampered_token_chooses_nothing_and_is_counted() {
    let setting = Setting::three(&sticky("session", ""));
    let far = setting.session_in("far");
    let is_ignored = |token: &str| {
        let reply = setting.get("/", &[(HEADER, token)]);
        assert_eq!(in_short(&reply), "near nearest", "{token}");
        assert!(token_of(&reply).is_some(), "a good one takes its place: {token}");
    };
    let count = far.len();
    for place in (0..count).step_by(7) {
        let mut token = far.clone().into_bytes();
        token[place] = if token[place] == b'x' { b'y' } else { b'x' };
        is_ignored(&String::from_utf8(token).unwrap());
    }
    is_ignored(&far[..count - 1]);
    is_ignored(&far.replace(".far.", ".middle."));
    is_ignored("");
    is_ignored(&"v1.".repeat(170));
    is_ignored(&"v1.".repeat(171));
    is_ignored(&"x".repeat(20_000));
    assert!(setting.sessions("forged") >= 2.0 && setting.sessions("malformed") >= 3.0);
    assert!((setting.sessions("too_long"), setting.sessions("honoured")) == (2.0, 0.0));
    assert_eq!(setting.back(&far), "far session");
}
