//! The first byte: a stream may be silent for long, but its answer has to begin in time.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use tidegate_harness::{Connection, Fault, Request, wait_until};

use super::{echo, numbers, towards};
use crate::setting::{SOON, Setting};
use crate::traffic::is_problem;

/// Nobody waits for an idle limit of ten minutes.
const DEADLINES: &str = "{ total: none, first_byte: 700ms, idle: 10m }";

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn events(setting: &Setting, id: &str, query: &str) -> Request {
    Request::get(&setting.url(&format!("/sse?{query}"))).header("X-Request-Id", id)
}

fn is_not_waited_for(protocol: &str) {
    let setting = Setting::of(&["near"], &towards(protocol, DEADLINES));
    let mut running = events(&setting, "running", "events=30&gap_ms=100").stream().unwrap();
    running.read_event().unwrap().unwrap();
    setting.regions[0].set_fault(Fault::HangRequests);
    is_problem(&events(&setting, "get", "events=1").send().unwrap(), 504, "endpoint_timeout");
    let post = Request::post(&setting.url("/sse?events=1"), "hello");
    let post = post.header("X-Request-Id", "post").send().unwrap();
    is_problem(&post, 504, "endpoint_timeout");
    assert!(post.text().contains("may have been executed"), "{}", post.text());
    let mut socket = Connection::open(&setting.url("/")).unwrap();
    let head = format!("GET /ws HTTP/1.1\r\nhost: a\r\nx-request-id: ws\r\n{UPGRADE}\r\n");
    socket.send_raw(head.as_bytes()).unwrap();
    socket.set_timeout(SOON).unwrap();
    is_problem(&socket.read_reply("GET").unwrap(), 504, "endpoint_timeout");
    for id in ["get", "post", "ws"] {
        let line = setting.line_of(id);
        assert_eq!((&line["end"], &line["attempts"]), (&"timed_out".into(), &1.into()), "{line}");
    }
    // What shares the connection to the endpoint, or its policy, goes on.
    assert_eq!(numbers(|| running.read_event()).unwrap(), (1..30).collect::<Vec<u64>>());
    wait_until(SOON, "nothing is left open", || setting.open_in_near() == 0);
}

#[test]
fn an_endpoint_that_does_not_begin_to_answer_is_not_waited_for() {
    is_not_waited_for("http1");
}

#[test]
fn an_endpoint_that_does_not_begin_to_answer_is_not_waited_for_over_http2() {
    is_not_waited_for("h2c");
}

#[test]
fn a_safe_request_goes_elsewhere_when_the_answer_does_not_begin() {
    for protocol in ["http1", "h2c"] {
        let setting = Setting::of(&["near", "far"], &towards(protocol, DEADLINES));
        setting.regions[0].set_fault(Fault::HangRequests);
        let mut stream = events(&setting, "one", "events=3&gap_ms=1000").stream().unwrap();
        assert_eq!((stream.head.status, stream.head.header("x-region")), (200, Some("far")));
        assert_eq!(numbers(|| stream.read_event()).unwrap(), [0, 1, 2]);
        let mut socket = tidegate_harness::websocket(&setting.url("/ws"), &[]).unwrap();
        echo(&mut socket, "over there");
    }
}
