//! Retries: what was never sent goes elsewhere, what may have been executed never does.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a broken test should panic"
)]
#![expect(clippy::disallowed_methods, reason = "a test of deadlines looks at the clock")]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tidegate_harness::{Connection, FakeRegion, Fault, H2, Reply, Request};

use crate::protocols::scripted::stuck;
use crate::setting::{SOON, Setting};
use crate::traffic::{is_problem, pattern, still};

mod limits;

/// Methods that may change something, so that nobody but the client may send them twice.
const UNSAFE: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
/// Methods that may be sent twice.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// A request that all books know by its id; what is not safe has a body.
fn order(setting: &Setting, method: &str, id: &str) -> Request {
    let request = Request::new(method, &setting.url("/orders"));
    let request = request.header("X-Test-Id", id).header("X-Request-Id", id);
    if UNSAFE.contains(&method) { request.body("ten") } else { request }
}

#[test]
fn a_refused_connection_goes_to_the_next_endpoint_and_then_to_the_next_region() {
    let regions: Vec<_> = ["near", "near", "far"].map(FakeRegion::start).into();
    let [one, two, far] = [0, 1, 2].map(|it: usize| regions[it].address());
    let listed = format!(
        "  near: {{ distance: 0, endpoints: [\"{one}\", \"{two}\"], balance: round_robin }}\n\
         \x20 far: {{ distance: 80, endpoints: [\"{far}\"] }}"
    );
    let setting = Setting::listed(regions, &listed, &still("retries: { attempts: 6 }"));
    setting.until_green();
    // Larger than what Pingora keeps for retries: nothing may have been read before it connects.
    let body = pattern(200_000);
    let direct = Request::post(&setting.regions[2].url("/orders"), body.clone()).send().unwrap();
    let wanted = direct.json()["body_sha256"].clone();
    for (refusing, region, most) in [(0, "near", 2), (1, "far", 3)] {
        setting.regions[refusing].set_fault(Fault::Refuse);
        let mut attempts = Vec::new();
        for (turn, method) in UNSAFE.into_iter().chain(SAFE).cycle().take(14).enumerate() {
            let id = format!("{region}-{turn}-{method}");
            let mut request = order(&setting, method, &id);
            if UNSAFE.contains(&method) {
                request = request.body(body.clone());
            }
            let reply = request.send().unwrap();
            assert_eq!((reply.status, reply.header("x-region")), (200, Some(region)), "{id}");
            assert_eq!(setting.effects(&id), (1, 1), "{id}");
            if UNSAFE.contains(&method) {
                assert_eq!(reply.json()["body_sha256"], wanted, "{id}");
            }
            attempts.push(setting.line_of(&id)["attempts"].as_u64().unwrap());
        }
        assert!(attempts.contains(&most) && attempts.iter().all(|it| *it <= most), "{attempts:?}");
    }
    assert!(setting.retries("connect") > 14.0);
    assert!(setting.retries("broken") < 0.5);

    setting.regions[2].set_fault(Fault::Refuse);
    for method in ["GET", "POST"] {
        let id = format!("nobody-{method}");
        is_problem(&order(&setting, method, &id).send().unwrap(), 503, "region_unreachable");
        let line = setting.line_of(&id);
        assert_eq!((&line["attempts"], &line["end"]), (&3.into(), &"answered".into()), "{line}");
        assert_eq!(line["region"], serde_json::Value::Null, "{line}");
    }
    setting.regions[2].clear_fault();
    assert_eq!(setting.served_by(), "far", "a refusal is forgotten with its request");
}

