//! Streams that are resumed where they were, and answers that never end.

use tidegate_harness::{Fault, H2, Request};

use super::{HEADER, cookie, sticky, token_of};
use crate::setting::{Setting, in_short};

#[test]
fn a_resumed_stream_returns_to_its_region_although_a_nearer_one_is_back() {
    let setting = Setting::three(&sticky("stream", ""));
    setting.regions[0].set_fault(Fault::Refuse);
    setting.until_verdict("near", "dark");
    let first = Request::get(&setting.url("/sse?events=3&gap_ms=1")).stream().unwrap();
    assert_eq!(in_short(&first.head), "middle nearest");
    let token = token_of(&first.head).expect("a token");
    setting.regions[0].clear_fault();
    setting.until_serving("near");
    assert_eq!(setting.comes_to("/", &[]), "near nearest");

    let url = setting.url("/sse?events=6");
    let resumed = Request::get(&url).header("Cookie", &cookie(&token)).header("Last-Event-ID", "2");
    let mut resumed = resumed.stream().unwrap();
    assert_eq!(in_short(&resumed.head), "middle session");
    assert_eq!(token_of(&resumed.head), None);
    assert_eq!(resumed.read_event().unwrap().unwrap().json()["n"], 3);
    // Only what is resumed comes back.
    let fresh = Request::get(&url).header("Cookie", &cookie(&token)).stream().unwrap();
    assert_eq!(in_short(&fresh.head), "near nearest");
    assert!(token_of(&fresh.head).expect("a token").contains(".near."));
}

#[test]
fn streams_over_http_2_carry_the_token_in_their_head() {
    let setting = Setting::three(&sticky("session", ""));
    let far = setting.session_in("far");
    let h2 = H2::open(&setting.url("")).unwrap();
    let request = Request::get(&setting.url("/sse?events=2"));
    let fresh = h2.stream(&request).unwrap();
    assert!(token_of(&fresh.head).is_some());
    let mut back = h2.stream(&request.header(HEADER, &far)).unwrap();
    assert_eq!(in_short(&back.head), "far session");
    assert_eq!(back.read_event().unwrap().unwrap().json()["n"], 0);
}

#[test]
fn an_upgraded_connection_gets_the_token_with_its_101() {
    let setting = Setting::three(&sticky("session", ""));
    let upgrade = |headers: &[(&str, &str)]| {
        let request = Request::get(&setting.url("/ws"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = headers.iter().fold(request, |it, (name, value)| it.header(name, value));
        let head = request.stream().unwrap().head.clone();
        assert_eq!(head.status, 101, "{head:?}");
        (in_short(&head), token_of(&head))
    };
    let (to, token) = upgrade(&[]);
    assert_eq!(to, "near nearest");
    assert!(token.expect("a token").contains(".near."));
    let far = setting.session_in("far");
    assert_eq!(upgrade(&[(HEADER, &far)]), ("far session".to_owned(), None));
    assert_eq!(upgrade(&[("Cookie", &cookie(&far))]), ("far session".to_owned(), None));
}
