//! Malformed requests: none is passed on in another meaning, and none hurts the next one.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]

use tidegate_harness::{Connection, H2, Request};

use crate::setting::{SOON, Setting};
use crate::traffic::still;

/// Sends bytes on a connection of their own.
fn send(setting: &Setting, bytes: &[u8]) -> Connection {
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    connection.set_timeout(SOON).unwrap();
    // It may answer, and close, before it has seen everything.
    connection.send_raw(bytes).ok();
    connection
}

/// The balancer is alive, serves what comes next, and has passed nothing on that hid in a body.
#[track_caller]
fn is_well(setting: &Setting, after: &str) {
    let reply = Request::get(&setting.url("/well")).send().unwrap();
    assert_eq!(reply.status, 200, "after {after}");
    assert_eq!(setting.balancer.exit_status(), None, "after {after}");
    let smuggled = setting.regions[0].effects().into_iter().find(|it| it.path == "/smuggled");
    assert_eq!(smuggled, None, "after {after}");
}

/// A request head of these lines.
fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

#[test]
fn what_is_no_request_is_refused() {
    let setting = Setting::of(&["near"], &still(""));
    let large = format!("x: {}", "y".repeat(3 << 20));
    let target = format!("GET /{} HTTP/1.1", "x".repeat(3 << 20));
    let many = vec!["x: y"; 300].join("\r\n");
    let refused = [
        &["GET / HTTP/9.9", "host: a"][..],
        &["GET / HTTP/2.0", "host: a"],
        &["GET / HTTP/1.1", "host: a", "host: b"],
        &["GET / HTTP/1.1", "host : a"],
        &["GET / HTTP/1.1", "host: a", " folded: b"],
        &["GET / HTTP/1.1", "host: a", "x: a\0b"],
        &["GET / HTTP/1.1", "host: a", "x y: b"],
        &["G\u{e9}T / HTTP/1.1", "host: a"],
        &["GET http://b/ HTTP/1.1", "host: a"],
        &["POST / HTTP/1.1", "host: a", "content-length: -1"],
        &["POST / HTTP/1.1", "host: a", "content-length: 1x"],
        &["POST / HTTP/1.1", "host: a", "content-length: 1", "content-length: 2"],
        &["POST / HTTP/1.1", "host: a", "content-length: 99999999999999999999"],
        &["POST / HTTP/1.1", "host: a", "transfer-encoding: xchunked"],
        &["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked, identity"],
        &["POST / HTTP/1.0", "host: a", "transfer-encoding: chunked"],
        &["GET / HTTP/1.1", "host: a", &large],
        &["GET / HTTP/1.1", "host: a", &many],
        &[&target, "host: a"],
    ];
    for lines in refused {
        let bytes = head(lines);
        let shown: String = String::from_utf8_lossy(&bytes).chars().take(120).collect();
        let reply = send(&setting, &bytes).read_reply("POST").unwrap();
        assert_eq!(reply.status, 400, "{shown:?}");
        is_well(&setting, &shown);
    }
    let effects = setting.regions[0].effects();
    assert!(effects.iter().all(|it| it.path == "/well"), "none of them arrived: {effects:?}");
}

#[test]
fn a_body_that_is_none_is_refused() {
    let setting = Setting::of(&["near"], &still(""));
    for body in ["zz\r\nx\r\n0\r\n\r\n", "ffffffffffffffffff\r\nx", "2\r\nabcd\r\n0\r\n\r\n"] {
        let mut bytes = head(&["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"]);
        bytes.extend_from_slice(body.as_bytes());
        let reply = send(&setting, &bytes).read_reply("POST").unwrap();
        assert_eq!(reply.status, 400, "{body:?}");
        is_well(&setting, body);
    }
    let mut effects = setting.regions[0].effects().into_iter();
    assert!(effects.all(|it| it.path == "/well" || it.executed == 0), "half of a body is none");
}

#[test]
fn what_ends_too_early_is_forgotten() {
    let setting = Setting::of(&["near"], &still(""));
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let cut = [
        "",
        "\0",
        "G",
        "\r\n\r\n",
        "GET / HT",
        "GET / HTTP/1.1\r\nhost: a",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "\x16\x03\x01\x02\0\x01\0\x01\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nxx",
        preface,
        &format!("{preface}nonsense that is no frame at all, and long enough to be one"),
        &format!("{preface}\0\0\x04\x01\x05\0\0\0\x01\x7f\x7f\x7f\x7f"),
        &format!("{preface}\0\0\0\x04\0\0\0\0\0\0\0\x08\x01\x04\0\0\0\x01\0\0\0\0\0\0\0\0"),
    ];
    for bytes in cut {
        let mut connection = send(&setting, bytes.as_bytes());
        connection.finish_sending().ok();
        // A reset is an end as well.
        let got = connection.read_to_end().unwrap_or_default();
        assert!(!got.starts_with(b"HTTP/1.1 2"), "{bytes:?}");
        is_well(&setting, bytes);
    }
}

#[test]
fn a_request_that_hides_in_another_is_not_served() {
    let setting = Setting::of(&["near"], &still(""));
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let outer = [
        &["GET / HTTP/1.1", "host: a"][..],
        &["GET / HTTP/1.1", "host: a", "upgrade: foo", "connection: upgrade"],
        &["POST / HTTP/1.1", "host: a", "content-length: 0"],
        &["POST / HTTP/1.1", "host: a", "content-length: 5", "transfer-encoding: chunked"],
        &["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked", "connection: content-length"],
    ];
    for lines in outer {
        let mut bytes = head(lines);
        if lines.iter().any(|it| it.contains("chunked")) {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        bytes.extend_from_slice(hidden.as_bytes());
        let mut connection = send(&setting, &bytes);
        // The outer one may be answered or refused; then the connection is over.
        connection.read_reply("POST").ok();
        connection.read_to_end().ok();
        is_well(&setting, &lines.join(" | "));
    }
}

#[test]
fn a_large_head_within_the_limits_passes() {
    let setting = Setting::of(&["near"], &still(""));
    let value = "y".repeat(60_000);
    let mut request = Request::get(&setting.url("/echo")).header("x-large", &value);
    for nth in 0..60 {
        request = request.header(&format!("x-{nth}"), "z");
    }
    let said = request.send().unwrap().json();
    assert_eq!(said["headers"]["x-large"], serde_json::json!([value]));
    assert_eq!(said["headers"]["x-59"], serde_json::json!(["z"]));
    let client = H2::open(&setting.url("/")).unwrap();
    let small = Request::get(&setting.url("/echo")).header("x-large", &value[..30_000]);
    assert_eq!(client.send(&small).unwrap().status, 200);
    // More than a header list of HTTP/2 may have here.
    let large = Request::get(&setting.url("/echo")).header("x-large", &"y".repeat(200_000));
    if let Ok(reply) = client.send(&large) {
        assert!((400..500).contains(&reply.status), "{reply:?}");
    }
    is_well(&setting, "a large head");
}