#[test]
fn a_connection_that_is_not_accepted_in_time_goes_elsewhere() {
    let (near, fill) = stuck();
    let far = FakeRegion::start("far");
    let listed = format!(
        "  near: {{ distance: 0, endpoints: [\"{near}\"] }}\n\
         \x20 far: {{ distance: 80, endpoints: [\"{}\"] }}",
        far.address()
    );
    let setting = Setting::listed(vec![far], &listed, &still("timeouts: { connect: 500ms }"));
    setting.until_green();
    let _kept = fill();
    for method in UNSAFE.into_iter().chain(["GET"]) {
        let began = Instant::now();
        let reply = order(&setting, method, method).send().unwrap();
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")), "{method}");
        let took = began.elapsed();
        assert!(Duration::from_millis(500) <= took && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(setting.effects(method), (1, 1));
        assert_eq!(setting.line_of(method)["attempts"], 2, "{method}");
    }
    setting.regions[0].set_fault(Fault::Refuse);
    let pinned = order(&setting, "GET", "pinned").header("X-Region-Pin", "near; strict");
    is_problem(&pinned.send().unwrap(), 503, "pin_unavailable");
}

#[test]
fn a_connection_that_closed_while_it_was_idle_costs_no_request() {
    let setting = Setting::of(&["near"], &still(""));
    for turn in 0..5 {
        for method in UNSAFE {
            let id = format!("{turn}-{method}");
            let reply = order(&setting, method, &id).send().unwrap();
            assert_eq!((reply.status, setting.effects(&id)), (200, (1, 1)), "{id} {reply:?}");
            setting.regions[0].stop();
            setting.regions[0].resume();
        }
    }
}

#[test]
fn an_http2_connection_that_closed_costs_no_read_and_doubles_no_write() {
    let mut policy = still("");
    policy.region = "protocol: h2c".to_owned();
    let setting = Setting::of(&["near", "far"], &policy);
    for turn in 0..5 {
        for method in UNSAFE.into_iter().chain(["GET"]) {
            assert_eq!(setting.served_by(), "near");
            setting.regions[0].stop();
            setting.regions[0].resume();
            let id = format!("{turn}-{method}");
            let reply = order(&setting, method, &id).send().unwrap();
            let (received, executed) = setting.effects(&id);
            match reply.status {
                200 => assert_eq!((received, executed), (1, 1), "{id}"),
                // The end of a shared connection may be seen only when it is used, and then
                // nobody knows what was received: a write is not sent again.
                502 if method != "GET" => assert!(received <= 1, "{id}: {received}"),
                _ => panic!("{id}: {reply:?}"),
            }
        }
    }
}

/// The region `near` breaks each of these requests off, on a fresh connection or on one that has
/// served before; `far` could answer them.
fn broken(protocol: &str, (fresh, reused): (Fault, Fault), check: impl Fn(&Setting, &str, &str)) {
    let mut policy = still("");
    protocol.clone_into(&mut policy.region);
    let setting = Setting::of(&["near", "far"], &policy);
    let near = &setting.regions[0];
    for method in UNSAFE.into_iter().chain(SAFE) {
        near.set_fault(fresh);
        let before = near.connections();
        check(&setting, method, &format!("fresh-{method}"));
        assert_eq!(near.connections(), before + 1, "it took a connection of its own");

        near.set_fault(reused);
        // The first request of its connection is served, and leaves the connection in the pool.
        assert_eq!(setting.served_by(), "near");
        let before = near.connections();
        check(&setting, method, &format!("reused-{method}"));
        assert_eq!(near.connections(), before, "it took the connection from the pool");
    }
    near.clear_fault();
    assert_eq!(setting.served_by(), "near");
}

/// What is not safe was sent once, and the client is told; what is safe is answered elsewhere.
fn at_most_once(setting: &Setting, method: &str, id: &str, executed: u64) {
    let reply = order(setting, method, id).send().unwrap();
    let line = setting.line_of(id);
    let near = &setting.regions[0];
    assert_eq!((near.received_count(id), near.effect_count(id)), (1, executed), "{id}");
    if UNSAFE.contains(&method) {
        is_problem(&reply, 502, "endpoint_broken");
        let title = reply.json()["title"].clone();
        assert!(title.as_str().unwrap().contains("may have been executed"), "{title}");
        assert_eq!(setting.effects(id), (1, executed), "{id}");
        assert_eq!((&line["attempts"], &line["region"]), (&1.into(), &"near".into()), "{line}");
        let ended = (&line["end"], &line["code"], &line["status"]);
        assert_eq!(ended, (&"endpoint_broken".into(), &"endpoint_broken".into(), &502.into()));
    } else {
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")), "{reply:?}");
        assert_eq!(setting.regions[1].effect_count(id), 1, "{id}");
        assert_eq!((&line["attempts"], &line["region"]), (&2.into(), &"far".into()), "{line}");
        assert_eq!(line["end"], "complete", "{line}");
    }
}

#[test]
fn what_an_endpoint_executed_before_it_died_is_never_sent_again() {
    let faults = (Fault::DieAfterExecuting, Fault::DieAfterExecutingReused);
    broken("protocol: http1", faults, |setting, method, id| at_most_once(setting, method, id, 1));
}

#[test]
fn what_an_endpoint_executed_before_it_died_is_never_sent_again_over_http2() {
    let faults = (Fault::DieAfterExecuting, Fault::DieAfterExecutingReused);
    broken("protocol: h2c", faults, |setting, method, id| at_most_once(setting, method, id, 1));
}

#[test]
fn what_an_endpoint_may_have_executed_is_never_sent_again() {
    let faults = (Fault::DieBeforeExecuting, Fault::DieBeforeExecutingReused);
    broken("protocol: http1", faults, |setting, method, id| at_most_once(setting, method, id, 0));
}

#[test]
fn what_an_endpoint_may_have_executed_is_never_sent_again_over_http2() {
    let faults = (Fault::DieBeforeExecuting, Fault::DieBeforeExecutingReused);
    broken("protocol: h2c", faults, |setting, method, id| at_most_once(setting, method, id, 0));
}

#[test]
fn a_client_over_http2_is_told_the_same() {
    let setting = Setting::of(&["near", "far"], &still(""));
    let client = H2::open(&setting.url("/")).unwrap();
    setting.regions[0].set_fault(Fault::DieAfterExecuting);
    let reply = client.send(&order(&setting, "PUT", "h2-put")).unwrap();
    is_problem(&reply, 502, "endpoint_broken");
    assert_eq!(setting.effects("h2-put"), (1, 1));
    let reply = client.send(&order(&setting, "GET", "h2-get")).unwrap();
    assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
    setting.regions.iter().for_each(|it| it.set_fault(Fault::Refuse));
    let reply = client.send(&order(&setting, "DELETE", "h2-nobody")).unwrap();
    is_problem(&reply, 503, "region_unreachable");
    assert!(!client.is_closed(), "a problem of one request is none of its connection");
}

#[test]
fn an_answer_that_began_is_neither_tried_again_nor_mixed_with_another() {
    for protocol in ["protocol: http1", "protocol: h2c"] {
        let mut policy = still("");
        protocol.clone_into(&mut policy.region);
        let setting = Setting::of(&["near", "far"], &policy);
        setting.regions[0].set_fault(Fault::DieMidBody);
        let whole = pattern(200_000);
        let request = |id: &str| {
            let request = Request::get(&setting.url("/bytes/200000"));
            request.header("X-Test-Id", id).header("X-Request-Id", id)
        };
        let mut stream = request("mid-1").stream().unwrap();
        assert_eq!(stream.head.header("x-region"), Some("near"));
        let (got, error) = until_broken(|| stream.read_piece());
        assert!(got.len() < whole.len() && whole.starts_with(&got), "{} bytes", got.len());
        let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        assert!(ends.contains(&error.kind()), "{error}");

        let client = H2::open(&setting.url("/")).unwrap();
        let mut stream = client.stream(&request("mid-2")).unwrap();
        let (got, error) = until_broken(|| Ok(stream.read_piece()?.map(Vec::from)));
        assert!(got.len() < whole.len() && whole.starts_with(&got), "{} bytes", got.len());
        assert!(error.kind() != ErrorKind::TimedOut, "{error}");

        for id in ["mid-1", "mid-2"] {
            let line = setting.line_of(id);
            assert_eq!(setting.regions[1].received_count(id), 0, "{protocol} {id}");
            let told = (&line["attempts"], &line["end"], &line["status"]);
            assert_eq!(told, (&1.into(), &"endpoint_broken".into(), &200.into()), "{line}");
        }
    }
}

/// Reads a body that must break off; answers what came of it, and how it ended.
fn until_broken(
    mut read: impl FnMut() -> std::io::Result<Option<Vec<u8>>>,
) -> (Vec<u8>, std::io::Error) {
    let mut got = Vec::new();
    loop {
        match read() {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            Ok(None) => panic!("{} bytes passed for the whole body", got.len()),
            Err(error) => return (got, error),
        }
    }
}

/// A write is answered when its deadline has passed; a read is answered elsewhere.
fn slow_region(protocol: &str) {
    let mut policy = still("timeouts: { first_byte: 1s }");
    protocol.clone_into(&mut policy.region);
    let setting = Setting::of(&["near", "far"], &policy);
    setting.regions[0].set_fault(Fault::SlowFirstByte(Duration::from_mins(1)));
    let began = Instant::now();
    let reply = order(&setting, "POST", "slow-post").send().unwrap();
    is_problem(&reply, 504, "endpoint_timeout");
    let title = reply.json()["title"].clone();
    assert!(title.as_str().unwrap().contains("may have been executed"), "{title}");
    assert_eq!(setting.effects("slow-post"), (1, 1));
    let line = setting.line_of("slow-post");
    assert_eq!((&line["attempts"], &line["end"]), (&1.into(), &"timed_out".into()), "{line}");

    let reply = order(&setting, "GET", "slow-get").send().unwrap();
    assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
    assert_eq!(setting.line_of("slow-get")["attempts"], 2);
    let took = began.elapsed();
    assert!(Duration::from_secs(2) <= took && took < Duration::from_secs(20), "{took:?}");

    setting.regions[1].set_fault(Fault::HangRequests);
    let reply = order(&setting, "GET", "slow-all").send().unwrap();
    // They were reached and did not answer, which is not the same as out of reach.
    is_problem(&reply, 504, "endpoint_timeout");
    let line = setting.line_of("slow-all");
    assert_eq!((&line["attempts"], &line["region"]), (&2.into(), &"far".into()), "{line}");
}

#[test]
fn a_slow_region_costs_a_read_a_moment_and_a_write_its_answer() {
    slow_region("protocol: http1");
}

#[test]
fn a_slow_region_costs_no_more_over_http2() {
    slow_region("protocol: h2c");
}

/// A reply to a request on a connection that is used again and again.
fn ask(connection: &mut Connection, request: &Request) -> Reply {
    connection.send(request).unwrap()
}

#[test]
fn a_connection_of_a_client_survives_the_retries_of_its_requests() {
    let setting = Setting::of(&["near", "far"], &still(""));
    let mut connection = Connection::open(&setting.url("/")).unwrap();
    for turn in 0..3 {
        setting.regions[0].set_fault(Fault::DieBeforeExecuting);
        let reply = ask(&mut connection, &order(&setting, "GET", &format!("kept-{turn}")));
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
        setting.regions[0].set_fault(Fault::Refuse);
        let reply = ask(&mut connection, &order(&setting, "PUT", &format!("put-{turn}")));
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("far")));
        setting.regions[0].clear_fault();
        let reply = ask(&mut connection, &order(&setting, "PUT", &format!("well-{turn}")));
        assert_eq!((reply.status, reply.header("x-region")), (200, Some("near")));
    }
}

