//! Tokens in headers and cookies, and everything around them that must stay as it is.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_core::policy::{StickyKey, StickyRules};

use super::*;
use crate::ctx::tests::route;
use tidegate_control::clock;

fn sessions() -> Arc<Sessions> {
    signing_with(7)
}

fn signing_with(secret: u8) -> Arc<Sessions> {
    let key = StickyKey { id: "k1".into(), secret: [secret; 32].into() };
    Arc::new(Sessions::of(&StickyRules { keys: vec![key], ..StickyRules::default() }, None))
}

fn token(region: &str, release: Option<&str>) -> String {
    sessions().issue((region, release), clock::now()).expect("a token")
}

fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in headers {
        request.append_header(*name, *value).unwrap();
    }
    request
}

/// What a request brings along on a route of a kind: a region, a word, or nothing.
fn brought(sticky: Stickiness, headers: &[(&'static str, &str)]) -> Option<String> {
    let route = Route { sticky, ..route() };
    let brought = Brought::read(&sessions(), &route, &request(headers), (None, clock::now()))?;
    let word = brought.word(SessionOutcome::Absent);
    let region = brought.session().map(|it| it.region.to_owned());
    Some(region.or(word.map(str::to_owned)).unwrap_or_else(|| "-".to_owned()))
}

#[test]
fn a_token_is_read_where_the_route_wants_it() {
    let token = token("eu", None);
    let cookie = format!("tidegate={token}");
    let header = ("x-region-session", &*token);
    let resumed = [header, ("last-event-id", "7")];
    assert_eq!(brought(Stickiness::Off, &resumed), None);
    assert_eq!(brought(Stickiness::Session, &[header]).as_deref(), Some("eu"));
    assert_eq!(brought(Stickiness::Session, &[("cookie", &cookie)]).as_deref(), Some("eu"));
    assert_eq!(brought(Stickiness::Session, &[]).as_deref(), Some("-"));
    assert_eq!(brought(Stickiness::Stream, &[header]).as_deref(), Some("-"));
    assert_eq!(brought(Stickiness::Stream, &resumed).as_deref(), Some("eu"));
}

#[test]
fn the_header_counts_and_then_the_first_good_cookie() {
    let read = |headers: &[(&'static str, &str)]| brought(Stickiness::Session, headers).unwrap();
    let [eu, us] = [token("eu", None), token("us", None)];
    let (of_eu, of_us) = (format!("tidegate={eu}"), format!("tidegate={us}"));
    assert_eq!(read(&[("cookie", &of_us), ("x-region-session", &eu)]), "eu");
    assert_eq!(read(&[("cookie", &of_us), ("x-region-session", "v1")]), "malformed");
    assert_eq!(read(&[("cookie", &format!("a=b; {of_us};c=d; {of_eu}"))]), "us");
    assert_eq!(read(&[("cookie", &format!("tidegate=old;tidegate=; {of_eu}"))]), "eu");
    assert_eq!(read(&[("cookie", "a=b"), ("cookie", &of_eu)]), "eu");
    assert_eq!(read(&[("cookie", &format!("xtidegate={eu}; tidegated={eu}; Tidegate={eu}"))]), "-");
    let many = format!("{}{of_eu}", "tidegate=old; ".repeat(COOKIES_MAX));
    assert_eq!(read(&[("cookie", &many)]), "malformed");
    assert_eq!(read(&[("cookie", &format!("tidegate={}", "v".repeat(600)))]), "too_long");
    assert_eq!(read(&[("cookie", &format!("{of_eu}x"))]), "malformed");
    assert_eq!(read(&[("cookie", "tidegate=v1.k1.eu\u{e9}")]), "malformed");
}

#[test]
fn a_token_that_was_proven_is_remembered_until_its_time_is_over_or_the_keys_change() {
    let (sessions, others) = (sessions(), signing_with(8));
    let (now, later) = (clock::now(), clock::now().plus(sessions.ttl));
    let last = LastToken::default();
    let [eu, us] = [token("eu", Some("r1")), token("us", None)];
    let recalled = |of: &_, token: &str, now| last.recall(of, token.as_bytes(), now);
    let read = |token: &str, now| verify(&sessions, token.as_bytes(), (Some(&last), now));
    assert!(recalled(&sessions, &eu, now).is_none(), "nothing was proven yet");
    let visit = read(&eu, now).unwrap();
    assert!(Arc::ptr_eq(&visit, &recalled(&sessions, &eu, now).unwrap()));
    assert!(Arc::ptr_eq(&visit, &read(&eu, now).unwrap()));
    assert!(recalled(&others, &eu, now).is_none(), "other keys have not proven it");
    assert_eq!(read(&eu, later).unwrap_err(), TokenError::Expired);
    let forged = format!("{}{}", &eu[..eu.len() - 1], if eu.ends_with('A') { "E" } else { "A" });
    assert_eq!(read(&forged, now).unwrap_err(), TokenError::Forged);
    assert!(recalled(&sessions, &eu, now).is_some(), "a bad token takes nobody's place");
    assert_eq!(&*read(&us, now).unwrap().region, "us");
    assert!(recalled(&sessions, &eu, now).is_none(), "one token is remembered, the last one");
    assert!(!format!("{last:?}").contains("us"));
}

fn taken_off(cookies: &[&'static str]) -> Vec<String> {
    let headers: Vec<_> = cookies.iter().map(|it| ("cookie", *it)).collect();
    let mut headers = http::request::Parts::from(request(&headers)).headers;
    headers.insert("x-region-session", HeaderValue::from_static("anything"));
    take_off(&mut headers, &sessions());
    assert!(!headers.contains_key("x-region-session"));
    let left = headers.get_all(COOKIE).iter();
    left.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).collect()
}

#[test]
fn other_cookies_stay_as_they_are() {
    assert_eq!(taken_off(&["a=b;  c = \"d;\"; e"]), ["a=b;  c = \"d;\"; e"]);
    assert_eq!(taken_off(&["tidegate=x; a=b;c=d"]), ["a=b;c=d"]);
    assert_eq!(taken_off(&["a=b; tidegate=x;  c=d"]), ["a=b;  c=d"]);
    assert_eq!(taken_off(&["a=b; tidegate=x"]), ["a=b"]);
    assert_eq!(taken_off(&["tidegate=x"]), [""; 0]);
    assert_eq!(taken_off(&["tidegate=x; tidegate=y;"]), [""; 0]);
    assert_eq!(taken_off(&["a=1", "tidegate=x", "b=2; tidegate=y"]), ["a=1", "b=2"]);
    assert_eq!(taken_off(&["a=tidegate=x; tidegate_2=y"]), ["a=tidegate=x; tidegate_2=y"]);
}

fn put(token: Option<&str>, secure: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-region-session", HeaderValue::from_static("of the endpoint"));
    for cookie in ["a=b; Path=/", "tidegate=forged; Path=/", "tidegated=x"] {
        headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
    }
    put_on(&mut headers, Keeping { sessions: &sessions(), token, secure });
    headers
}

#[test]
fn an_answer_takes_our_token_and_not_that_of_its_endpoint() {
    let headers = put(Some("t.o.k"), false);
    assert_eq!(headers["x-region-session"], "t.o.k");
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    let ours = "tidegate=t.o.k; Path=/; Max-Age=900; HttpOnly; SameSite=Lax";
    assert_eq!(cookies, ["a=b; Path=/", "tidegated=x", ours]);
    let headers = put(Some("t.o.k"), true);
    let last = headers.get_all(SET_COOKIE).iter().next_back().unwrap();
    assert_eq!(last, &format!("{ours}; Secure"));
    let headers = put(None, true);
    assert!(!headers.contains_key("x-region-session"));
    assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 2);
}

#[test]
fn a_token_is_renewed_when_it_says_something_else_or_is_due() {
    let sessions = sessions();
    let route = Route { sticky: Stickiness::Session, ..route() };
    let token = token("eu", Some("r1"));
    let read = |token: &str| {
        let request = request(&[("x-region-session", token)]);
        Brought::read(&sessions, &route, &request, (None, clock::now())).unwrap()
    };
    let brought = read(&token);
    let renewed = |place, now: Moment| brought.renewed(&sessions, place, now).is_some();
    let now = clock::now();
    assert!(!renewed(("eu", Some("r1")), now));
    assert!(!renewed(("eu", Some("r1")), now.plus(Duration::from_secs(440))));
    assert!(renewed(("eu", Some("r1")), now.plus(Duration::from_secs(460))));
    assert!(renewed(("us", Some("r1")), now) && renewed(("eu", Some("r2")), now));
    assert!(renewed(("eu", None), now));
    for bad in ["", "v1", &token[1..]] {
        assert!(read(bad).renewed(&sessions, ("eu", None), now).is_some());
    }
}

proptest! {
    #[test]
    fn no_cookie_header_panics_or_loses_what_is_not_ours(bytes in prop::collection::vec(32..=255_u8, 0..80)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, value.clone());
        let brought = of_cookies(&sessions(), &headers, |it| verify(&sessions(), it, (None, clock::now())));
        prop_assert!(!matches!(brought, Some(Ok(_))));
        take_off(&mut headers, &sessions());
        if brought.is_none() {
            prop_assert_eq!(headers.get(COOKIE), Some(&value));
        }
    }

    #[test]
    fn what_surrounds_our_cookie_is_kept(before in "[a-c=\"]{1,9}", after in "[a-c= \"]{1,9}") {
        let mut headers = HeaderMap::new();
        let text = format!("{before}; tidegate=x;{after}");
        headers.append(COOKIE, HeaderValue::from_str(&text).unwrap());
        take_off(&mut headers, &sessions());
        let kept = format!("{before};{after}");
        prop_assert_eq!(headers[COOKIE].as_bytes(), kept.as_bytes());
    }
}
