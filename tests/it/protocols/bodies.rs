//! Bodies: each byte arrives, once, however it is framed on either side.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use tidegate_harness::{Connection, H2, Request};

use super::{PROTOCOLS, towards};
use crate::setting::{SOON, Setting};
use crate::traffic::pattern;

/// Around the size of Pingora's own buffers, and far beyond.
const SIZES: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 10 << 20];

/// The body in chunks of an odd size.
pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in body.chunks(9_973) {
        write!(framed, "{:x}\r\n", chunk.len()).unwrap();
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

/// What the region says of a body that it got directly: its length and its checksum.
fn said_of(setting: &Setting, body: &[u8]) -> Value {
    Request::post(&setting.regions[0].url("/upload"), body).send().unwrap().json()
}

#[track_caller]
fn arrived(setting: &Setting, id: &str, said: &Value, wanted: &Value) {
    assert_eq!(said, wanted, "{id}");
    assert_eq!(setting.effects(id), (1, 1), "{id}");
}

#[test]
fn bodies_arrive_whole_and_once_over_http1() {
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near", "far"], &towards(protocol));
        let mut connection = Connection::open(&setting.url("/")).unwrap();
        for (size, method) in SIZES.into_iter().zip(["POST", "PUT", "PATCH"].into_iter().cycle()) {
            let body = pattern(size);
            let wanted = said_of(&setting, &body);
            let id = format!("{protocol}-{size}-length");
            let request = Request::new(method, &setting.url("/upload"));
            let request = request.header("X-Test-Id", &id).body(body.clone());
            arrived(&setting, &id, &connection.send(&request).unwrap().json(), &wanted);

            let id = format!("{protocol}-{size}-chunked");
            let request = Request::new(method, &setting.url("/upload")).body(chunked(&body));
            let request = request.header("X-Test-Id", &id).header("Transfer-Encoding", "chunked");
            arrived(&setting, &id, &connection.send(&request).unwrap().json(), &wanted);
        }
        assert!(!connection.is_closed().unwrap());
    }
}

#[test]
fn bodies_arrive_whole_and_once_over_http2() {
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near", "far"], &towards(protocol));
        let client = H2::open(&setting.url("/")).unwrap();
        for (size, method) in SIZES.into_iter().zip(["POST", "PUT", "PATCH"].into_iter().cycle()) {
            let body = pattern(size);
            let wanted = said_of(&setting, &body);
            let id = format!("{protocol}-{size}-whole");
            let request = Request::new(method, &setting.url("/upload")).header("X-Test-Id", &id);
            let reply = client.send(&request.body(body.clone())).unwrap();
            arrived(&setting, &id, &reply.json(), &wanted);

            let id = format!("{protocol}-{size}-pieces");
            let request = Request::new(method, &setting.url("/upload")).header("X-Test-Id", &id);
            let mut upload = client.upload(&request).unwrap();
            body.chunks(9_973).for_each(|it| upload.send(it).unwrap());
            upload.finish();
            let said = upload.answer().unwrap().read_piece().unwrap().unwrap();
            arrived(&setting, &id, &serde_json::from_slice(&said).unwrap(), &wanted);
        }
        assert!(!client.is_closed());
    }
}

/// Reads the head of one answer, and not a byte more.
pub(crate) fn interim(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near", "far"], &towards(protocol));
        for size in [1, 65_537, 10 << 20] {
            for is_chunked in [false, true] {
                let body = pattern(size);
                let wanted = said_of(&setting, &body);
                let id = format!("{protocol}-{size}-{is_chunked}");
                let framing = if is_chunked {
                    "transfer-encoding: chunked".to_owned()
                } else {
                    format!("content-length: {size}")
                };
                let mut stream = TcpStream::connect(setting.door).unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                let head = format!(
                    "POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n{framing}\r\n\
                     x-test-id: {id}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                // An endpoint over HTTP/1.1 is asked; otherwise the client goes on by itself.
                if protocol == "http1" {
                    assert_eq!(interim(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n", "{id}");
                }
                let body = if is_chunked { chunked(&body) } else { body };
                stream.write_all(&body).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 "), "{id}: {answer}");
                let said = answer.rsplit("\r\n\r\n").next().unwrap();
                arrived(&setting, &id, &serde_json::from_str(said).unwrap(), &wanted);
            }
        }
    }
}

#[test]
fn large_answers_arrive_whole() {
    for protocol in PROTOCOLS {
        let setting = Setting::of(&["near"], &towards(protocol));
        for size in SIZES {
            let request = Request::get(&setting.url(&format!("/bytes/{size}")));
            let one = request.send().unwrap();
            let two = H2::open(&setting.url("/")).unwrap().send(&request).unwrap();
            assert!(one.body == pattern(size), "{protocol} {size}: {}", one.body.len());
            assert!(two.body == pattern(size), "{protocol} {size}: {}", two.body.len());
        }
    }
}
