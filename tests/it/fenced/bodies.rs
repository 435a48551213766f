//! Bodies of every size and framing arrive byte for byte, and once.
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tidegate_harness::{Connection, H2, Reply, Request, wait_until};

use super::{fenced, is_replay, order};
use crate::protocols::bodies::{chunked, interim};
use crate::setting::{SOON, Setting};
use crate::traffic::{is_problem, pattern};

const SIZES: [usize; 7] =
    [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000, 10 * 1024 * 1024];

/// What a region says of a body that it gets directly.
fn said_of(setting: &Setting, body: &[u8]) -> Value {
    let direct = Request::post(&setting.regions[0].url("/orders"), body).send().unwrap().json();
    Value::from(vec![direct["body_bytes"].clone(), direct["body_sha256"].clone()])
}

fn told(said: &Value) -> Value {
    Value::from(vec![said["body_bytes"].clone(), said["body_sha256"].clone()])
}

#[test]
fn bodies_of_every_size_arrive_whole_and_once() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let h2 = H2::open(&setting.url("/")).unwrap();
    for size in SIZES {
        let body = pattern(size);
        let wanted = said_of(&setting, &body);
        for protocol in ["h1", "h2"] {
            let key = format!("{protocol}-{size}");
            let request = order(&setting, "POST", &key).body(body.clone());
            let send = || if protocol == "h1" { request.send() } else { h2.send(&request) };
            let first = send().unwrap();
            assert_eq!((first.status, told(&first.json())), (200, wanted.clone()), "{key}");
            is_replay(&send().unwrap(), &first);
            assert_eq!(setting.effects(&key), (1, 1), "{key}");
        }
    }
}

#[test]
fn a_long_body_is_told_apart_at_its_last_byte() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let h2 = H2::open(&setting.url("/")).unwrap();
    let mut body = pattern(300_000);
    let request = order(&setting, "PUT", "long").body(body.clone());
    assert_eq!(request.send().unwrap().status, 200);
    *body.last_mut().unwrap() ^= 1;
    let other = request.body(body);
    is_problem(&other.send().unwrap(), 422, "fence_key_reused");
    is_problem(&h2.send(&other).unwrap(), 422, "fence_key_reused");
    assert_eq!(setting.effects("long"), (1, 1));
}

/// Sends a body by hand, in chunks or with its length; whoever waits for 100 sends it only then.
fn send_by_hand(setting: &Setting, key: &str, body: &[u8], way: (&str, bool)) -> Value {
    let (framing, expect) = way;
    let (field, body) = match framing {
        "chunked" => ("Transfer-Encoding: chunked".to_owned(), chunked(body)),
        _ => (format!("Content-Length: {}", body.len()), body.to_vec()),
    };
    let mut stream = TcpStream::connect(setting.door).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let expectation = if expect { "Expect: 100-continue\r\n" } else { "" };
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\nX-Test-Id: {key}\r\n\
         Authorization: Bearer alice\r\n{expectation}{field}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Whoever sends nothing has nothing to wait for.
    if expect && !body.is_empty() {
        assert_eq!(interim(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n", "{key}");
    }
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{key}: {answer}");
    serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap()
}

#[test]
fn bodies_arrive_in_chunks_and_with_a_length_with_and_without_an_expectation() {
    let setting = Setting::of(&["near"], &fenced("api"));
    for size in SIZES {
        let body = pattern(size);
        let wanted = said_of(&setting, &body);
        for way in [("chunked", false), ("chunked", true), ("length", false), ("length", true)] {
            let key = format!("{}-{size}-{}", way.0, way.1);
            for _ in 0..2 {
                assert_eq!(told(&send_by_hand(&setting, &key, &body, way)), wanted, "{key}");
            }
            assert_eq!(setting.effects(&key), (1, 1), "{key}");
        }
    }
}

/// Sends a body over HTTP/2, with its length or without.
fn send_over_h2(h2: &H2, request: &Request, body: &[u8], has_length: bool) -> Reply {
    if has_length {
        return h2.send(request).unwrap();
    }
    let mut upload = h2.upload(request).unwrap();
    for piece in body.chunks(60_000) {
        upload.send(piece).unwrap();
    }
    upload.finish();
    let mut stream = upload.answer().unwrap();
    while let Some(piece) = stream.read_piece().unwrap() {
        stream.head.body.extend_from_slice(&piece);
    }
    stream.head.clone()
}

#[test]
fn bodies_over_http_2_arrive_with_and_without_a_length_and_an_expectation() {
    let setting = Setting::of(&["near"], &fenced("api"));
    let h2 = H2::open(&setting.url("/")).unwrap();
    for size in SIZES {
        let body = pattern(size);
        let wanted = said_of(&setting, &body);
        for (has_length, expect) in [(false, false), (false, true), (true, true)] {
            let key = format!("h2-{size}-{has_length}-{expect}");
            let request = order(&setting, "POST", &key).body(body.clone());
            let request = if expect { request.header("Expect", "100-continue") } else { request };
            let first = send_over_h2(&h2, &request, &body, has_length);
            assert_eq!((first.status, told(&first.json())), (200, wanted.clone()), "{key}");
            is_replay(&send_over_h2(&h2, &request, &body, has_length), &first);
            assert_eq!(setting.effects(&key), (1, 1), "{key}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
    let setting = Setting::of(&["near"], &fenced("api"));
    for (key, framing) in [
        ("broken-chunks", "Transfer-Encoding: chunked"),
        ("broken-length", "Content-Length: 300000"),
    ] {
        let mut connection = Connection::open(&setting.url("/")).unwrap();
        let head = format!(
            "POST /orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\nX-Test-Id: {key}\r\n\
             Authorization: Bearer alice\r\n{framing}\r\n\r\n"
        );
        connection.send_raw(head.as_bytes()).unwrap();
        let piece = pattern(100_000);
        if key == "broken-chunks" {
            connection.send_raw(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        }
        connection.send_raw(&piece).unwrap();
        let reached = || 0 < setting.regions[0].open_connections();
        wait_until(SOON, "it flows", reached);
        drop(connection);
        // The write began, so it is in doubt, as soon as that is known.
        let same = order(&setting, "POST", key).body(pattern(300_000));
        wait_until(SOON, "a doubt", || {
            same.send().is_ok_and(|it| it.json()["code"] == "fence_outcome_unknown")
        });
        assert_eq!(setting.effects(key).1, 0, "{key}: half a body was executed");
    }
}
