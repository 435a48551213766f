//! The fakes do what they say: each claim is checked over a real socket.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::client::connection::Connection;
use crate::client::h2::{H2, grpc_frame, grpc_messages};
use crate::client::message::Request;
use crate::client::{get, websocket};
use crate::scripts::{json_line, node, python};

fn connect(region: &FakeRegion) -> Connection {
    Connection::open(&region.url("/")).unwrap()
}

fn put(region: &FakeRegion, id: &str) -> Request {
    Request::new("PUT", &region.url("/orders")).header("Idempotency-Key", id).body("ten")
}

#[test]
fn an_echo_tells_what_arrived_and_counts_the_request_on_its_connection() {
    let region = FakeRegion::start("us-east-1");
    let mut connection = connect(&region);
    let request =
        Request::post(&region.url("/a?b=c"), "body").header("X-A", "1").header("X-A", "2");
    connection.send(&request).unwrap();
    let reply = connection.send(&request).unwrap();
    let said = reply.json();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-served-by"), Some("us-east-1"));
    assert_eq!(said["region"], "us-east-1");
    assert_eq!((&said["method"], &said["path"]), (&json!("POST"), &json!("/a")));
    assert_eq!(said["query"], "b=c");
    assert_eq!(said["headers"]["x-a"], json!(["1", "2"]));
    assert_eq!((&said["connection"], &said["request"]), (&json!(1), &json!(2)));
    assert_eq!(said["body_bytes"], 4);
    let sum = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    assert_eq!(said["body_sha256"], sum);
}

