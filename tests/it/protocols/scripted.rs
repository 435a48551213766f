//! Endpoints that answer what no library would: interim answers, nonsense, and half of an answer.
#![expect(clippy::unwrap_used, reason = "a broken test should panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tidegate_harness::{Connection, FakeRegion, H2, Request};

use crate::setting::{SOON, Setting};
use crate::traffic::{is_problem, still};

/// Starts an endpoint with a good contract that gives this answer to everything else, and closes.
///
/// It lives as long as the process of the test.
fn scripted(answer: &[u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || converse(stream, &answer));
        }
    });
    address
}

/// Starts an endpoint that accepts one connection, that of its prober, and then none any more.
///
/// Its queue is full, so that whoever connects waits. What fills it must be kept.
pub(crate) fn stuck() -> (SocketAddr, impl FnOnce() -> Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _peer) = listener.accept()?;
        converse(stream, b"")?;
        // The queue lives as long as the listener.
        std::thread::park();
        listener.local_addr()
    });
    let connect = move || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    (address, move || std::iter::from_fn(connect).collect())
}

/// Ends with the connection, whoever ends it.
fn converse(stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let contract = r#"{"ready":true,"index_hash":"a1b2c3","schema_rev":"sc-12"}"#;
    let contract =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{contract}", contract.len());
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if path.is_empty() {
                path.push_str(line.split(' ').nth(1).unwrap_or_default());
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            } else if line == "\r\n" {
                break;
            }
        }
        if path != "/contract" {
            let mut body = vec![0; length];
            // An answer that does not wait for the body of its request is sent at once.
            if path == "/early" {
                reader.get_mut().write_all(answer)?;
                reader.read_exact(&mut body)?;
                return Ok(());
            }
            reader.read_exact(&mut body)?;
            return reader.get_mut().write_all(answer);
        }
        reader.get_mut().write_all(contract.as_bytes())?;
    }
}

/// A region `near` that gives this answer, and an honest one that is `far`.
fn in_front_of(answer: &[u8]) -> Setting {
    let near = scripted(answer);
    let far = FakeRegion::start("far");
    let listed = format!(
        "  near: {{ distance: 0, endpoints: [\"{near}\"] }}\n\
         \x20 far: {{ distance: 80, endpoints: [\"{}\"] }}",
        far.address()
    );
    let setting = Setting::listed(vec![far], &listed, &still(""));
    setting.until_green();
    setting
}

#[test]
fn early_hints_pass_before_the_answer() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                   HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let setting = in_front_of(answer);
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    connection.set_timeout(SOON).unwrap();
    connection.send_raw(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let got = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
    let (hints, answer) = got.split_once("\r\n\r\n").unwrap();
    assert_eq!(hints.to_ascii_lowercase(), "http/1.1 103 early hints\r\nlink: </a.css>");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{got}");
    assert!(answer.to_ascii_lowercase().contains("\r\nx-region: near\r\n"), "{got}");

    let reply = H2::open(&setting.url("/")).unwrap().send(&Request::get(&setting.url("/")));
    let reply = reply.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "HTTP/2 leaves them out");
}

#[test]
fn an_answer_that_is_none_counts_as_a_broken_exchange() {
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(3 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(3000));
    let answers: [&[u8]; 12] = [
        b"",
        b"nonsense\r\n\r\n",
        b"\0\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2",
        b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nspace before: colon\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        large.as_bytes(),
        many.as_bytes(),
    ];
    for (nth, answer) in answers.into_iter().enumerate() {
        let setting = in_front_of(answer);
        let get = setting.get("/", &[]);
        assert_eq!((get.status, get.header("x-region")), (200, Some("far")), "answer {nth}");
        let post = Request::post(&setting.url("/"), "x").header("X-Request-Id", "post");
        is_problem(&post.send().unwrap(), 502, "endpoint_broken");
        let line = setting.line_of("post");
        let told = (&line["attempts"], &line["end"], &line["region"]);
        assert_eq!(told, (&1.into(), &"endpoint_broken".into(), &"near".into()), "answer {nth}");
    }
}

#[test]
fn an_odd_answer_is_passed_on_in_its_one_meaning() {
    let head = "HTTP/1.1 200 OK\r\n";
    let answers = [
        // Without any length it ends with its connection.
        ("\r\nok".to_owned(), "ok"),
        ("connection: close\r\n\r\nok".to_owned(), "ok"),
        // What follows the end of an answer belongs to no answer.
        ("content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nmore".to_owned(), "ok"),
        ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore".to_owned(), "ok"),
        // RFC 9112, section 6.3: of two framings the chunks count.
        (
            "content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                .to_owned(),
            "ok",
        ),
        ("transfer-encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\na: b\r\n\r\n".to_owned(), "ok"),
    ];
    for (answer, body) in answers {
        let setting = in_front_of(format!("{head}{answer}").as_bytes());
        for reply in super::both(&setting, &Request::get(&setting.url("/"))) {
            assert_eq!((reply.status, reply.text().as_str()), (200, body), "{answer:?}");
            assert_eq!(reply.header("x-region"), Some("near"), "{answer:?}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_does_not_look_whole() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
    ];
    for answer in answers {
        let setting = in_front_of(answer);
        let request = Request::get(&setting.url("/")).header("X-Request-Id", "cut");
        request.send().unwrap_err();
        H2::open(&setting.url("/")).unwrap().send(&request).unwrap_err();
        let line = setting.line_of("cut");
        assert_eq!((&line["end"], &line["attempts"]), (&"endpoint_broken".into(), &1.into()));
        assert_eq!(setting.regions[0].requests(), 0, "nobody else was asked");
    }
}

#[test]
fn an_answer_that_comes_before_its_request_has_ended_is_passed_on() {
    let answer =
        b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
    let setting = in_front_of(answer);
    for size in [10, 100_000, 1_000_000] {
        let request = Request::post(&setting.url("/early"), vec![b'x'; size]);
        let reply = request.send().unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "big"), "{size}");
        let reply = H2::open(&setting.url("/")).unwrap().send(&request).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "big"), "{size}");
    }
}
