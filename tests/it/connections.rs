//! Connections of clients: how long they may be idle, how slowly they may speak, how they part.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::time::{Duration, Instant};

use tidegate_harness::{Connection, H2, Request, wait_until};

use crate::setting::{PolicyText, SOON, Setting};
use crate::traffic::still;

/// A policy whose listener has these deadlines, and whose routes have those.
fn limited(listener: &str, routes: &str) -> PolicyText {
    let listener = format!("timeouts: {{ {listener} }}");
    PolicyText { listener, ..still(&format!("timeouts: {{ {routes} }}")) }
}

/// Sends a byte now and then, for as long as somebody listens; answers how long that was.
fn drip(connection: &mut Connection, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    let mut bytes = bytes.iter().cycle();
    wait_until(SOON, "nobody listens any more", || {
        let next = [*bytes.next().unwrap()];
        connection.send_raw(&next).is_err() || connection.is_closed().unwrap_or(true)
    });
    began.elapsed()
}

#[test]
fn a_head_that_drips_is_not_waited_for() {
    let setting = Setting::of(&["near"], &limited("head: 500ms, keepalive: 60s", ""));
    let mut slow = Connection::open(&setting.url("/")).unwrap();
    slow.send(&Request::get(&setting.url("/"))).unwrap();
    let mut first = Connection::open(&setting.url("/")).unwrap();
    for connection in [&mut slow, &mut first] {
        connection.send_raw(b"GET / HTTP/1.1\r\nhost: a\r\nx-long: ").unwrap();
        let waited = drip(connection, b"long ");
        assert!(Duration::from_millis(400) < waited, "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        let said = String::from_utf8(connection.read_to_end().unwrap_or_default()).unwrap();
        if !said.is_empty() {
            assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        }
    }
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn a_client_that_is_late_is_told() {
    let setting = Setting::of(&["near"], &limited("head: 300ms, keepalive: 60s", ""));
    for start in ["G", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut late = Connection::open(&setting.url("/")).unwrap();
        late.send_raw(start.as_bytes()).unwrap();
        late.set_timeout(SOON).unwrap();
        let reply = late.read_reply("GET").unwrap();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (408, Some("request_timeout")));
        assert!(reply.header("proxy-status").unwrap().starts_with("tidegate; error="));
        assert_eq!(late.read_to_end().unwrap(), b"");
    }
    let late = setting.metric("tidegate_connections_ended_total{cause=\"head\"}");
    assert!((late - 2.0).abs() < 0.5, "{late}");
}

#[test]
fn a_short_request_is_answered() {
    // Shorter than what a client of HTTP/2 begins with.
    let setting = Setting::of(&["near"], &PolicyText::default());
    let mut short = Connection::open(&setting.url("/")).unwrap();
    short.send_raw(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    short.set_timeout(SOON).unwrap();
    assert_eq!(short.read_reply("GET").unwrap().status, 200);
}

#[test]
fn idle_connections_end() {
    let setting = Setting::of(&["near"], &limited("head: 10s, keepalive: 500ms", ""));
    let mut unused = Connection::open(&setting.url("/")).unwrap();
    let mut used = Connection::open(&setting.url("/")).unwrap();
    let h2 = H2::open(&setting.url("/")).unwrap();
    assert_eq!(h2.send(&Request::get(&setting.url("/"))).unwrap().status, 200);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        // Whoever keeps asking is not idle.
        assert_eq!(used.send(&Request::get(&setting.url("/"))).unwrap().status, 200);
    }
    for connection in [&mut unused, &mut used] {
        connection.set_timeout(SOON).unwrap();
        assert_eq!(connection.read_to_end().unwrap(), b"", "it ends without a word");
    }
    wait_until(SOON, "the idle connection of HTTP/2 ends", || h2.is_closed());
}

#[test]
fn a_stream_keeps_its_connection_however_long_it_is_silent() {
    let policy = limited("head: 200ms, keepalive: 200ms", "total: none, idle: 30s");
    let setting = Setting::of(&["near"], &policy);
    let request = Request::get(&setting.url("/sse?events=2&gap_ms=1500"));
    let mut one = request.stream().unwrap();
    let h2 = H2::open(&setting.url("/")).unwrap();
    let mut two = h2.stream(&request).unwrap();
    for number in 0..2 {
        assert_eq!(one.read_event().unwrap().unwrap().json()["n"], number);
        assert_eq!(two.read_event().unwrap().unwrap().json()["n"], number);
    }
    assert!(one.read_event().unwrap().is_none() && two.read_event().unwrap().is_none());
}

#[test]
fn a_body_that_drips_is_not_waited_for() {
    let policy = limited("head: 10s, keepalive: 60s", "body: 500ms, total: 30s");
    let setting = Setting::of(&["near"], &policy);
    let mut one = Connection::open(&setting.url("/")).unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n";
    one.send_raw(head.as_bytes()).unwrap();
    let waited = drip(&mut one, b"x");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
    let post = Request::post(&setting.url("/upload"), "");
    let two = H2::open(&setting.url("/")).unwrap().upload(&post).unwrap();
    wait_until(SOON, "nobody listens any more", || two.send(b"x").is_err());
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn pieces_of_an_answer_flow_as_they_come() {
    let setting = Setting::of(&["near"], &limited("head: 10s", "total: 60s"));
    // With a length, and each piece far smaller than what would fill a packet.
    let request = Request::get(&setting.url("/bytes/30")).header("X-Fault", "drip=50");
    let mut reply = request.stream().unwrap();
    let mut pieces = 0;
    while let Some(piece) = reply.read_piece().unwrap() {
        pieces += usize::from(!piece.is_empty());
    }
    assert!(10 < pieces, "{pieces} pieces of 30 bytes");
}

/// The beginning of a connection over HTTP/2: the preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// A ping over HTTP/2.
const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678";
/// The beginning of a head over HTTP/2 which promises more than it brings.
const HEADERS: &[u8] = b"\x00\x10\x00\x01\x04\x00\x00\x00\x01";

#[test]
fn a_head_that_drips_over_http2_is_not_waited_for() {
    let setting = Setting::of(&["near"], &limited("head: 500ms, keepalive: 60s", ""));
    let mut slow = Connection::open(&setting.url("/")).unwrap();
    slow.send_raw(&[HELLO, HEADERS].concat()).unwrap();
    let began = Instant::now();
    // The balancer talks as well, so that it is gone shows when nothing can be sent any more.
    wait_until(SOON, "nobody listens any more", || slow.send_raw(b"\x00").is_err());
    assert!(Duration::from_millis(400) < began.elapsed(), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn what_comes_between_requests_over_http2_is_no_head() {
    let setting = Setting::of(&["near"], &limited("head: 200ms, keepalive: 60s", ""));
    let mut idle = Connection::open(&setting.url("/")).unwrap();
    idle.send_raw(&[HELLO, PING].concat()).unwrap();
    let began = Instant::now();
    wait_until(SOON, "time passes", || {
        idle.send_raw(PING).unwrap();
        Duration::from_secs(1) < began.elapsed()
    });
}
