//! A hard deadline: it closes what is silent, and nothing that it is not about.

use serde_json::{Value, json};
use tidegate_harness::{Connection, H2, Request, wait_until, websocket};

use super::{counts, echo, operate, policy, say};
use crate::setting::{PolicyText, SOON, Setting};

const DEADLINE: &str = "drain: { overdue_after: 200ms, hard_deadline: 1s }";

/// Streams that say nothing any more, in a region that speaks this protocol, beside others of a
/// region that stays.
fn closes_what_is_silent(protocol: &str) {
    let region = format!("protocol: {protocol}");
    let setting = Setting::of(&["near", "far"], &PolicyText { region, ..policy(DEADLINE) });
    let sse =
        |id: &str| Request::get(&setting.url("/sse?events=1&hold=1")).header("X-Request-Id", id);
    let mut events = sse("events").stream().unwrap();
    events.read_event().unwrap().unwrap();
    let client = H2::open(&setting.url("/")).unwrap();
    let mut over_h2 = client.stream(&sse("h2")).unwrap();
    over_h2.read_event().unwrap().unwrap();
    let mut socket = websocket(&setting.url("/ws"), &[("X-Request-Id", "socket")]).unwrap();
    echo(&mut socket, "first");
    let bidi = || {
        let url = setting.url("/tidegate.test.Echo/Bidi");
        let call = Request::new("POST", &url).header("content-type", "application/grpc");
        call.header("te", "trailers")
    };
    let caller = H2::open(&setting.url("/")).unwrap();
    let mut asking = caller.upload(&bidi().header("X-Request-Id", "call")).unwrap();
    let answering = asking.answer().unwrap();
    let mut call = (asking, answering);
    say(&mut call, "first");
    // The same, where nothing is drained.
    let mut other_socket = websocket(&setting.url("/ws"), &[("X-Region-Pin", "far")]).unwrap();
    let mut asking = caller.upload(&bidi().header("X-Region-Pin", "far")).unwrap();
    let answering = asking.answer().unwrap();
    let mut other_call = (asking, answering);

    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    events.set_timeout(SOON).unwrap();
    events.read_event().unwrap_err();
    over_h2.read_event().unwrap_err();
    while socket.read().is_ok() {}
    while call.1.read_piece().is_ok_and(|it| it.is_some()) {}
    let drain = setting.until_empty("near");
    assert_eq!(counts(&drain), [4, 0, 0, 0, 0, 0, 4], "{drain}");
    assert_eq!((&drain["forced"], &drain["clean"]), (&json!(true), &json!(false)));
    assert!(1_000 <= drain["took_ms"].as_u64().unwrap(), "{drain}");
    for id in ["events", "h2", "socket", "call"] {
        let line = setting.line_of(id);
        assert_eq!((&line["end"], &line["region"]), (&json!("forced"), &json!("near")), "{line}");
    }
    let labels = r#"region="near",cause="operator",outcome="forced""#;
    assert_eq!(setting.count_of(&format!("tidegate_drain_outcomes_total{{{labels}}}")), 4);
    let logs = setting.balancer.logs();
    assert!(logs.contains("drain reached its hard deadline"), "{logs}");

    echo(&mut other_socket, "untouched");
    say(&mut other_call, "untouched");
    assert_eq!(operate(&setting, &["undrain", "near"]).code, Some(0));
    let mut again = websocket(&setting.url("/ws"), &[]).unwrap();
    let mut events = sse("again").stream().unwrap();
    assert_eq!(events.head.header("x-region"), Some("near"));
    events.read_event().unwrap().unwrap();
    echo(&mut again, "what comes later is not closed");
    assert_eq!(setting.metric(r#"tidegate_ejections_total{region="near"}"#).to_string(), "0");
    wait_until(SOON, "both are open", || setting.region("near")["open"] == 2);
}

#[test]
fn it_closes_what_is_silent() {
    closes_what_is_silent("http1");
}

#[test]
fn it_closes_what_is_silent_over_http2() {
    closes_what_is_silent("h2c");
}

#[test]
fn an_answer_or_an_upload_that_goes_on_is_closed_at_its_next_piece() {
    let setting = Setting::of(&["near", "far"], &policy(DEADLINE));
    // On a route without streams, so its connection is an ordinary one.
    let large = Request::get(&setting.url("/bytes/64000000")).header("X-Request-Id", "large");
    let mut large = large.stream().unwrap();
    large.read_piece().unwrap().unwrap();
    let mut upload = Connection::open(&setting.url("/")).unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\nx-request-id: upload\r\n\
                content-length: 60000\r\n\r\n";
    upload.send_raw(head.as_bytes()).unwrap();
    wait_until(SOON, "both are open", || setting.region("near")["open"] == 2);
    assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
    wait_until(SOON, "its time is over", || setting.drain("near")["forced"] == true);
    upload.send_raw(&[b'x'; 1_000]).unwrap();
    large.read_rest().unwrap_err();
    let drain = setting.until_empty("near");
    assert_eq!(counts(&drain), [2, 0, 0, 0, 0, 0, 2], "{drain}");
    for id in ["large", "upload"] {
        let line = setting.line_of(id);
        assert_eq!(line["end"], "forced", "{line}");
    }
}

#[test]
fn a_request_that_waits_for_its_first_byte_goes_elsewhere_if_it_is_safe() {
    let setting = Setting::of(&["near", "far"], &policy(DEADLINE));
    setting.regions[0].set_latency(SOON * 3);
    let reply = std::thread::scope(|threads| {
        let url = setting.url("/sse?events=1");
        let waiting = threads.spawn(move || Request::get(&url).send().unwrap());
        wait_until(SOON, "it is open", || setting.region("near")["open"] == 1);
        assert_eq!(operate(&setting, &["drain", "near"]).code, Some(0));
        waiting.join().unwrap()
    });
    assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
    let drain: Value = setting.until_empty("near");
    assert_eq!(counts(&drain), [1, 0, 0, 0, 0, 0, 1], "{drain}");
}
