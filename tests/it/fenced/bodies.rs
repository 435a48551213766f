//! Bodies of every size and framing arrive byte for byte, and once.
#![expect(clippy::indexing_slicing, reason = "a broken test should panic")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tidegate_harness::{Connection, H2, Request, wait_until};

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

/// Sends a body in chunks, by hand; whoever waits for 100 sends it only then.
fn send_chunked(setting: &Setting, key: &str, body: &[u8], expect: bool) -> Value {
    let mut stream = TcpStream::connect(setting.door).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let expectation = if expect { "Expect: 100-continue\r\n" } else { "" };
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\nX-Test-Id: {key}\r\n\
         Authorization: Bearer alice\r\n{expectation}Transfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    if expect {
        assert_eq!(interim(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n", "{key}");
    }
    stream.write_all(&chunked(body)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{key}: {answer}");
    serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap()
}

#[test]
fn chunked_bodies_arrive_with_and_without_an_expectation() {
    let setting = Setting::of(&["near"], &fenced("api"));
    for size in SIZES {
        let body = pattern(size);
        let wanted = said_of(&setting, &body);
        for expect in [false, true] {
            let key = format!("chunked-{size}-{expect}");
            for _ in 0..2 {
                assert_eq!(told(&send_chunked(&setting, &key, &body, expect)), wanted, "{key}");
            }
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
