//! Silence: a stream may be silent up to its idle limit, however short the limits of plain requests.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::thread::scope;
use std::time::{Duration, Instant};

use tidegate_harness::tungstenite::Message;
use tidegate_harness::{H2, Request, grpc_frame, grpc_messages, wait_until, websocket};

use super::{echo, numbers, towards};
use crate::setting::{SOON, Setting};

/// Shortened: fifteen minutes of silence stand in the same relation to the usual limits.
const DEADLINES: &str = "{ total: 700ms, first_byte: 700ms, idle: 4s }";
/// A multiple of what a plain request gets, and less than a stream may be silent.
const SILENCE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(4);

/// It ended because of its silence, not earlier, and not much later.
#[track_caller]
fn ended_idle(setting: &Setting, id: &str, last_sign: Instant) {
    let silent = last_sign.elapsed();
    assert!(SILENCE < silent && silent < 4 * IDLE, "{id}: {silent:?}");
    let line = setting.line_of(id);
    assert_eq!(line["end"], "timed_out", "{line}");
}

fn rest() {
    let began = Instant::now();
    wait_until(SOON, "it was silent for long enough", || SILENCE <= began.elapsed());
}

fn events(setting: &Setting, id: &str, query: &str) -> Request {
    Request::get(&setting.url(&format!("/sse?{query}"))).header("X-Request-Id", id)
}

fn events_follow_the_idle_rule(protocol: &str) {
    let setting = &Setting::of(&["near"], &towards(protocol, DEADLINES));
    let client = &H2::open(&setting.url("/")).unwrap();
    scope(|threads| {
        threads.spawn(|| {
            let mut stream = events(setting, "one", "events=2&gap_ms=2000").stream().unwrap();
            assert_eq!(numbers(|| stream.read_event()).unwrap(), [0, 1]);
        });
        threads.spawn(|| {
            let mut stream =
                client.stream(&events(setting, "two", "events=2&gap_ms=2000")).unwrap();
            assert_eq!(numbers(|| stream.read_event()).unwrap(), [0, 1]);
        });
        threads.spawn(|| {
            let mut stream = events(setting, "three", "events=1&hold=1").stream().unwrap();
            let first = stream.read_event().unwrap().unwrap().arrived;
            stream.read_event().unwrap_err();
            ended_idle(setting, "three", first);
        });
        threads.spawn(|| {
            let mut stream = client.stream(&events(setting, "four", "events=1&hold=1")).unwrap();
            let first = stream.read_event().unwrap().unwrap().arrived;
            stream.read_event().unwrap_err();
            ended_idle(setting, "four", first);
        });
    });
    for id in ["one", "two"] {
        let line = setting.line_of(id);
        assert_eq!((&line["end"], &line["kind"]), (&"complete".into(), &"stream".into()), "{line}");
    }
}

#[test]
fn events_follow_the_idle_rule_and_not_the_total() {
    events_follow_the_idle_rule("http1");
}

#[test]
fn events_follow_the_idle_rule_over_http2() {
    events_follow_the_idle_rule("h2c");
}

#[test]
fn a_web_socket_may_be_silent_in_both_directions() {
    let setting = &Setting::of(&["near"], &towards("http1", DEADLINES));
    scope(|threads| {
        threads.spawn(|| {
            let mut socket = websocket(&setting.url("/ws"), &[("X-Request-Id", "one")]).unwrap();
            echo(&mut socket, "first");
            rest();
            echo(&mut socket, "after a while");
            socket.close(None).unwrap();
            while socket.read().is_ok() {}
            let line = setting.line_of("one");
            let told = (&line["end"], &line["kind"], &line["status"]);
            assert_eq!(told, (&"complete".into(), &"websocket".into(), &101.into()), "{line}");
        });
        threads.spawn(|| {
            let mut socket = websocket(&setting.url("/ws"), &[("X-Request-Id", "two")]).unwrap();
            echo(&mut socket, "first");
            let last = Instant::now();
            socket.read().unwrap_err();
            ended_idle(setting, "two", last);
        });
        threads.spawn(|| {
            // It never says a word, so only its client's and its endpoint's patience counts.
            let mut socket = websocket(&setting.url("/ws"), &[]).unwrap();
            rest();
            socket.send(Message::text("late")).unwrap();
            assert_eq!(socket.read().unwrap(), Message::text("late"));
        });
    });
}

#[test]
fn a_grpc_call_may_be_quiet_in_both_directions() {
    let setting = &Setting::of(&["near"], &towards("http1", DEADLINES));
    let call = |id: &str| {
        let url = setting.url("/tidegate.test.Echo/Bidi");
        let call = Request::new("POST", &url).header("content-type", "application/grpc");
        call.header("te", "trailers").header("X-Request-Id", id)
    };
    let client = &H2::open(&setting.url("/")).unwrap();
    scope(|threads| {
        threads.spawn(|| {
            let mut upload = client.upload(&call("one")).unwrap();
            let mut answer = upload.answer().unwrap();
            assert_eq!(answer.head.header("x-region"), Some("near"));
            for message in ["first", "after a while"] {
                upload.send(&grpc_frame(message.as_bytes())).unwrap();
                let got = answer.read_piece().unwrap().unwrap();
                assert_eq!(grpc_messages(&got), [message.as_bytes()]);
                rest();
            }
            upload.finish();
            assert_eq!(answer.read_piece().unwrap(), None);
            assert_eq!(answer.head.trailer("grpc-status"), Some("0"));
            assert_eq!(answer.head.trailer("x-echo-trailer"), Some("present"));
            let line = setting.line_of("one");
            assert_eq!(
                (&line["end"], &line["kind"]),
                (&"complete".into(), &"grpc".into()),
                "{line}"
            );
        });
        threads.spawn(|| {
            let mut upload = client.upload(&call("two")).unwrap();
            let mut answer = upload.answer().unwrap();
            upload.send(&grpc_frame(b"first")).unwrap();
            assert!(answer.read_piece().unwrap().is_some());
            let last = Instant::now();
            answer.read_piece().unwrap_err();
            ended_idle(setting, "two", last);
        });
    });
}

#[test]
fn events_on_a_plain_route_have_no_total_either() {
    let mut policy = towards("http1", DEADLINES);
    policy.routes = "  - { name: plain, match: { path: / } }".to_owned();
    let setting = Setting::of(&["near"], &policy);
    let mut stream = events(&setting, "one", "events=15&gap_ms=100").stream().unwrap();
    assert_eq!(numbers(|| stream.read_event()).unwrap(), (0..15).collect::<Vec<u64>>());
    let line = setting.line_of("one");
    assert_eq!((&line["end"], &line["kind"]), (&"complete".into(), &"stream".into()), "{line}");
}
