//! Streams: they flow as they come, follow the idle rule, and outlive what happens around them.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::io;
use std::time::{Duration, Instant};

use tidegate_harness::tungstenite::{Message, WebSocket};
use tidegate_harness::{Connection, Event, H2, Request, wait_until, websocket};

use crate::setting::{PolicyText, SOON, Setting};
use crate::traffic::{pattern, still};

mod alone;
mod ends;
mod first_byte;
mod silence;

/// A policy with one route for streams and one for everything else, under these deadlines.
fn streaming(timeouts: &str) -> PolicyText {
    PolicyText {
        routes: "  - { name: streams, match: { path: /sse }, stream: true }\n\
                 \x20 - { name: uploads, match: { path: /upload }, stream: true }\n\
                 \x20 - { name: plain, match: { path: / } }"
            .to_owned(),
        ..still(&format!("timeouts: {timeouts}"))
    }
}

/// The same, towards regions that speak this protocol.
fn towards(protocol: &str, timeouts: &str) -> PolicyText {
    PolicyText { region: format!("protocol: {protocol}"), ..streaming(timeouts) }
}

impl Setting {
    /// Requests that are open in the nearest region.
    fn open_in_near(&self) -> u64 {
        self.region("near")["open"].as_u64().unwrap()
    }
}

/// Sends a text and waits for its echo.
pub(crate) fn echo(socket: &mut WebSocket<std::net::TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(text));
}

/// The numbers of the events that are left.
pub(crate) fn numbers(mut read: impl FnMut() -> io::Result<Option<Event>>) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    while let Some(event) = read()? {
        numbers.push(event.json()["n"].as_u64().unwrap());
    }
    Ok(numbers)
}

#[test]
fn answers_end_whole_while_their_region_turns_mismatched() {
    let probe = "interval: 200ms, timeout: 500ms, stale_after: 3s".to_owned();
    let policy = PolicyText { probe, ..streaming("{ total: 30s }") };
    let setting = Setting::of(&["near", "far"], &policy);
    let events = Request::get(&setting.url("/sse?events=40&gap_ms=50"));
    let mut events = events.header("X-Request-Id", "events").stream().unwrap();
    assert_eq!(events.read_event().unwrap().unwrap().json()["n"], 0);
    // More than the buffers on the way hold, and the rest of it is not read for a while.
    let large = Request::get(&setting.url("/bytes/16000000")).header("X-Request-Id", "large");
    let mut large = large.stream().unwrap();
    let began = large.read_piece().unwrap().unwrap();

    setting.regions[0].set_key("index_hash", "other");
    setting.until_verdict("near", "mismatched");
    assert_eq!(setting.served_by(), "far", "new requests go elsewhere");
    assert!(setting.open_in_near() > 0, "and answers that have begun still come");

    assert_eq!(numbers(|| events.read_event()).unwrap(), (1..40).collect::<Vec<u64>>());
    let large = [began, large.read_rest().unwrap()].concat();
    assert!(large == pattern(16_000_000), "{} bytes", large.len());
    for id in ["events", "large"] {
        let line = setting.line_of(id);
        assert_eq!((&line["end"], &line["region"]), (&"complete".into(), &"near".into()), "{line}");
    }
}

#[test]
fn a_drained_region_keeps_its_streams() {
    let setting = Setting::of(&["near", "far"], &streaming("{ total: 30s }"));
    let mut events = Request::get(&setting.url("/sse?events=40&gap_ms=50")).stream().unwrap();
    let client = H2::open(&setting.url("/")).unwrap();
    let mut over_h2 =
        client.stream(&Request::get(&setting.url("/sse?events=40&gap_ms=50"))).unwrap();
    let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut socket, "before");
    assert_eq!(events.read_event().unwrap().unwrap().json()["region"], "near");
    assert_eq!(over_h2.read_event().unwrap().unwrap().json()["region"], "near");

    setting.operate("near", "drain");
    wait_until(SOON, "new requests go elsewhere", || setting.served_by() == "far");
    assert!(setting.open_in_near() > 0, "and what is open stays open");
    echo(&mut socket, "drained");
    let mut other = websocket(&setting.url("/ws"), &[]).unwrap();
    echo(&mut other, "elsewhere");
    assert_eq!(setting.regions[1].effects().iter().filter(|it| it.path == "/ws").count(), 1);

    let rest: Vec<u64> = (1..40).collect();
    assert_eq!(numbers(|| events.read_event()).unwrap(), rest);
    assert_eq!(numbers(|| over_h2.read_event()).unwrap(), rest);
    echo(&mut socket, "still there");
    setting.operate("near", "undrain");
    wait_until(SOON, "it has its traffic back", || setting.served_by() == "near");
    echo(&mut socket, "and after");
}

/// Two clients upload at the pace of a slow link, for longer than a plain exchange may last.
fn slow_upload(protocol: &str, idle: &str) {
    let deadlines = format!("{{ total: 1s, first_byte: 1s, idle: {idle} }}");
    let setting = Setting::of(&["near"], &towards(protocol, &deadlines));
    let body = pattern(60_000);
    let direct = Request::post(&setting.regions[0].url("/upload"), body.clone());
    let wanted = direct.send().unwrap().json();
    let mut one = Connection::open(&setting.url("/")).unwrap();
    let head =
        "POST /upload HTTP/1.1\r\nhost: a\r\nx-test-id: one\r\ncontent-length: 60000\r\n\r\n";
    one.send_raw(head.as_bytes()).unwrap();
    let post = Request::post(&setting.url("/upload"), "").header("X-Test-Id", "two");
    let mut two = H2::open(&setting.url("/")).unwrap().upload(&post).unwrap();
    drip(&body, Duration::from_secs(3), |piece| {
        one.send_raw(piece).unwrap();
        two.send(piece).unwrap();
    });
    two.finish();
    one.set_timeout(SOON).unwrap();
    let reply = one.read_reply("POST").unwrap();
    assert_eq!(reply.json(), wanted, "{protocol} over HTTP/1.1");
    let mut reply = two.answer().unwrap();
    let got = reply.read_piece().unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(said, wanted, "{protocol} over HTTP/2");
    assert_eq!((setting.effects("one"), setting.effects("two")), ((1, 1), (1, 1)));
}

#[test]
fn a_slow_upload_arrives_whole() {
    // Longer than a stream may be silent, too: it never is.
    slow_upload("http1", "2s");
}

#[test]
fn a_slow_upload_arrives_whole_over_http2() {
    // Pingora's clock of such an exchange runs until the first byte of the answer.
    slow_upload("h2c", "20s");
}

/// Hands a body over piece by piece, in this time.
fn drip(body: &[u8], time: Duration, mut send: impl FnMut(&[u8])) {
    let began = Instant::now();
    let pieces = body.chunks(body.len().div_ceil(30));
    for (nth, piece) in pieces.enumerate() {
        let due = time * u32::try_from(nth).unwrap() / 30;
        wait_until(SOON, "the next piece is due", || due <= began.elapsed());
        send(piece);
    }
}