#[test]
fn a_contract_can_be_broken_and_restored_and_knows_its_probes() {
    let region = FakeRegion::start("us-east-1");
    let url = region.url("/contract");
    let first = get(&url);
    assert_eq!(first.json()["index_hash"], "a1b2c3");
    assert_eq!(first.header("x-index-hash"), Some("a1b2c3"));
    region.set_key("index_hash", "other");
    region.remove_key("model_tag");
    let second = Request::get(&url).header("X-Probe", "yes").send().unwrap();
    assert_eq!(second.json()["index_hash"], "other");
    assert_eq!(second.header("x-model-tag"), None);
    assert_eq!(region.probes(), 2);
    assert_eq!(region.last_probe().unwrap()["x-probe"], "yes");
    Request::new("PUT", &url).body(r#"{"index_hash": 7, "new": true}"#).send().unwrap();
    assert_eq!((get(&url).json()["index_hash"].clone(), region.contract()["new"].clone()), {
        (json!(7), json!(true))
    });
    Request::new("PUT", &url).body("{}").send().unwrap();
    assert_eq!(get(&url).body, first.body);
}

#[test]
fn faults_of_the_contract_leave_requests_alone() {
    let region = FakeRegion::start("us-east-1");
    let url = region.url("/contract");
    region.set_fault(Fault::WrongContract);
    assert_eq!(get(&url).json()["schema_rev"], "wrong-schema_rev");
    region.set_fault(Fault::NotJson);
    assert!(serde_json::from_slice::<Value>(&get(&url).body).is_err());
    region.set_fault(Fault::HugeContract);
    assert!(64 * 1024 < get(&url).body.len());
    region.set_fault(Fault::ContractStatus(500));
    assert_eq!(get(&url).status, 500);
    region.set_fault(Fault::HangContract);
    let hung = Request::get(&url).timeout(Duration::from_millis(50)).send();
    assert!(matches!(hung.unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert_eq!(get(&region.url("/x")).status, 200);
    region.clear_fault();
    assert_eq!(get(&url).status, 200);
}

#[test]
fn dying_after_executing_counts_the_effect_and_sends_not_a_byte() {
    let region = FakeRegion::start("us-east-1");
    region.set_fault(Fault::DieAfterExecutingReused);
    let mut connection = connect(&region);
    assert_eq!(connection.send(&put(&region, "first")).unwrap().status, 200);
    connection.send_raw(&put(&region, "second").to_bytes()).unwrap();
    assert_eq!(connection.read_to_end().unwrap(), b"", "the end, and nothing before it");
    assert_eq!((region.effect_count("first"), region.effect_count("second")), (1, 1));

    let mut fresh = connect(&region);
    let always = put(&region, "third").header("x-fault", "die-after-executing");
    fresh.send_raw(&always.to_bytes()).unwrap();
    assert_eq!(fresh.read_to_end().unwrap(), b"");
    assert_eq!(region.effect_count("third"), 1);
}

#[test]
fn dying_before_executing_counts_no_effect() {
    let region = FakeRegion::start("us-east-1");
    region.set_fault(Fault::DieBeforeExecutingReused);
    let mut connection = connect(&region);
    connection.send(&put(&region, "first")).unwrap();
    connection.send_raw(&put(&region, "second").to_bytes()).unwrap();
    // The kernel resets instead of closing when it holds a body that nobody has read.
    assert_eq!(connection.read_to_end().unwrap_or_default(), b"");
    assert_eq!((region.effect_count("first"), region.effect_count("second")), (1, 0));
    assert_eq!(region.received_count("second"), 1);
}

#[test]
fn dying_closes_an_http2_connection_too() {
    let region = FakeRegion::start("us-east-1");
    let h2 = H2::open(&region.url("/")).unwrap();
    assert_eq!(h2.send(&put(&region, "first")).unwrap().json()["version"], "HTTP/2.0");
    let dies = put(&region, "second").header("x-fault", "die-after-executing");
    assert!(h2.send(&dies).is_err());
    assert_eq!(region.effect_count("second"), 1);
    wait_until(Duration::from_secs(5), "the connection is closed", || h2.is_closed());
}

#[test]
fn dying_mid_body_sends_half_of_it_and_a_reset() {
    let region = FakeRegion::start("us-east-1");
    for count in [10_usize, 1_000_000] {
        let url = region.url(&format!("/bytes/{count}"));
        let mut reply = Request::get(&url).header("x-fault", "die-mid-body").stream().unwrap();
        assert_eq!(reply.head.header("content-length"), Some(count.to_string().as_str()));
        let mut arrived = 0;
        let error = loop {
            match reply.read_piece() {
                Ok(piece) => arrived += piece.expect("an error, not an end").len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(0 < arrived && arrived <= count.div_ceil(2), "{arrived} of {count}");
    }
}

#[test]
fn slow_answers_are_slow_where_they_should_be() {
    let region = FakeRegion::start("us-east-1");
    let began = Instant::now();
    let late = Request::get(&region.url("/x")).header("x-fault", "slow-first-byte=60");
    assert_eq!(late.send().unwrap().status, 200);
    assert!(Duration::from_millis(60) <= began.elapsed());

    let began = Instant::now();
    let drip = Request::get(&region.url("/bytes/10")).header("x-fault", "drip=10");
    let mut reply = drip.stream().unwrap();
    assert_eq!(reply.read_piece().unwrap().unwrap().len(), 1);
    assert_eq!(reply.read_rest().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(Duration::from_millis(90) <= began.elapsed());

    region.set_latency(Duration::from_millis(60));
    let began = Instant::now();
    get(&region.url("/x"));
    assert!(Duration::from_millis(60) <= began.elapsed());
}

#[test]
fn a_status_fault_executes_and_an_unknown_fault_is_refused() {
    let region = FakeRegion::start("us-east-1");
    let reply = put(&region, "a").header("x-fault", "status=503").send().unwrap();
    assert_eq!((reply.status, region.effect_count("a")), (503, 1));
    let reply = put(&region, "b").header("x-fault", "explode").send().unwrap();
    assert_eq!((reply.status, region.effect_count("b")), (400, 0));
    assert_eq!(get(&region.url("/status/418")).status, 418);
    assert_eq!(get(&region.url("/status/204")).body, b"");
}

#[test]
fn a_hanging_region_accepts_and_never_answers() {
    let region = FakeRegion::start("us-east-1");
    region.set_fault(Fault::Hang);
    for path in ["/x", "/contract"] {
        let hung = Request::get(&region.url(path)).timeout(Duration::from_millis(50)).send();
        assert!(matches!(hung.unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    }
    region.set_fault(Fault::HangRequests);
    assert_eq!(get(&region.url("/contract")).status, 200);
}

#[test]
fn a_stopped_region_refuses_and_comes_back_on_its_port() {
    let region = FakeRegion::start("us-east-1");
    let mut kept = connect(&region);
    kept.send(&put(&region, "a")).unwrap();
    for _ in 0..3 {
        region.set_fault(Fault::Refuse);
        assert!(kept.is_closed().unwrap());
        let refused = TcpStream::connect(region.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        region.clear_fault();
        assert_eq!(get(&region.url("/x")).status, 200);
    }
    let address = region.address();
    drop(region);
    let again = FakeRegion::start_at("us-east-1", address);
    assert_eq!(get(&again.url("/x")).status, 200);
    again.close_listener();
    assert!(TcpStream::connect(again.address()).is_err());
}

#[test]
fn events_leave_at_once_and_a_held_stream_stays_silent() {
    let region = FakeRegion::start("us-east-1");
    let url = region.url("/sse?events=3&gap_ms=30&hold=1");
    let mut plain = Request::get(&url).stream().unwrap();
    let mut h2 = H2::open(&url).unwrap().stream(&Request::get(&url)).unwrap();
    for n in 0..3 {
        for event in [plain.read_event(), h2.read_event()].map(|it| it.unwrap().unwrap()) {
            assert_eq!((event.id, event.name.as_deref()), (Some(n.to_string()), Some("tick")));
        }
    }
    let mut direct = Request::get(&url).header("Last-Event-ID", "1").stream().unwrap();
    let event = direct.read_event().unwrap().unwrap();
    assert_eq!(event.json()["n"], 2);
    let delay = Duration::from_nanos(event.delay_ns().unwrap());
    assert!(delay < Duration::from_secs(1), "the event took {delay:?}");
    plain.set_timeout(Duration::from_millis(50)).unwrap();
    assert!(plain.read_event().is_err(), "neither an event nor an end");
    drop((plain, direct));
    wait_until(Duration::from_secs(5), "the region sees the readers go", || {
        region.open_connections() == 1
    });
}

#[test]
fn every_write_stands_in_the_book_before_it_is_answered() {
    let region = FakeRegion::start("us-east-1");
    let write = |fault: &str, attempt: &str| {
        let request = Request::new("PATCH", &region.url("/write/7")).body("hello");
        let request = request.header("idempotency-key", "\"k 1\"").header("x-scope", "acme");
        let request = request.header("x-fence-epoch", "5").header("x-attempt", attempt);
        let request = if fault.is_empty() { request } else { request.header("x-fault", fault) };
        request.timeout(Duration::from_millis(300)).send()
    };
    let reply = write("", "1").unwrap();
    let digest = crate::digest_of_answer(reply.status, &reply.body);
    let failed = write("status=500", "2").unwrap();
    assert_eq!((reply.status, failed.status), (201, 500));
    assert_ne!(digest, crate::digest_of_answer(201, &failed.body), "no two answers are the same");
    for (fault, attempt) in [
        ("die-before-executing", "3"),
        ("die-while-executing", "4"),
        ("die-after-executing", "5"),
        ("hang-after-executing", "6"),
        ("die-while-executing-reused", "7"),
    ] {
        assert_eq!(write(fault, attempt).is_ok(), attempt == "7", "{fault}");
    }
    let mut lines = region.written();
    lines.sort_by_key(|it| it.attempt);
    let attempts: Vec<_> = lines.iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 2, 4, 5, 6, 7]);
    let first = &lines[0];
    assert_eq!((first.key.as_str(), first.scope.as_str(), first.epoch), ("k 1", "acme", Some(5)));
    assert_eq!((first.method.as_str(), first.reused, first.answer), ("PATCH", false, digest));
}

#[test]
fn many_bytes_are_the_same_over_both_protocols() {
    let region = FakeRegion::start("us-east-1");
    let request = Request::get(&region.url("/bytes/100000"));
    let plain = request.send().unwrap();
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    assert_eq!(plain.body.len(), 100_000);
    assert_eq!(plain.body[251 * 300 + 7], 7);
    assert_eq!(H2::open(&region.url("/")).unwrap().send(&request).unwrap().body, plain.body);
}

#[test]
fn grpc_trailers_are_real_ones() {
    let region = FakeRegion::start("us-east-1");
    let h2 = H2::open(&region.url("/")).unwrap();
    let call = |method: &str| {
        let url = region.url(&format!("/tidegate.test.Echo/{method}"));
        let request = Request::post(&url, grpc_frame(b"hi")).header("te", "trailers");
        h2.send(&request.header("content-type", "application/grpc")).unwrap()
    };
    let unary = call("Unary");
    assert_eq!(grpc_messages(&unary.body), [b"hi"]);
    assert_eq!((unary.header("grpc-status"), unary.trailer("grpc-status")), (None, Some("0")));
    let failed = call("Fail");
    assert_eq!(failed.trailer("grpc-status"), Some("9"));
    assert_eq!(failed.trailer("grpc-message"), Some("failed as asked"));
    let at_once = call("FailAtOnce");
    assert_eq!(at_once.header("grpc-status"), Some("9"));
    assert!(at_once.trailers.is_empty());
}

#[test]
fn a_websocket_echoes_and_is_cut_when_the_region_stops() {
    let region = FakeRegion::start("us-east-1");
    let mut socket = websocket(&region.url("/ws"), &[("X-Test-Id", "ws")]).unwrap();
    for message in [Message::text("hi"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    assert_eq!((region.effect_count("ws"), region.open_connections()), (1, 1));
    region.stop();
    assert!(socket.read().is_err());
}

#[test]
fn real_clients_in_other_languages_are_served() {
    let region = FakeRegion::start("us-east-1");
    let url = region.url("");
    for script in
        ["httpx_client.py", "openai_client.py", "websockets_client.py", "grpcio_client.py"]
    {
        let said = json_line(&python(script, &[&url]));
        assert!(said.is_object(), "{script}: {said}");
    }
    assert_eq!(json_line(&node("fetch.mjs", &[&url]))["region"], "us-east-1");
    assert_eq!(region.effect_count("grpc"), 1);
}
