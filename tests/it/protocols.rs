//! Protocols: what goes in at the door comes out at an endpoint, and the other way, unchanged.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use tidegate_harness::tungstenite::Message;
use tidegate_harness::{Connection, H2, Reply, Request, grpc_frame, grpc_messages, websocket};

use crate::setting::{PolicyText, Setting};
use crate::traffic::{pattern, still};

pub(crate) mod bodies;
mod clients;
mod malformed;
pub(crate) mod scripted;

/// What regions can speak.
const PROTOCOLS: [&str; 2] = ["http1", "h2c"];

/// A world that holds still, in front of regions that speak a protocol.
fn towards(protocol: &str) -> PolicyText {
    PolicyText { region: format!("protocol: {protocol}"), ..still("") }
}

/// The same request over both protocols of clients.
fn both(setting: &Setting, request: &Request) -> [Reply; 2] {
    let over_h2 = H2::open(&setting.url("/")).unwrap().send(request).unwrap();
    [request.send().unwrap(), over_h2]
}

#[test]
fn answers_pass_as_the_endpoint_gave_them() {
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near"], &towards(protocol));
        for status in [200, 201, 204, 304, 400, 404, 409, 418, 500, 502, 503, 599] {
            let path = format!("/status/{status}");
            let direct = Request::get(&setting.regions[0].url(&path)).send().unwrap();
            for reply in both(&setting, &Request::get(&setting.url(&path))) {
                assert_eq!((reply.status, &reply.body), (status, &direct.body), "{protocol}");
                assert_eq!(reply.header("x-region"), Some("near"), "{protocol} {status}");
                assert_eq!(reply.header("proxy-status"), None, "the answer is not ours");
            }
        }
        for path in ["/echo", "/bytes/100000"] {
            let direct = Request::new("HEAD", &setting.regions[0].url(path)).send().unwrap();
            for reply in both(&setting, &Request::new("HEAD", &setting.url(path))) {
                assert_eq!((reply.status, reply.body.len()), (200, 0), "{protocol} {path}");
                if path == "/bytes/100000" {
                    let length = reply.header("content-length");
                    assert_eq!(length, direct.header("content-length"), "{protocol} {path}");
                }
            }
        }
        for reply in both(&setting, &Request::get(&setting.url("/bytes/100000"))) {
            assert!(reply.body == pattern(100_000), "{protocol}");
        }
    }
}

#[test]
fn one_connection_carries_a_head_an_empty_answer_and_whatever_follows() {
    let setting = Setting::of(&["near"], &still(""));
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    let paths = ["/status/204", "/echo", "/status/304", "/bytes/70000", "/status/404", "/bytes/0"];
    for method in ["GET", "HEAD", "POST"] {
        for path in paths {
            let reply = connection.send(&Request::new(method, &setting.url(path))).unwrap();
            assert_eq!(reply.header("x-region"), Some("near"), "{method} {path}");
            assert_ne!(reply.header("connection"), Some("close"), "{method} {path}");
        }
    }
    assert!(!connection.is_closed().unwrap());
}

#[test]
fn one_connection_of_a_client_reaches_every_region() {
    for protocol in PROTOCOLS {
        let setting = Setting::three(&towards(protocol));
        let mut one = Connection::open(&setting.url("/")).unwrap();
        let two = H2::open(&setting.url("/")).unwrap();
        for region in ["near", "middle", "far", "far", "middle", "near"] {
            let request = Request::post(&setting.url("/echo"), "x").header("X-Region-Pin", region);
            let version = if protocol == "h2c" { "HTTP/2.0" } else { "HTTP/1.1" };
            for reply in [one.send(&request).unwrap(), two.send(&request).unwrap()] {
                assert_eq!(reply.header("x-region"), Some(region));
                let said = reply.json();
                assert_eq!((&said["region"], &said["body_bytes"]), (&region.into(), &1.into()));
                assert_eq!(said["version"], version, "what the policy says of the region");
            }
        }
        assert!(!one.is_closed().unwrap() && !two.is_closed());
        let connections: u64 =
            setting.regions.iter().map(tidegate_harness::FakeRegion::connections).sum();
        assert!(connections <= 9, "endpoints are not connected to for each request: {connections}");
    }
}