#[test]
fn an_answer_of_our_own_says_that_its_connection_ends() {
    let setting = Setting::of(&["near"], &still(""));
    for (fault, status) in [(Fault::Refuse, 503), (Fault::DieAfterExecuting, 502)] {
        setting.regions[0].set_fault(fault);
        let mut connection = Connection::open(&setting.url("/")).unwrap();
        let reply = connection.send(&order(&setting, "POST", "last")).unwrap();
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")));
        connection.set_timeout(SOON).unwrap();
        assert_eq!(connection.read_to_end().unwrap(), b"", "it ends as it said");
    }
}

#[test]
fn a_head_gets_the_head_of_a_problem() {
    let setting = Setting::of(&["near"], &still(""));
    setting.regions[0].set_fault(Fault::Refuse);
    let one = order(&setting, "HEAD", "http1").send().unwrap();
    // What is not ended is reset, so a HEAD over HTTP/2 once ended in an error.
    let two = H2::open(&setting.url("/")).unwrap().send(&order(&setting, "HEAD", "h2")).unwrap();
    for reply in [one, two] {
        assert_eq!((reply.status, reply.body.len()), (503, 0), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_ne!(reply.header("content-length"), Some("0"), "it tells what a GET would get");
    }
}

/// A connection that an endpoint closes just as it is used again is no failure of the endpoint, and
/// where there is no other one it is asked once more.
#[test]
fn a_lone_endpoint_is_asked_again_after_a_connection_went_stale() {
    let setting = Setting::of(&["alone"], &still("threads: 1"));
    for turn in 0..3 {
        let id = format!("stale-{turn}");
        setting.regions[0].clear_fault();
        assert_eq!(order(&setting, "GET", "warm").send().unwrap().status, 200);
        setting.regions[0].set_fault(Fault::DieBeforeExecutingReused);
        assert_eq!(order(&setting, "GET", &id).send().unwrap().status, 200, "{id}");
        assert_eq!(setting.line_of(&id)["attempts"], 2, "{id}");
    }
    setting.regions[0].clear_fault();
    assert_eq!(order(&setting, "GET", "warm").send().unwrap().status, 200);
    setting.regions[0].set_fault(Fault::DieAfterExecutingReused);
    is_problem(&order(&setting, "PUT", "put").send().unwrap(), 502, "endpoint_broken");
    assert_eq!(setting.effects("put"), (1, 1));
}