#[test]
fn a_web_socket_reaches_the_region_that_it_is_pinned_to() {
    for protocol in PROTOCOLS {
        let setting = Setting::three(&towards(protocol));
        let headers = [("X-Region-Pin", "middle"), ("X-Request-Id", "pinned")];
        let mut socket = websocket(&setting.url("/ws"), &headers).unwrap();
        for message in
            [Message::text("hello"), Message::binary(pattern(300_000)), Message::text("")]
        {
            socket.send(message.clone()).unwrap();
            assert!(socket.read().unwrap() == message, "{protocol}");
        }
        socket.send(Message::text("close:4001:enough")).unwrap();
        let Message::Close(Some(frame)) = socket.read().unwrap() else {
            panic!("the region closes, with its own words");
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "enough"));
        while socket.read().is_ok() {}
        let line = setting.line_of("pinned");
        let told = (&line["kind"], &line["region"], &line["reason"], &line["status"]);
        let wanted = (&"websocket".into(), &"middle".into(), &"pin".into(), &101.into());
        assert_eq!(told, wanted, "{line}");
        assert!(line["bytes_in"].as_u64() > Some(300_000), "{line}");
        assert!(line["bytes_out"].as_u64() > Some(300_000), "{line}");
    }
}

#[test]
fn a_refused_web_socket_is_an_ordinary_answer() {
    let setting = Setting::of(&["near"], &still(""));
    // Nobody speaks WebSocket here.
    let error = websocket(&setting.url("/status/403"), &[("X-Request-Id", "no")]).unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(setting.line_of("no")["status"], 403);
    assert_eq!(setting.served_by(), "near");
}

#[test]
fn trailers_pass_over_http2() {
    let setting = Setting::of(&["near", "far"], &still(""));
    let client = H2::open(&setting.url("/")).unwrap();
    for (method, status, messages) in [
        ("Unary", "0", &[&b"hello"[..]][..]),
        ("FailLate", "9", &[b"hello"]),
        ("Fail", "9", &[]),
        ("FailAtOnce", "9", &[]),
        ("Nothing", "12", &[]),
    ] {
        let url = setting.url(&format!("/tidegate.test.Echo/{method}"));
        let call = Request::post(&url, grpc_frame(b"hello")).header("te", "trailers");
        let call = call.header("content-type", "application/grpc").header("X-Request-Id", method);
        let reply = client.send(&call).unwrap();
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("near")), "{method}");
        assert_eq!(grpc_messages(&reply.body), messages, "{method}");
        let told = reply.trailer("grpc-status").or(reply.header("grpc-status"));
        assert_eq!(told, Some(status), "{method}: {reply:?}");
        let other = reply.trailer("x-echo-trailer").or(reply.header("x-echo-trailer"));
        assert_eq!(other, Some("present"), "{method}");
        assert_eq!(setting.line_of(method)["kind"], "grpc");
    }
}

#[test]
fn targets_pass_as_they_were_written() {
    let long = format!("/{}?{}", "a".repeat(7000), "b=c&".repeat(1000));
    let targets = "/ /? /a? /a//b //a ///a /a/../b /a/./b /%2e%2e/a /a%2Fb /a%20b /%C3%BC /%zz /% \
                   /a;b=c /~x!$&'()*+,;=:@ /a|b /{a} /a\\b /* /a?b=c?d=e&f /a?%00 /a?q=a+b%20c \
                   /a?http://b/c /a?b#c /http://a/b /.well-known/x /a=b&c /a?=&&==";
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near"], &towards(protocol));
        let client = H2::open(&setting.url("/")).unwrap();
        for target in targets.split(' ').filter(|it| !it.is_empty()).chain([long.as_str()]) {
            let said = |reply: &Reply| {
                assert_eq!(reply.status, 200, "{protocol} {target}: {}", reply.text());
                let said = reply.json();
                (said["path"].clone(), said["query"].clone())
            };
            let direct = Request::get(&setting.regions[0].url(target)).send().unwrap();
            let request = Request::get(&setting.url(target));
            assert_eq!(said(&request.send().unwrap()), said(&direct), "{protocol}");
            assert_eq!(said(&client.send(&request).unwrap()), said(&direct), "{protocol} h2");
        }
    }
}
